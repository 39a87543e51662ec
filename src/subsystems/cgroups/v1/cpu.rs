//! Documentation/scheduler/sched-bwc.rst and sched-rt-group.rst, Documentation/admin-guide/cgroup-v1/cpusets.rst.

use super::super::limits::{List, check_cpu, idle_or_weight};
use crate::config::resources::Cpu;
use crate::error::Result;

const BURST: &str = "cpu.cfs_burst_us";
const QUOTA: &str = "cpu.cfs_quota_us";

pub(super) fn limit(list: &mut List<'_>, cpu: &Cpu) -> Result<()> {
    check_cpu(cpu, list.number(QUOTA), list.number(BURST))?;
    let idle = cpu.idle.map(|idle| (idle.to_string(), "linux.resources.cpu.idle".to_owned()));
    let weight = |shares: u64| (shares.to_string(), "linux.resources.cpu.shares".to_owned());
    idle_or_weight(list, idle, ("cpu.shares", cpu.shares.map(weight)))?;
    let set_burst = |list: &mut List<'_>, burst| list.write(BURST, burst, "linux.resources.cpu.burst");
    // ORDER: at no time may the burst be above the quota; a new group has a burst of 0.
    let shrinks = |burst: u64| list.number(BURST).is_some_and(|now| u64::try_from(now).is_ok_and(|now| burst < now));
    let (before, after) = if cpu.burst.is_some_and(shrinks) { (cpu.burst, None) } else { (None, cpu.burst) };
    before.map_or(Ok(()), |burst| set_burst(list, burst))?;
    period_and_part(
        list,
        ("cpu.cfs_period_us", cpu.period, "linux.resources.cpu.period"),
        (QUOTA, cpu.quota, "linux.resources.cpu.quota"),
    )?;
    after.map_or(Ok(()), |burst| set_burst(list, burst))?;
    period_and_part(
        list,
        ("cpu.rt_period_us", cpu.realtime_period, "linux.resources.cpu.realtimePeriod"),
        ("cpu.rt_runtime_us", cpu.realtime_runtime, "linux.resources.cpu.realtimeRuntime"),
    )?;
    if let Some(cpus) = &cpu.cpus {
        list.write("cpuset.cpus", cpus, "linux.resources.cpu.cpus")?;
    }
    if let Some(mems) = &cpu.mems {
        list.write("cpuset.mems", mems, "linux.resources.cpu.mems")?;
    }
    Ok(())
}

type Setting<T> = (&'static str, Option<T>, &'static str);

/// ORDER: in between the group may not have a greater part of a CPU than before or after, because its parent may not
/// allow that: a longer period comes first, a shorter one last.
fn period_and_part(list: &mut List<'_>, period: Setting<u64>, part: Setting<i64>) -> Result<()> {
    let (file, wanted, property) = period;
    let now = list.number(file).and_then(|now| u64::try_from(now).ok());
    let shrinks = matches!((wanted, now), (Some(wanted), Some(now)) if wanted < now);
    let set_period = |list: &mut List<'_>| wanted.map_or(Ok(()), |period| list.write(file, period, property));
    if !shrinks {
        set_period(list)?;
    }
    let (file, wanted, property) = part;
    wanted.map_or(Ok(()), |part| list.write(file, part, property))?;
    if shrinks { set_period(list) } else { Ok(()) }
}
