//! Limits as files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst), converted from the v1 terms of the
//! specification by the formulas that runc and crun share.

use super::plan::Write;
use crate::config::resources::{Cpu, Memory, Resources};
use crate::error::{Error, Result};

/// All writes. A value without a v2 form is an error: SPEC(config-linux, "Unified"): an impossible conversion MUST fail.
pub fn writes(resources: &Resources) -> Result<Vec<Write>> {
    let mut list = List(Vec::new());
    list.memory(&resources.memory)?;
    list.cpu(&resources.cpu)?;
    if let Some(limit) = resources.pids_limit {
        list.write("pids.max", limit_or_max(limit), "linux.resources.pids.limit");
    }
    // ORDER: last, so that it overrides what was converted.
    for (file, value) in &resources.unified {
        if file.contains('/') || file.is_empty() || file == "." || file == ".." {
            let why = format!("{file:?} is not the name of a file");
            return Err(Error::invalid("linux.resources.unified", why));
        }
        // Files such as io.max take one line a write; an empty value is one, too.
        for line in value.trim_end_matches('\n').split('\n') {
            list.write(file, line, "linux.resources.unified");
        }
    }
    Ok(list.0)
}

fn limit_or_max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

fn no_v2_form(property: &'static str) -> Error {
    Error::unsupported(property, "cgroup v2 has nothing like it")
}

struct List(Vec<Write>);

impl List {
    fn write(&mut self, file: &str, value: impl ToString, property: &'static str) {
        self.0.push(Write { group: 0, file: file.to_owned(), value: value.to_string(), property });
    }

    fn memory(&mut self, memory: &Memory) -> Result<()> {
        let Memory { limit, reservation, swap, kernel_tcp, swappiness, disable_oom_killer, .. } = *memory;
        if kernel_tcp.is_some() {
            // COMPAT(runc): engines still send it; v2 counts these buffers as memory.
            log::warn!("linux.resources.memory.kernelTCP: ignored: cgroup v2 has no such limit");
        }
        if swappiness.is_some() {
            return Err(no_v2_form("linux.resources.memory.swappiness"));
        }
        if disable_oom_killer == Some(true) {
            return Err(no_v2_form("linux.resources.memory.disableOOMKiller"));
        }
        if let Some(swap) = swap_only(limit, swap)? {
            self.write("memory.swap.max", limit_or_max(swap), "linux.resources.memory.swap");
        }
        if let Some(limit) = limit {
            self.write("memory.max", limit_or_max(limit), "linux.resources.memory.limit");
        }
        if let Some(reservation) = reservation {
            self.write("memory.low", limit_or_max(reservation), "linux.resources.memory.reservation");
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu) -> Result<()> {
        if cpu.realtime_runtime.is_some() {
            return Err(no_v2_form("linux.resources.cpu.realtimeRuntime"));
        }
        if cpu.realtime_period.is_some() {
            return Err(no_v2_form("linux.resources.cpu.realtimePeriod"));
        }
        // ORDER: an idle group refuses a weight, so the weight comes only without it.
        if let Some(idle) = cpu.idle {
            self.write("cpu.idle", idle, "linux.resources.cpu.idle");
        }
        if let Some(shares) = cpu.shares.filter(|_| cpu.idle != Some(1)) {
            self.write("cpu.weight", weight_from_shares(shares), "linux.resources.cpu.shares");
        }
        if cpu.quota.is_some() || cpu.period.is_some() {
            let quota = cpu.quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
            let period = cpu.period.unwrap_or(100_000);
            self.write("cpu.max", format!("{quota} {period}"), "linux.resources.cpu.quota");
        }
        // ORDER: the burst may not be above the quota.
        if let Some(burst) = cpu.burst {
            self.write("cpu.max.burst", burst, "linux.resources.cpu.burst");
        }
        if let Some(cpus) = &cpu.cpus {
            self.write("cpuset.cpus", cpus, "linux.resources.cpu.cpus");
        }
        if let Some(mems) = &cpu.mems {
            self.write("cpuset.mems", mems, "linux.resources.cpu.mems");
        }
        Ok(())
    }
}

/// `memory.swap` of the specification is memory *plus* swap; v2 limits swap alone.
pub(super) fn swap_only(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>> {
    const PROPERTY: &str = "linux.resources.memory.swap";
    match (limit, swap) {
        // COMPAT(runc): no limit of memory and nothing said of swap means no limit of either.
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (Some(limit), Some(swap)) if limit >= 0 && swap >= limit => Ok(Some(swap - limit)),
        (Some(limit), Some(swap)) if limit >= 0 => {
            let why = format!("memory plus swap, {swap}, is less than memory alone, {limit}");
            Err(Error::invalid(PROPERTY, why))
        }
        (Some(_) | None, Some(swap)) => {
            let why = format!("{swap} is memory plus swap, and cannot be set without linux.resources.memory.limit");
            Err(Error::invalid(PROPERTY, why))
        }
    }
}

/// `cpu.shares` 2..=262144 to `cpu.weight` 1..=10000, so that the default 1024 becomes the default 100:
/// ceil(10^((log2(shares)^2 + 125 log2(shares)) / 612 - 7/34)).
pub(super) fn weight_from_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
    let log = (shares as f64).log2();
    let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
    let weight = weight as u64;
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(resources: &Resources) -> Vec<String> {
        writes(resources).unwrap().iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (1, 1), (u64::MAX, 10_000)] {
            assert_eq!(weight_from_shares(shares), weight, "{shares}");
        }
        let weights: Vec<_> = (2..262_144).step_by(97).map(weight_from_shares).collect();
        assert!(weights.is_sorted());
    }

    #[test]
    fn every_file_that_would_be_written() {
        let memory = Memory { limit: Some(1 << 20), swap: Some(3 << 20), reservation: Some(5), ..Memory::default() };
        let cpu =
            Cpu { shares: Some(1024), quota: Some(-1), burst: Some(7), cpus: Some("0-1".into()), ..Cpu::default() };
        let unified = [("io.max".to_owned(), "8:0 rbps=1\n8:16 rbps=2".to_owned())].into();
        let resources = Resources { memory, cpu, pids_limit: Some(0), unified, ..Resources::default() };
        assert_eq!(
            lines(&resources),
            [
                "memory.swap.max=2097152",
                "memory.max=1048576",
                "memory.low=5",
                "cpu.weight=100",
                "cpu.max=max 100000",
                "cpu.max.burst=7",
                "cpuset.cpus=0-1",
                "pids.max=0",
                "io.max=8:0 rbps=1",
                "io.max=8:16 rbps=2",
            ]
        );
    }

    #[test]
    fn what_cannot_be_converted_names_the_property() {
        let memory = |memory| Resources { memory, ..Resources::default() };
        for (resources, expected) in [
            (memory(Memory { swappiness: Some(1), ..Memory::default() }), "linux.resources.memory.swappiness: "),
            (
                memory(Memory { disable_oom_killer: Some(true), ..Memory::default() }),
                "linux.resources.memory.disableOOMKiller: ",
            ),
            (memory(Memory { swap: Some(5), ..Memory::default() }), "linux.resources.memory.swap: 5 is memory plus"),
            (
                memory(Memory { limit: Some(6), swap: Some(5), ..Memory::default() }),
                "linux.resources.memory.swap: memory plus swap, 5, is less",
            ),
        ] {
            let error = writes(&resources).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
