//! Files of v2: all in one group, of the controllers that are enabled there.

use std::collections::BTreeMap;

use super::Files;
use super::document::{
    Blkio, BlkioEntry, Cpu, Cpuset, Hugetlb, Memory, MemoryEntry, Misc, Pids, Rdma, RdmaEntry, Stats,
};
use super::format::{device, flat, integer, list, nested, number, pressure};
use super::v1;
use crate::error::{Result, Within};

/// Adds what the group knows.
pub fn add(stats: &mut Stats, files: &dyn Files) -> Result<()> {
    add_cpu(&mut stats.cpu, files)?;
    stats.cpuset = cpuset(files)?;
    add_memory(&mut stats.memory, files)?;
    stats.pids = pids(files)?;
    add_io(stats, files)?;
    stats.hugetlb = hugetlb(files)?;
    stats.rdma = rdma(files)?;
    stats.misc = misc(files)?;
    Ok(())
}

/// Here times are microseconds.
const NANOSECONDS: u64 = 1000;

/// Usage is there without the controller, too.
fn add_cpu(cpu: &mut Cpu, files: &dyn Files) -> Result<()> {
    let stat = flat(files, "cpu.stat")?.unwrap_or_default();
    let value = |key: &str| stat.get(key).copied().unwrap_or_default();
    cpu.usage.total = value("usage_usec") * NANOSECONDS;
    cpu.usage.kernel = value("system_usec") * NANOSECONDS;
    cpu.usage.user = value("user_usec") * NANOSECONDS;
    cpu.throttling.periods = value("nr_periods");
    cpu.throttling.throttled_periods = value("nr_throttled");
    cpu.throttling.throttled_time = value("throttled_usec") * NANOSECONDS;
    cpu.burst.periods = value("nr_bursts");
    cpu.burst.time = value("burst_usec") * NANOSECONDS;
    cpu.psi = pressure(files, "cpu.pressure")?;
    Ok(())
}

/// What is in effect: the configured lists are empty where the parent's count. v2 has no flags.
fn cpuset(files: &dyn Files) -> Result<Cpuset> {
    Ok(Cpuset {
        cpus: list(files, "cpuset.cpus.effective")?.unwrap_or_default(),
        mems: list(files, "cpuset.mems.effective")?.unwrap_or_default(),
        ..Default::default()
    })
}

fn add_memory(memory: &mut Memory, files: &dyn Files) -> Result<()> {
    memory.psi = pressure(files, "memory.pressure")?;
    let Some(raw) = flat(files, "memory.stat")? else { return Ok(()) };
    memory.cache = raw.get("file").copied().unwrap_or_default();
    memory.raw = raw;
    memory.usage = memory_entry(files, "memory")?;
    let swap = memory_entry(files, "memory.swap")?;
    // COMPAT(runc): as v1 counts it. Without swap accounting v1 has nothing to show either.
    if files.read("memory.swap.current")?.is_some() {
        memory.swap = MemoryEntry {
            limit: swap.limit.saturating_add(memory.usage.limit),
            usage: swap.usage + memory.usage.usage,
            // The two need not have been at their height together.
            max: 0,
            failcnt: swap.failcnt,
        };
    }
    Ok(())
}

fn memory_entry(files: &dyn Files, prefix: &str) -> Result<MemoryEntry> {
    let value = |suffix: &str| number(files, &format!("{prefix}.{suffix}")).map(Option::unwrap_or_default);
    let events = flat(files, &format!("{prefix}.events"))?.unwrap_or_default();
    Ok(MemoryEntry {
        limit: value("max")?,
        usage: value("current")?,
        // KERNEL(5.19), of swap 6.5.
        max: value("peak")?,
        failcnt: events.get("max").copied().unwrap_or_default(),
    })
}

/// Without the controller they are counted one by one, those of groups below not.
fn pids(files: &dyn Files) -> Result<Pids> {
    if files.read("pids.current")?.is_some() {
        return v1::pids(files);
    }
    let threads = files.read("cgroup.threads")?.unwrap_or_default().lines().count();
    Ok(Pids { current: threads.try_into().unwrap_or(u64::MAX), limit: 0 })
}

/// Whole, and in the words of v1.
fn add_io(stats: &mut Stats, files: &dyn Files) -> Result<()> {
    stats.blkio.psi = pressure(files, "io.pressure")?;
    let devices = nested(files, "io.stat")?.unwrap_or_default();
    for (name, values) in devices.into_iter().filter(|(_, values)| !values.is_empty()) {
        // KERNEL: with blkcg_debug_stats there are words among them, such as `depth=max`.
        let number = |(key, value): (&String, &String)| Some((key.clone(), integer(value).ok()?));
        let numbers: BTreeMap<String, u64> = values.iter().filter_map(number).collect();
        // The kernel calls what has no number "(unknown)".
        if name.contains(':') {
            add_device(&mut stats.blkio, &name, &numbers).within(|| "io.stat")?;
        }
        stats.io.insert(name, numbers);
    }
    Ok(())
}

fn add_device(blkio: &mut Blkio, name: &str, numbers: &BTreeMap<String, u64>) -> Result<()> {
    let (major, minor) = device(name)?;
    let entry = |op: &str, key: &str| {
        let op = op.to_owned();
        numbers.get(key).map(|value| BlkioEntry { major, minor, op, value: *value })
    };
    blkio.io_service_bytes_recursive.extend(entry("Read", "rbytes"));
    blkio.io_service_bytes_recursive.extend(entry("Write", "wbytes"));
    blkio.io_serviced_recursive.extend(entry("Read", "rios"));
    blkio.io_serviced_recursive.extend(entry("Write", "wios"));
    Ok(())
}

/// Reservations where the kernel has them (since 5.7).
fn hugetlb(files: &dyn Files) -> Result<BTreeMap<String, Hugetlb>> {
    let mut pages = BTreeMap::new();
    for size in v1::page_sizes(files, ".max")? {
        let reserved = number(files, &format!("hugetlb.{size}.rsvd.current"))?;
        let used = || number(files, &format!("hugetlb.{size}.current"));
        let usage = reserved.map_or_else(used, |value| Ok(Some(value)))?.unwrap_or_default();
        let events = flat(files, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
        let failcnt = events.get("max").copied().unwrap_or_default();
        pages.insert(size, Hugetlb { usage, max: 0, failcnt });
    }
    Ok(pages)
}

/// The same files on v1.
pub fn rdma(files: &dyn Files) -> Result<BTreeMap<String, Rdma>> {
    let entries = |name: &str| -> Result<BTreeMap<String, RdmaEntry>> {
        let entry = |values: &BTreeMap<String, String>| -> Result<RdmaEntry> {
            let value = |key: &str| match values.get(key).map(String::as_str) {
                None => Ok(0),
                Some("max") => Ok(u32::MAX),
                Some(number) => integer(number),
            };
            Ok(RdmaEntry { hca_handles: value("hca_handle")?, hca_objects: value("hca_object")? })
        };
        let devices = nested(files, name)?.unwrap_or_default();
        devices.iter().map(|(device, values)| Ok((device.clone(), entry(values).within(|| name)?))).collect()
    };
    let mut limits = entries("rdma.max")?;
    let current = entries("rdma.current")?.into_iter();
    Ok(current
        .map(|(device, current)| {
            let limit = limits.remove(&device).unwrap_or_default();
            (device, Rdma { current, limit })
        })
        .collect())
}

/// The same files on v1.
pub fn misc(files: &dyn Files) -> Result<BTreeMap<String, Misc>> {
    let events = flat(files, "misc.events")?.unwrap_or_default();
    let current = flat(files, "misc.current")?.unwrap_or_default().into_iter();
    Ok(current
        .map(|(name, usage)| {
            let events = events.get(&format!("{name}.max")).copied().unwrap_or_default();
            (name, Misc { usage, events })
        })
        .collect())
}
