//! Limits as files of the v1 controllers (Documentation/admin-guide/cgroup-v1).

mod block_io;
mod cpu;
mod memory;

use super::device_filter;
use super::limits::{List, Now};
use super::plan::{Group, When, Write};
use crate::config::property::member;
use crate::config::resources::{HugepageLimit, Network, Rdma, Resources};
use crate::error::{Error, Result};

/// All writes, in the order in which the kernel accepts them.
pub(super) fn writes(resources: &Resources, groups: &[Group], now: &Now<'_>) -> Result<Vec<Write>> {
    if !resources.unified.is_empty() {
        return Err(Error::invalid(
            "linux.resources.unified",
            "invalid configuration: the files of cgroup v2 cannot be set on this machine, which has cgroup v1",
        ));
    }
    let mut list = List::new(groups, now);
    devices(&mut list, resources)?;
    memory::limit(&mut list, &resources.memory)?;
    cpu::limit(&mut list, &resources.cpu)?;
    if let Some(limit) = resources.pids_limit {
        let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        list.write("pids.max", value, "linux.resources.pids.limit")?;
    }
    block_io::limit(&mut list, &resources.block_io)?;
    hugepages(&mut list, &resources.hugepages)?;
    for (device, limits) in &resources.rdma {
        list.write("rdma.max", rdma_line(device, limits), member("linux.resources.rdma", device))?;
    }
    network(&mut list, &resources.network)?;
    Ok(list.writes)
}

fn devices(list: &mut List<'_>, resources: &Resources) -> Result<()> {
    let rules = device_filter::effective_rules(resources).unwrap_or_default();
    let first = rules.first().filter(|rule| **rule != device_filter::DENY_ALL).map(|_| &device_filter::DENY_ALL);
    for rule in first.into_iter().chain(&rules) {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        for line in device_filter::v1_lines(rule) {
            list.write(file, line, "linux.resources.devices")?;
        }
    }
    Ok(())
}

/// SPEC(config-linux, hugepageLimits): reservations are limited where the kernel counts them (5.7), and faults too.
fn hugepages(list: &mut List<'_>, limits: &[HugepageLimit]) -> Result<()> {
    for (index, HugepageLimit { page_size, limit }) in limits.iter().enumerate() {
        let property = format!("linux.resources.hugepageLimits[{index}]");
        list.write(format!("hugetlb.{page_size}.limit_in_bytes"), limit, property.clone())?;
        list.write_when(When::IfThere, format!("hugetlb.{page_size}.rsvd.limit_in_bytes"), limit, property)?;
    }
    Ok(())
}

/// A line of `rdma.max`, which both versions have (Documentation/admin-guide/cgroup-v1/rdma.rst).
pub(super) fn rdma_line(device: &str, limits: &Rdma) -> String {
    let numbers = [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)];
    let given = numbers.iter().filter_map(|(key, number)| number.map(|number| format!(" {key}={number}")));
    given.fold(device.to_owned(), |line, number| line + &number)
}

fn network(list: &mut List<'_>, network: &Network) -> Result<()> {
    if let Some(class) = network.class_id {
        list.write("net_cls.classid", class, "linux.resources.network.classID")?;
    }
    for (index, (interface, priority)) in network.priorities.iter().enumerate() {
        let property = format!("linux.resources.network.priorities[{index}]");
        list.write("net_prio.ifpriomap", format!("{interface} {priority}"), property)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
