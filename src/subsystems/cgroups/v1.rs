//! Limits as files of the v1 controllers (Documentation/admin-guide/cgroup-v1).

use super::device_filter;
use super::plan::{Group, Write};
use crate::config::resources::{Cpu, DeviceRule, Memory, Resources};
use crate::error::{Error, Result};

/// All writes, in the order in which the kernel accepts them.
pub fn writes(resources: &Resources, devices: Option<&[DeviceRule]>, groups: &[Group]) -> Result<Vec<Write>> {
    if !resources.unified.is_empty() {
        return Err(Error::invalid(
            "linux.resources.unified",
            "invalid configuration: the files of cgroup v2 cannot be set on this machine, which has cgroup v1",
        ));
    }
    let mut list = List { groups, writes: Vec::new() };
    let rules = devices.unwrap_or_default();
    let first = rules.first().filter(|rule| **rule != device_filter::DENY_ALL).map(|_| &device_filter::DENY_ALL);
    for rule in first.into_iter().chain(rules) {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        for line in device_filter::v1_lines(rule) {
            list.write("devices", file, line, "linux.resources.devices")?;
        }
    }
    list.memory(&resources.memory)?;
    list.cpu(&resources.cpu)?;
    if let Some(limit) = resources.pids_limit {
        let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        list.write("pids", "pids.max", value, "linux.resources.pids.limit")?;
    }
    Ok(list.writes)
}

struct List<'a> {
    groups: &'a [Group],
    writes: Vec<Write>,
}

impl List<'_> {
    fn write(&mut self, controller: &str, file: &str, value: impl ToString, property: &'static str) -> Result<()> {
        let has = |group: &Group| group.controllers.iter().any(|known| known == controller);
        let Some(group) = self.groups.iter().position(has) else {
            let why = format!("this machine has no cgroup controller {controller:?}");
            return Err(Error::unsupported(property, why));
        };
        self.writes.push(Write { group, file: file.to_owned(), value: value.to_string(), property });
        Ok(())
    }

    fn memory(&mut self, memory: &Memory) -> Result<()> {
        let Memory { limit, reservation, swap, kernel_tcp, swappiness, disable_oom_killer, use_hierarchy, .. } =
            *memory;
        // ORDER: memory+swap may not be below memory, and starts without a limit: so the smaller one first.
        if let Some(limit) = limit {
            self.write("memory", "memory.limit_in_bytes", limit, "linux.resources.memory.limit")?;
        }
        if let Some(swap) = swap {
            self.write("memory", "memory.memsw.limit_in_bytes", swap, "linux.resources.memory.swap")?;
        }
        if let Some(reservation) = reservation {
            let property = "linux.resources.memory.reservation";
            self.write("memory", "memory.soft_limit_in_bytes", reservation, property)?;
        }
        if let Some(limit) = kernel_tcp {
            let property = "linux.resources.memory.kernelTCP";
            self.write("memory", "memory.kmem.tcp.limit_in_bytes", limit, property)?;
        }
        if let Some(swappiness) = swappiness {
            self.write("memory", "memory.swappiness", swappiness, "linux.resources.memory.swappiness")?;
        }
        if disable_oom_killer == Some(true) {
            self.write("memory", "memory.oom_control", 1, "linux.resources.memory.disableOOMKiller")?;
        }
        if use_hierarchy == Some(true) {
            self.write("memory", "memory.use_hierarchy", 1, "linux.resources.memory.useHierarchy")?;
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu) -> Result<()> {
        let numbers = [
            ("cpu.shares", cpu.shares.map(|n| n.to_string()), "linux.resources.cpu.shares"),
            // ORDER: the quota is checked against the period, the burst against the quota.
            ("cpu.cfs_period_us", cpu.period.map(|n| n.to_string()), "linux.resources.cpu.period"),
            ("cpu.cfs_quota_us", cpu.quota.map(|n| n.to_string()), "linux.resources.cpu.quota"),
            ("cpu.cfs_burst_us", cpu.burst.map(|n| n.to_string()), "linux.resources.cpu.burst"),
            ("cpu.rt_period_us", cpu.realtime_period.map(|n| n.to_string()), "linux.resources.cpu.realtimePeriod"),
            ("cpu.rt_runtime_us", cpu.realtime_runtime.map(|n| n.to_string()), "linux.resources.cpu.realtimeRuntime"),
            ("cpu.idle", cpu.idle.map(|n| n.to_string()), "linux.resources.cpu.idle"),
        ];
        for (file, value, property) in numbers {
            if let Some(value) = value {
                self.write("cpu", file, value, property)?;
            }
        }
        if let Some(cpus) = &cpu.cpus {
            self.write("cpuset", "cpuset.cpus", cpus, "linux.resources.cpu.cpus")?;
        }
        if let Some(mems) = &cpu.mems {
            self.write("cpuset", "cpuset.mems", mems, "linux.resources.cpu.mems")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Version;
    use super::*;

    fn groups() -> Vec<Group> {
        ["memory", "cpu", "cpuset", "pids", "devices"]
            .map(|controller| Group {
                mount_point: format!("/sys/fs/cgroup/{controller}").into(),
                path: "/c1".to_owned(),
                controllers: vec![controller.to_owned()],
                version: Version::V1,
            })
            .into()
    }

    fn lines(resources: &Resources) -> Vec<String> {
        let writes = writes(resources, None, &groups()).unwrap();
        writes.iter().map(|write| format!("{} {}={}", write.group, write.file, write.value)).collect()
    }

    #[test]
    fn every_file_that_would_be_written() {
        let memory = Memory { limit: Some(1 << 20), swap: Some(1 << 21), swappiness: Some(60), ..Memory::default() };
        let cpu = Cpu { shares: Some(512), quota: Some(50000), period: Some(100_000), ..Cpu::default() };
        let resources = Resources { memory, cpu, pids_limit: Some(0), ..Resources::default() };
        assert_eq!(
            lines(&resources),
            [
                "0 memory.limit_in_bytes=1048576",
                "0 memory.memsw.limit_in_bytes=2097152",
                "0 memory.swappiness=60",
                "1 cpu.shares=512",
                "1 cpu.cfs_period_us=100000",
                "1 cpu.cfs_quota_us=50000",
                "3 pids.max=0",
            ]
        );
        assert_eq!(lines(&Resources { pids_limit: Some(-1), ..Resources::default() }), ["3 pids.max=max"]);
        assert_eq!(lines(&Resources::default()), [""; 0]);
    }

    #[test]
    fn a_missing_controller_and_v2_files_are_errors_that_name_the_property() {
        let resources = Resources { pids_limit: Some(5), ..Resources::default() };
        let error = writes(&resources, None, &[]).unwrap_err();
        assert_eq!(error.to_string(), "linux.resources.pids.limit: this machine has no cgroup controller \"pids\"");
        let unified = [("memory.high".to_owned(), "1".to_owned())].into();
        let error = writes(&Resources { unified, ..Resources::default() }, None, &groups()).unwrap_err();
        assert!(error.to_string().starts_with("linux.resources.unified: invalid configuration"), "{error}");
    }
}
