//! `linux`: namespaces, id mappings, devices, paths, and the rest of what only Linux has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::resources::Resources;
use super::seccomp::Seccomp;

/// The chapter, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Linux {
    /// For each kind: create, join, or stay where the runtime is.
    pub namespaces: Namespaces,
    /// Given exactly when a user namespace is created.
    pub id_mappings: Option<IdMappings>,
    /// Beside the default devices.
    pub devices: Vec<Device>,
    /// As written; `None` also for an empty string. Its meaning depends on the cgroup driver.
    pub cgroups_path: Option<String>,
    /// All limits; the default touches nothing.
    pub resources: Resources,
    /// `None`: slave, so that the host's later mounts arrive and nothing leaves (what runc gives).
    pub rootfs_propagation: Option<Propagation>,
    /// Absolute.
    pub masked_paths: Vec<PathBuf>,
    /// Absolute.
    pub readonly_paths: Vec<PathBuf>,
    /// Keys in the form `net.ipv4.ip_forward`, already allowed for the namespaces of this container.
    pub sysctl: BTreeMap<String, String>,
    /// SELinux context for the mounts.
    pub mount_label: Option<String>,
    /// The system call filter.
    pub seccomp: Option<Seccomp>,
    /// Offsets of the clocks in a new time namespace, by clock ("monotonic", "boottime").
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

/// The eight kinds, in the order in which a process joins them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum NamespaceKind {
    User,
    Cgroup,
    Ipc,
    Uts,
    Network,
    Pid,
    Time,
    Mount,
}

impl NamespaceKind {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Cgroup, Self::Ipc, Self::Uts, Self::Network, Self::Pid, Self::Time, Self::Mount];

    /// The word of `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Network => "network",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::Mount => "mount",
        }
    }

    /// The name below `/proc/PID/ns`.
    pub fn proc_name(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Mount => "mnt",
            other => other.name(),
        }
    }
}

/// What to do about one kind of namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NamespaceChoice {
    /// Not listed: the runtime's own.
    #[default]
    Inherit,
    /// Listed without a path.
    Create,
    /// Listed with one.
    Join {
        /// Absolute, in the runtime's mount namespace.
        path: PathBuf,
        /// `linux.namespaces[2].path`.
        property: String,
    },
}

/// A choice for every kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces([NamespaceChoice; 8]);

impl Namespaces {
    /// What to do about `kind`.
    pub fn of(&self, kind: NamespaceKind) -> &NamespaceChoice {
        &self.0[kind as usize]
    }

    /// Decides it.
    pub fn set(&mut self, kind: NamespaceKind, choice: NamespaceChoice) {
        self.0[kind as usize] = choice;
    }

    /// Whether a new one is asked for.
    pub fn creates(&self, kind: NamespaceKind) -> bool {
        *self.of(kind) == NamespaceChoice::Create
    }

    /// Whether the container is apart from the runtime in this kind: created or joined.
    pub fn has(&self, kind: NamespaceKind) -> bool {
        *self.of(kind) != NamespaceChoice::Inherit
    }
}

/// One line of `uid_map` or `gid_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    pub container_id: u32,
    /// First id outside.
    pub host_id: u32,
    /// How many; not 0.
    pub size: u32,
}

/// Both maps; neither is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct IdMappings {
    pub uids: Vec<IdMapping>,
    pub gids: Vec<IdMapping>,
}

impl IdMappings {
    /// The id outside for an id inside, if it is mapped.
    pub fn to_host(mappings: &[IdMapping], container_id: u32) -> Option<u32> {
        mappings.iter().find_map(|mapping| {
            let offset = container_id.checked_sub(mapping.container_id)?;
            (offset < mapping.size).then(|| mapping.host_id.checked_add(offset))?
        })
    }
}

/// What kind of file a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// `c`, and `u`, which only once meant something else.
    Char,
    /// `b`.
    Block,
    /// `p`: a FIFO, without numbers.
    Fifo,
}

/// One entry of `linux.devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `linux.devices[3]`.
    pub property: String,
    /// Absolute in the container, anywhere.
    pub path: PathBuf,
    /// Character, block or FIFO.
    pub kind: DeviceKind,
    /// 0 for a FIFO.
    pub major: u32,
    /// 0 for a FIFO.
    pub minor: u32,
    /// Permission bits, at most 0777. Unset in config.json: 0666, as runc and crun.
    pub mode: u32,
    /// In the container's user namespace. Unset: 0.
    pub uid: u32,
    /// In the container's user namespace. Unset: 0.
    pub gid: u32,
}

/// How mount events travel (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum Propagation {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// One entry of `linux.timeOffsets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct TimeOffset {
    pub secs: i64,
    pub nanosecs: u32,
}
