//! The program: who it is, what it finds, where it begins.

pub mod env;
pub mod host;
pub mod inside;
pub mod rlimits;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::process::{Capabilities, Process, Rlimit, Terminal, User};

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
}

/// What the host does to the process from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented at config::Process")]
pub struct FromOutside {
    pub rlimits: Vec<Rlimit>,
    pub oom_score_adj: Option<i32>,
}

/// Divides the chapter between the two sides.
///
/// A process in a user namespace of its own may not raise its limits, so the host sets them; elsewhere the process does,
/// while it is still root: from outside that would need CAP_SYS_RESOURCE as soon as it is another user.
pub fn plan(process: &Process, own_user_namespace: bool) -> (ProcessPlan, FromOutside) {
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
    };
    (inside, FromOutside { rlimits: by_host, oom_score_adj: process.oom_score_adj })
}
