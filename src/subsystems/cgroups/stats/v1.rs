//! Files of v1: a hierarchy per controller, or for a few together.

use std::collections::BTreeMap;

use super::Files;
use super::document::{Blkio, BlkioEntry, Cpu, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Stats};
use super::format::{by_device, flat, list, number, row};
use crate::error::Result;

/// Adds what these controllers know.
pub fn add(stats: &mut Stats, controllers: &[String], files: &dyn Files) -> Result<()> {
    for controller in controllers {
        match controller.as_str() {
            "cpu" => add_quota(&mut stats.cpu, files)?,
            "cpuacct" => add_usage(&mut stats.cpu, files)?,
            "cpuset" => stats.cpuset = cpuset(files)?,
            "memory" => add_memory(&mut stats.memory, files)?,
            "pids" => stats.pids = pids(files)?,
            "blkio" => add_blkio(&mut stats.blkio, files)?,
            "hugetlb" => stats.hugetlb = hugetlb(files)?,
            "rdma" => stats.rdma = super::v2::rdma(files)?,
            "misc" => stats.misc = super::v2::misc(files)?,
            // These count nothing: devices, freezer, net_cls, net_prio, perf_event, name=systemd.
            _ => {}
        }
    }
    Ok(())
}

/// Here `cpu.stat` is in nanoseconds.
fn add_quota(cpu: &mut Cpu, files: &dyn Files) -> Result<()> {
    let stat = flat(files, "cpu.stat")?.unwrap_or_default();
    let value = |key: &str| stat.get(key).copied().unwrap_or_default();
    cpu.throttling.periods = value("nr_periods");
    cpu.throttling.throttled_periods = value("nr_throttled");
    cpu.throttling.throttled_time = value("throttled_time");
    cpu.burst.periods = value("nr_bursts");
    cpu.burst.time = value("burst_time");
    Ok(())
}

/// `cpuacct.stat` is in ticks of USER_HZ, which is 100 on every architecture that this is built for.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

fn add_usage(cpu: &mut Cpu, files: &dyn Files) -> Result<()> {
    let stat = flat(files, "cpuacct.stat")?.unwrap_or_default();
    let time = |key: &str| stat.get(key).map_or(0, |ticks| ticks * NANOSECONDS_PER_TICK);
    let usage = &mut cpu.usage;
    usage.total = number(files, "cpuacct.usage")?.unwrap_or_default();
    usage.percpu = row(files, "cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu_kernel = row(files, "cpuacct.usage_percpu_sys")?.unwrap_or_default();
    usage.percpu_user = row(files, "cpuacct.usage_percpu_user")?.unwrap_or_default();
    usage.kernel = time("system");
    usage.user = time("user");
    Ok(())
}

fn cpuset(files: &dyn Files) -> Result<Cpuset> {
    let flag = |name: &str| number(files, &format!("cpuset.{name}")).map(Option::unwrap_or_default);
    let level = files.read("cpuset.sched_relax_domain_level")?;
    Ok(Cpuset {
        cpus: list(files, "cpuset.cpus")?.unwrap_or_default(),
        cpu_exclusive: flag("cpu_exclusive")?,
        mems: list(files, "cpuset.mems")?.unwrap_or_default(),
        mem_hardwall: flag("mem_hardwall")?,
        mem_exclusive: flag("mem_exclusive")?,
        memory_migrate: flag("memory_migrate")?,
        memory_spread_page: flag("memory_spread_page")?,
        memory_spread_slab: flag("memory_spread_slab")?,
        memory_pressure: flag("memory_pressure")?,
        sched_load_balance: flag("sched_load_balance")?,
        sched_relax_domain_level: level.map_or(Ok(0), |level| super::format::integer(level.trim()))?,
    })
}

fn add_memory(memory: &mut Memory, files: &dyn Files) -> Result<()> {
    memory.raw = flat(files, "memory.stat")?.unwrap_or_default();
    memory.cache = memory.raw.get("cache").copied().unwrap_or_default();
    memory.usage = memory_entry(files, "memory")?;
    memory.swap = memory_entry(files, "memory.memsw")?;
    memory.kernel = memory_entry(files, "memory.kmem")?;
    memory.kernel_tcp = memory_entry(files, "memory.kmem.tcp")?;
    Ok(())
}

/// Zeros without swap or kernel accounting; newer kernels have no limit for kernel memory.
fn memory_entry(files: &dyn Files, prefix: &str) -> Result<MemoryEntry> {
    let value = |suffix: &str| number(files, &format!("{prefix}.{suffix}")).map(Option::unwrap_or_default);
    Ok(MemoryEntry {
        limit: value("limit_in_bytes")?,
        usage: value("usage_in_bytes")?,
        max: value("max_usage_in_bytes")?,
        failcnt: value("failcnt")?,
    })
}

/// COMPAT(runc): no limit is zero.
pub fn pids(files: &dyn Files) -> Result<Pids> {
    let limit = number(files, "pids.max")?.filter(|limit| *limit != u64::MAX);
    Ok(Pids { current: number(files, "pids.current")?.unwrap_or_default(), limit: limit.unwrap_or_default() })
}

/// BFQ counts when it is the scheduler of the device, the throttle always does; the others are debugging statistics of BFQ.
fn add_blkio(blkio: &mut Blkio, files: &dyn Files) -> Result<()> {
    let first = |names: &[&str]| -> Result<Vec<BlkioEntry>> {
        for name in names {
            if let Some(entries) = by_device(files, name)?.filter(|entries| !entries.is_empty()) {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    };
    blkio.io_service_bytes_recursive =
        first(&["blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"])?;
    blkio.io_serviced_recursive = first(&["blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"])?;
    blkio.io_queued_recursive = first(&["blkio.bfq.io_queued_recursive"])?;
    blkio.io_service_time_recursive = first(&["blkio.bfq.io_service_time_recursive"])?;
    blkio.io_wait_time_recursive = first(&["blkio.bfq.io_wait_time_recursive"])?;
    blkio.io_merged_recursive = first(&["blkio.bfq.io_merged_recursive"])?;
    blkio.io_time_recursive = first(&["blkio.bfq.time_recursive"])?;
    blkio.sectors_recursive = first(&["blkio.bfq.sectors_recursive"])?;
    Ok(())
}

/// Reservations where the kernel has them (since 5.7).
fn hugetlb(files: &dyn Files) -> Result<BTreeMap<String, Hugetlb>> {
    let mut pages = BTreeMap::new();
    for size in page_sizes(files, ".limit_in_bytes")? {
        let value = |suffix: &str| -> Result<u64> {
            let reserved = number(files, &format!("hugetlb.{size}.rsvd.{suffix}"))?;
            let used = || number(files, &format!("hugetlb.{size}.{suffix}"));
            Ok(reserved.map_or_else(used, |value| Ok(Some(value)))?.unwrap_or_default())
        };
        let entry =
            Hugetlb { usage: value("usage_in_bytes")?, max: value("max_usage_in_bytes")?, failcnt: value("failcnt")? };
        pages.insert(size, entry);
    }
    Ok(pages)
}

/// `2MB` of `hugetlb.2MB` and the suffix.
pub fn page_sizes(files: &dyn Files, suffix: &str) -> Result<Vec<String>> {
    let size = |name: &String| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    Ok(files.names()?.iter().filter_map(size).collect())
}
