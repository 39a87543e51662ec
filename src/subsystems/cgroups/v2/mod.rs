//! Limits as files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst), converted from the v1 terms of the
//! specification by the formulas that runc and crun share.

mod block_io;
mod cpu;
mod memory;

use super::limits::{List, Now, idle_or_weight};
use super::plan::{Group, When, Write};
use super::v1::rdma_line;
use crate::config::property::member;
use crate::config::resources::{HugepageLimit, Network, Resources};
use crate::error::{Error, Result};

/// All writes. A value without a v2 form is an error: SPEC(config-linux, "Unified"): an impossible conversion MUST fail.
pub(super) fn writes(resources: &Resources, groups: &[Group], now: &Now<'_>) -> Result<Vec<Write>> {
    refuse_network(&resources.network)?;
    let mut list = List::new(groups, now);
    memory::limit(&mut list, &resources.memory)?;
    cpu::limit(&mut list, &resources.cpu)?;
    if let Some(limit) = resources.pids_limit {
        list.write("pids.max", limit_or_max(limit), "linux.resources.pids.limit")?;
    }
    block_io::limit(&mut list, &resources.block_io)?;
    hugepages(&mut list, &resources.hugepages)?;
    for (device, limits) in &resources.rdma {
        list.write("rdma.max", rdma_line(device, limits), member("linux.resources.rdma", device))?;
    }
    // ORDER: last, so that it overrides what was converted.
    let asked = |file: &str| {
        let value = resources.unified.get(file)?.trim_end_matches('\n').to_owned();
        Some((value, member("linux.resources.unified", file)))
    };
    idle_or_weight(&mut list, asked(IDLE), (WEIGHT, asked(WEIGHT)))?;
    for (file, value) in resources.unified.iter().filter(|(file, _)| ![IDLE, WEIGHT].contains(&file.as_str())) {
        // Files such as io.max take one line a write; an empty value is one, too.
        for line in value.trim_end_matches('\n').split('\n') {
            list.write(file, line, member("linux.resources.unified", file))?;
        }
    }
    Ok(list.writes)
}

const IDLE: &str = "cpu.idle";
const WEIGHT: &str = "cpu.weight";

fn limit_or_max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

fn no_v2_form(property: impl Into<String>) -> Error {
    Error::unsupported(property, "cgroup v2 has nothing like it")
}

fn refuse_network(network: &Network) -> Result<()> {
    if network.class_id.is_some() {
        return Err(no_v2_form("linux.resources.network.classID"));
    }
    if !network.priorities.is_empty() {
        return Err(no_v2_form("linux.resources.network.priorities"));
    }
    Ok(())
}

/// SPEC(config-linux, hugepageLimits): reservations are limited where the kernel counts them (5.7), and faults too.
fn hugepages(list: &mut List<'_>, limits: &[HugepageLimit]) -> Result<()> {
    for (index, HugepageLimit { page_size, limit }) in limits.iter().enumerate() {
        let property = format!("linux.resources.hugepageLimits[{index}]");
        list.write(format!("hugetlb.{page_size}.max"), limit, property.clone())?;
        list.write_when(When::IfThere, format!("hugetlb.{page_size}.rsvd.max"), limit, property)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
