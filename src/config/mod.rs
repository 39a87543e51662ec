//! The configuration as it is meant: `config.json` parsed, checked and settled.
//!
//! [`Config::parse`] takes the bytes of a `config.json` to a [`Config`] in which an `Option` is a meaning ("do not touch
//! the limit"), never "not decided yet". It is the same on every machine: nothing here looks at the kernel, at files or
//! at the environment. What it refuses names the JSON path of the value and says why.
//!
//! One file per chapter of the specification: [`process`] with [`scheduling`], [`mounts`], [`hooks`], [`linux`] with
//! [`execution`], [`net_devices`] and [`rdt`], [`resources`], [`seccomp`]; `top` is what stands beside them. Each holds the checked types and one function for each MUST. [`parse`] drives:
//! `document` is the JSON as it was written, `presence` what must be there, `normalise` what oci-spec is too strict for.
//! [`spec`] is the other direction, the example that the `spec` command writes.
//! What a mount option means is a matter of the mounts subsystem; here options are still words.

use std::collections::BTreeMap;
use std::path::PathBuf;

mod document;
pub mod execution;
pub mod hooks;
pub mod linux;
pub mod mounts;
pub mod net_devices;
mod normalise;
pub mod number_set;
pub mod parse;
mod presence;
pub mod process;
pub(crate) mod property;
pub mod rdt;
pub mod resources;
pub mod scheduling;
pub mod seccomp;
pub mod spec;
#[cfg(test)]
mod testing;
mod top;

pub use hooks::{Hook, Hooks};
pub use linux::{Device, IdMapping, IdMappings, Linux, NamespaceChoice, NamespaceKind, Namespaces, Propagation};
pub use mounts::Mount;
pub use number_set::NumberSet;
pub use process::{CapSet, Capabilities, Process, Rlimit, User};
pub use resources::Resources;

/// A whole, checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The version of the specification that the configuration was written for; any SemVer 1.x.
    pub oci_version: String,
    /// The root filesystem (required on Linux).
    pub root: Root,
    /// In the order in which they are mounted.
    pub mounts: Vec<Mount>,
    /// The program; a container may be created without one, but not started.
    pub process: Option<Process>,
    /// Set in the UTS namespace. `Some("")` cannot be: empty means unset, as Go's `omitempty` writes it.
    pub hostname: Option<String>,
    /// The same for the NIS domain name.
    pub domainname: Option<String>,
    /// All six kinds, in order.
    pub hooks: Hooks,
    /// Handed out by `state` and to hooks.
    pub annotations: BTreeMap<String, String>,
    /// The chapter that holds everything of Linux.
    pub linux: Linux,
    /// What the reader should know though it is no error: unknown capabilities, ignored kernel memory limits.
    pub warnings: Vec<String>,
}

/// `root`.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// As written: absolute, or relative to the bundle.
    pub path: PathBuf,
    /// The container sees its root filesystem read-only.
    pub readonly: bool,
}
