//! The program: who it is, what it finds, where it begins, and how the kernel runs it.

pub mod env;
pub mod host;
pub mod inside;
pub mod rlimits;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::NumberSet;
use crate::config::execution::Execution;
use crate::config::process::{Capabilities, Process, Rlimit, Terminal, User};
use crate::config::scheduling::{ExecAffinity, IoPriority, Scheduler};

/// What the container's side needs to know of `process`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented at config::Process")]
pub struct ProcessPlan {
    pub terminal: Option<Terminal>,
    pub cwd: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub user: User,
    pub capabilities: Capabilities,
    pub no_new_privileges: bool,
    pub rlimits: Vec<Rlimit>,
    pub affinity: Affinity,
    pub execution: Execution,
}

/// On which CPUs the program may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Affinity {
    /// On all that its cpuset has: whoever started us (`taskset`, CRI-O) may have narrowed what it inherits.
    All,
    /// What the kernel made of the CPUs on which it was born when it joined its cpuset.
    Inherited,
    /// On these.
    Only(NumberSet),
}

impl Affinity {
    /// SPEC(config, process.execCPUAffinity): without `final` nothing is changed any more.
    pub fn of_exec(wanted: Option<&ExecAffinity>) -> Self {
        match wanted {
            None => Self::All,
            Some(ExecAffinity { r#final: None, .. }) => Self::Inherited,
            Some(ExecAffinity { r#final: Some(cpus), .. }) => Self::Only(cpus.clone()),
        }
    }
}

/// What the host does to the process from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented at config::Process")]
pub struct FromOutside {
    pub rlimits: Vec<Rlimit>,
    pub oom_score_adj: Option<i32>,
    pub scheduler: Option<Scheduler>,
    pub io_priority: Option<IoPriority>,
}

impl FromOutside {
    /// Whether there is something to do when the process is ready ([`host::settle`]).
    pub fn comes_last(&self) -> bool {
        !self.rlimits.is_empty() || self.scheduler.is_some() || self.io_priority.is_some()
    }
}

/// Divides the chapter between the two sides.
///
/// A process in a user namespace of its own may not raise its limits, so the host sets them; elsewhere the process does,
/// while it is still root: from outside that would need CAP_SYS_RESOURCE as soon as it is another user.
///
/// Most schedulers and I/O classes take rights in the host's user namespace, so the host sets them, too.
pub fn plan(
    process: &Process,
    affinity: Affinity,
    execution: Execution,
    own_user_namespace: bool,
) -> (ProcessPlan, FromOutside) {
    let (by_host, by_itself) = match own_user_namespace {
        true => (process.rlimits.clone(), Vec::new()),
        false => (Vec::new(), process.rlimits.clone()),
    };
    let inside = ProcessPlan {
        terminal: process.terminal,
        cwd: process.cwd.clone(),
        args: process.args.clone(),
        env: env::without_duplicates(&process.env),
        user: process.user.clone(),
        // COMPAT(runc): nothing said is nothing given; the specification leaves it open.
        capabilities: process.capabilities.unwrap_or_default(),
        no_new_privileges: process.no_new_privileges,
        rlimits: by_itself,
        affinity,
        execution,
    };
    let outside = FromOutside {
        rlimits: by_host,
        oom_score_adj: process.oom_score_adj,
        scheduler: process.scheduler,
        io_priority: process.io_priority,
    };
    (inside, outside)
}
