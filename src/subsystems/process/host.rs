//! What is done to the container's process from outside, with the host's rights.

use std::path::Path;

use nix::errno::Errno;

use super::{FromOutside, rlimits};
use crate::config::NumberSet;
use crate::config::scheduling::{IoPriority, Scheduler};
use crate::error::{OrCall, Result, Within};
use crate::fs::procfs::Procfs;
use crate::sys::schedule::{self, SchedAttr};

/// Sets `oomScoreAdj`, as soon as there is a process.
pub fn set_oom_score(pid: i32, plan: &FromOutside) -> Result<()> {
    let Some(score) = plan.oom_score_adj else { return Ok(()) };
    Procfs::mounted()?
        .write(Path::new(&format!("{pid}/oom_score_adj")), &score.to_string())
        .within(|| "process.oomScoreAdj")
}

/// Sets what is meant for the program: resource limits, scheduler, I/O priority.
///
/// ORDER: when the process has set itself up, which takes more than ten open files, and should not wait until all others are
/// idle.
pub fn settle(pid: i32, plan: &FromOutside) -> Result<()> {
    rlimits::set_all(pid, &plan.rlimits)?;
    if let Some(scheduler) = &plan.scheduler {
        set_scheduler(pid, scheduler).within(|| "process.scheduler")?;
    }
    if let Some(priority) = &plan.io_priority {
        set_io_priority(pid, *priority).within(|| "process.ioPriority")?;
    }
    Ok(())
}

fn set_scheduler(pid: i32, scheduler: &Scheduler) -> Result<()> {
    let attributes = SchedAttr {
        size: size_of::<SchedAttr>().try_into().unwrap_or(0),
        policy: scheduler.policy,
        flags: scheduler.flags,
        nice: scheduler.nice,
        priority: scheduler.priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
        ..SchedAttr::default()
    };
    let set = schedule::set_scheduler(pid, &attributes);
    let error = match set.or_call(|| format!("sched_setattr({})", scheduler.policy_name())) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    Err(match (error.errno(), scheduler.policy_name()) {
        // sched(7): a deadline is promised for all CPUs of a root domain, or not at all.
        (Some(Errno::EPERM), "SCHED_DEADLINE") => error.hint("it takes CAP_SYS_NICE, and no cpuset"),
        (Some(Errno::EPERM), "SCHED_FIFO" | "SCHED_RR") => {
            error.hint("it takes CAP_SYS_NICE, and on cgroup v1 linux.resources.cpu.realtimeRuntime")
        }
        _ => error,
    })
}

/// SPEC(config, process.ioPriority): of the process group, which the process leads.
fn set_io_priority(pid: i32, priority: IoPriority) -> Result<()> {
    schedule::set_io_priority_of_group(pid, priority.class, priority.priority)
        .or_call(|| format!("ioprio_set({}, {})", priority.class, priority.priority))
}

/// SPEC(config, process.execCPUAffinity): does something with this thread on the `initial` CPUs, which its children inherit.
pub fn on_cpus<T>(cpus: Option<&NumberSet>, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(cpus) = cpus else { return act() };
    let moving = || -> Result<Vec<u64>> {
        let before = schedule::affinity().or_call(|| "sched_getaffinity")?;
        schedule::set_affinity(cpus.words()).or_call(|| format!("sched_setaffinity(\"{cpus}\")"))?;
        Ok(before)
    };
    let before = moving().within(|| "process.execCPUAffinity.initial")?;
    let done = act();
    // These CPUs may have gone; then it stays where it is.
    let _ = schedule::set_affinity(&before);
    done
}
