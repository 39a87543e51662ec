//! Documentation/admin-guide/cgroup-v1/memory.rst.

use super::super::limits::{List, bound, check_usage};
use super::super::plan::When;
use crate::config::resources::Memory;
use crate::error::{Error, Result};

const LIMIT: &str = "memory.limit_in_bytes";
const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";

pub(super) fn limit(list: &mut List<'_>, memory: &Memory) -> Result<()> {
    let usage = |file| memory.check_before_update.then(|| list.number(file)).flatten();
    check_usage(memory, usage("memory.usage_in_bytes"), usage("memory.memsw.usage_in_bytes"))?;
    limit_and_swap(list, memory)?;
    let Memory { reservation, kernel_tcp, swappiness, disable_oom_killer, use_hierarchy, .. } = *memory;
    if let Some(reservation) = reservation {
        list.write("memory.soft_limit_in_bytes", reservation, "linux.resources.memory.reservation")?;
    }
    if let Some(limit) = kernel_tcp {
        list.write("memory.kmem.tcp.limit_in_bytes", limit, "linux.resources.memory.kernelTCP")?;
    }
    if let Some(swappiness) = swappiness {
        list.write("memory.swappiness", swappiness, "linux.resources.memory.swappiness")?;
    }
    if disable_oom_killer == Some(true) {
        list.write("memory.oom_control", 1, "linux.resources.memory.disableOOMKiller")?;
    }
    if use_hierarchy == Some(true) {
        list.write("memory.use_hierarchy", 1, "linux.resources.memory.useHierarchy")?;
    }
    Ok(())
}

fn limit_and_swap(list: &mut List<'_>, memory: &Memory) -> Result<()> {
    const PROPERTY: &str = "linux.resources.memory.swap";
    // COMPAT(runc): no limit of memory and nothing said of swap means no limit of either.
    let swap = memory.swap.or(memory.limit.filter(|limit| *limit == -1));
    check_against_now(list, memory.limit, swap)?;
    // A new group has no limit.
    let grows = swap.is_some_and(|swap| bound(swap) >= list.number(WITH_SWAP).map_or(u64::MAX, bound));
    let set_swap = |list: &mut List<'_>| match swap {
        // Without swap accounting there is no file, and nothing is limited.
        Some(-1) => list.write_when(When::IfThere, WITH_SWAP, -1, PROPERTY),
        Some(swap) => list.write(WITH_SWAP, swap, PROPERTY),
        None => Ok(()),
    };
    // ORDER: at no time may memory alone have more than memory and swap together.
    if grows {
        set_swap(list)?;
    }
    if let Some(limit) = memory.limit {
        list.write(LIMIT, limit, "linux.resources.memory.limit")?;
    }
    if grows { Ok(()) } else { set_swap(list) }
}

/// If only one of the two is given, the other one stays: the kernel would refuse it with a bare EINVAL.
fn check_against_now(list: &List<'_>, limit: Option<i64>, swap: Option<i64>) -> Result<()> {
    match (limit, swap) {
        (Some(limit), None) => match list.number(WITH_SWAP) {
            Some(swap) if bound(limit) > bound(swap) => {
                let why = format!("{limit} is more than the limit of memory and swap together, {swap}");
                Err(Error::invalid("linux.resources.memory.limit", why))
            }
            Some(_) | None => Ok(()),
        },
        (None, Some(swap)) => match list.number(LIMIT) {
            Some(limit) if bound(swap) < bound(limit) => {
                let why = format!("{swap} is for memory and swap together, but less than the memory limit {limit}");
                Err(Error::invalid("linux.resources.memory.swap", why))
            }
            Some(_) | None => Ok(()),
        },
        (Some(_), Some(_)) | (None, None) => Ok(()),
    }
}
