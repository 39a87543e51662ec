//! The memory controller.

use super::super::limits::{List, bound, check_usage};
use super::super::plan::When;
use super::{limit_or_max, no_v2_form};
use crate::config::resources::Memory;
use crate::error::{Error, Result};

const LIMIT: &str = "memory.max";
const SWAP: &str = "memory.swap.max";

pub(super) fn limit(list: &mut List<'_>, memory: &Memory) -> Result<()> {
    let Memory { limit, reservation, kernel_tcp, swappiness, disable_oom_killer, .. } = *memory;
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
    check_usage_now(list, memory)?;
    let swap = swap_alone(limit, memory.swap, || list.number(LIMIT))?;
    // ORDER: what grows comes first: then the pages that no longer fit have a place to go to. A new group has no limit.
    let grows = swap.is_some_and(|swap| bound(swap) >= list.number(SWAP).map_or(u64::MAX, bound));
    if grows {
        set_swap(list, swap)?;
    }
    if let Some(limit) = limit {
        list.write(LIMIT, limit_or_max(limit), "linux.resources.memory.limit")?;
    }
    if !grows {
        set_swap(list, swap)?;
    }
    if let Some(reservation) = reservation {
        list.write("memory.low", limit_or_max(reservation), "linux.resources.memory.reservation")?;
    }
    Ok(())
}

fn set_swap(list: &mut List<'_>, swap: Option<i64>) -> Result<()> {
    let Some(swap) = swap else { return Ok(()) };
    // Without swap accounting there is no file, and no swap: neither all of it nor none of it needs a limit.
    let when = if swap <= 0 { When::IfThere } else { When::Always };
    list.write_when(when, SWAP, limit_or_max(swap), "linux.resources.memory.swap")
}

fn check_usage_now(list: &List<'_>, memory: &Memory) -> Result<()> {
    if !memory.check_before_update {
        return Ok(());
    }
    let usage = list.number("memory.current");
    let with_swap = usage.map(|usage| usage + list.number("memory.swap.current").unwrap_or(0));
    check_usage(memory, usage, with_swap)
}

/// `memory.swap` of the specification is memory *plus* swap; v2 limits swap alone. Given alone, it counts from the limit
/// of memory that there is.
fn swap_alone(limit: Option<i64>, swap: Option<i64>, limit_now: impl FnOnce() -> Option<i64>) -> Result<Option<i64>> {
    const PROPERTY: &str = "linux.resources.memory.swap";
    let swap = match (limit, swap) {
        // COMPAT(runc): no limit of memory and nothing said of swap means no limit of either.
        (Some(-1), None) | (_, Some(-1)) => return Ok(Some(-1)),
        (_, None) => return Ok(None),
        (_, Some(swap)) => swap,
    };
    match limit.or_else(limit_now).filter(|limit| *limit >= 0) {
        Some(limit) if swap >= limit => Ok(Some(swap - limit)),
        Some(limit) => {
            let why = format!("{swap} is for memory and swap together, but less than the memory limit {limit}");
            Err(Error::invalid(PROPERTY, why))
        }
        None => {
            let why = format!("{swap} is memory plus swap, and cannot be set without linux.resources.memory.limit");
            Err(Error::invalid(PROPERTY, why))
        }
    }
}
