//! A further process in a container that runs.

use serde::{Deserialize, Serialize};

use super::{SeccompPoint, seccomp_point};
use crate::config::NumberSet;
use crate::config::execution::Execution;
use crate::config::process::Process;
use crate::config::seccomp::Listener;
use crate::error::Result;
use crate::machine::Machine;
use crate::subsystems::keyring::Keyring;
use crate::subsystems::lsm::LsmPlan;
use crate::subsystems::process::{self, Affinity, FromOutside, ProcessPlan};
use crate::subsystems::seccomp;
use crate::sys::fd::Passed;

/// The part of it that goes over the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecPlan {
    /// A pidfd of the container's first process.
    pub container: Passed,
    /// `CLONE_NEW*`: which of its namespaces are to be joined.
    pub namespaces: u64,
    /// The root directory to change to, when it does not come with a mount namespace.
    pub root: Option<Passed>,
    /// A message says when we are in the groups that we were not born in, and have what is set from outside.
    pub waits: bool,
    /// The container's session keyring, if it has one.
    pub keyring: Option<Keyring>,
    /// Security modules.
    pub lsm: LsmPlan,
    /// The program.
    pub process: ProcessPlan,
    /// The container's filter.
    pub seccomp: Option<(seccomp::Filter, SeccompPoint)>,
    /// Without privileges the host may not take the listener: what the process executed belongs to the host's user namespace,
    /// and it is not dumpable.
    pub passes_listener: bool,
    /// Descriptors from 3 on that stay open.
    pub preserved_fds: u32,
    /// See [`super::InsidePlan::husk`].
    pub husk: Option<Passed>,
}

/// What create knew, and every further process needs. Kept in the state: the bundle may have changed, or be gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `process`, from which a command that is not a whole process takes the rest.
    pub process: Option<Process>,
    /// What every process of the container starts with.
    pub execution: Execution,
    /// The compiled `linux.seccomp`.
    pub filter: Option<seccomp::Filter>,
    /// Who gets its listener, if it has one.
    pub listener: Option<Listener>,
    /// Its session keyring, unless it has its caller's.
    pub keyring: Option<Keyring>,
    /// `CLONE_NEW*` of all namespaces that the container has and its runtime has not.
    pub namespaces: u64,
}

/// What is decided about a process, before anything is opened.
#[derive(Clone, Debug)]
pub struct Decided {
    /// See [`ExecPlan::process`].
    pub process: ProcessPlan,
    /// Limits that are set from outside.
    pub from_outside: FromOutside,
    /// The CPUs on which it is to be born.
    pub initial_cpus: Option<NumberSet>,
    /// See [`ExecPlan::lsm`].
    pub lsm: LsmPlan,
    /// See [`ExecPlan::seccomp`].
    pub seccomp: Option<(seccomp::Filter, SeccompPoint)>,
    /// See [`Snapshot::listener`].
    pub listener: Option<Listener>,
    /// See [`ExecPlan::keyring`].
    pub keyring: Option<Keyring>,
}

impl Snapshot {
    /// Plans `process` in this container.
    pub fn plan(self, process: &Process, machine: &Machine) -> Result<Decided> {
        let own_user_namespace = self.namespaces & libc::CLONE_NEWUSER.unsigned_abs() as u64 != 0;
        let point = seccomp_point(process);
        let lsm = LsmPlan::new(process, machine)?;
        let affinity = Affinity::of_exec(process.exec_affinity.as_ref());
        let initial_cpus = process.exec_affinity.as_ref().and_then(|affinity| affinity.initial.clone());
        let (process, from_outside) = process::plan(process, affinity, self.execution, own_user_namespace);
        let seccomp = self.filter.map(|filter| (filter, point));
        let Self { listener, keyring, .. } = self;
        Ok(Decided { process, from_outside, initial_cpus, lsm, seccomp, listener, keyring })
    }
}
