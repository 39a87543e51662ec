//! What create decided, in `corten.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Hooks;
use crate::error::Result;
use crate::subsystems::cgroups::Placement;
use crate::subsystems::hooks::{self, HookState, OCI_VERSION, Surroundings};
use crate::subsystems::mounts::host::HostMount;
use crate::subsystems::rdt;
use crate::timing::phase;

/// The record. Written once before anything is made, so that everything can be found again, and once more with the
/// process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Of this format.
    pub version: u32,
    /// The container's.
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute.
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// As configured.
    pub annotations: BTreeMap<String, String>,
    /// Where its processes are.
    pub cgroups: Placement,
    /// Where its share of caches and memory bandwidth stands.
    pub rdt: Option<rdt::Placement>,
    /// When its first process dies, the kernel kills the others.
    pub own_pid_namespace: bool,
    /// Whether there is a program to start.
    pub has_process: bool,
    /// Whether hooks run between start and the program; they take as long as their own timeouts let them.
    pub has_start_hooks: bool,
    /// `poststart` and `poststop`.
    pub hooks: Hooks,
    /// What must be unmounted on the host at the end.
    pub host_mount: Option<HostMount>,
    /// The first process, as soon as there is one.
    pub init: Option<Init>,
}

/// The current format.
pub const VERSION: u32 = 3;

/// A process, named so that another one with the same pid is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Init {
    /// In the runtime's pid namespace.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5).
    pub start_time: u64,
}

impl Record {
    /// SPEC(runtime, Lifecycle 3-4): runs those of create that belong to the runtime's namespaces.
    pub fn run_create_hooks(&self, hooks: &Hooks, pid: i32) -> Result<()> {
        let state = self.hook_state("created", pid);
        for (name, list) in [("prestart", &hooks.prestart), ("createRuntime", &hooks.create_runtime)] {
            let directory = Some(self.bundle.as_path());
            phase(name, || hooks::run_all(list, &state, Surroundings { name, env: None, directory }))?;
        }
        Ok(())
    }

    /// What hooks are told.
    pub fn hook_state(&self, status: &str, pid: i32) -> HookState {
        HookState {
            oci_version: OCI_VERSION.to_owned(),
            id: self.id.clone(),
            status: status.to_owned(),
            pid,
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
        }
    }
}
