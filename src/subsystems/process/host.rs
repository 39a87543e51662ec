//! What is done to the container's process from outside, with the host's rights.

use std::path::Path;

use super::{FromOutside, rlimits};
use crate::error::{Result, Within};
use crate::fs::procfs::Procfs;

/// Sets `oomScoreAdj`, as soon as there is a process.
pub fn set_oom_score(pid: i32, plan: &FromOutside) -> Result<()> {
    let Some(score) = plan.oom_score_adj else { return Ok(()) };
    Procfs::mounted()?
        .write(Path::new(&format!("{pid}/oom_score_adj")), &score.to_string())
        .within(|| "process.oomScoreAdj")
}

/// Sets the resource limits of a process that may not do it itself.
///
/// ORDER: when the process has set itself up: a limit of ten open files is meant for the program.
pub fn set_rlimits(pid: i32, plan: &FromOutside) -> Result<()> {
    rlimits::set_all(pid, &plan.rlimits)
}
