//! What is done to the container's process from outside, with the host's rights.

use std::path::Path;

use super::FromOutside;
use crate::config::process::RLIMITS;
use crate::error::{OrCall, Result, Within};
use crate::fs::procfs::Procfs;
use crate::sys;

/// Sets `oomScoreAdj`, as soon as there is a process.
pub fn set_oom_score(pid: i32, plan: &FromOutside) -> Result<()> {
    let Some(score) = plan.oom_score_adj else { return Ok(()) };
    Procfs::mounted()?
        .write(Path::new(&format!("{pid}/oom_score_adj")), &score.to_string())
        .within(|| "process.oomScoreAdj")
}

/// Sets the resource limits.
///
/// ORDER: when the process has set itself up: a limit of ten open files is meant for the program. From outside, because a
/// process in a user namespace may not raise its own.
pub fn set_rlimits(pid: i32, plan: &FromOutside) -> Result<()> {
    for (index, limit) in plan.rlimits.iter().enumerate() {
        sys::limits::set_rlimit(pid, limit.resource, limit.soft, limit.hard)
            .or_call(|| {
                let name = RLIMITS.iter().find(|(_, number)| *number == limit.resource).map_or("?", |(name, _)| name);
                format!("prlimit({name}, soft {}, hard {})", limit.soft, limit.hard)
            })
            .within(|| format!("process.rlimits[{index}]"))?;
    }
    Ok(())
}
