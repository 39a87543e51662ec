//! `linux`: namespaces, id mappings, devices, paths, and the rest of what only Linux has.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use oci_spec::runtime;
use serde::{Deserialize, Serialize};

use super::document::Node;
use super::execution::Execution;
use super::net_devices::{self, NetDevices};
use super::presence::require;
use super::process::{User, check_id};
use super::property::{Property, absolute, member, unless_empty};
use super::rdt::Rdt;
use super::resources::Resources;
use super::seccomp::Seccomp;
use crate::error::{Error, Result};

/// The chapter, checked. The default is a container that shares everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Linux {
    /// For each kind: create, join, or stay where the runtime is.
    pub namespaces: Namespaces,
    /// Always given when a user namespace is created, never without one. With a joined one they say what the engine
    /// believes that namespace's mapping to be (COMPAT(containerd): Kubernetes pods with a user namespace).
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
    /// What every process of the container starts with.
    pub execution: Execution,
    /// Devices that come from the runtime's network namespace.
    pub net_devices: NetDevices,
    /// Its share of caches and memory bandwidth; `None`: nobody looks at that.
    pub rdt: Option<Rdt>,
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

    fn of_spec(spec: runtime::LinuxNamespaceType) -> Self {
        match spec {
            runtime::LinuxNamespaceType::User => Self::User,
            runtime::LinuxNamespaceType::Cgroup => Self::Cgroup,
            runtime::LinuxNamespaceType::Ipc => Self::Ipc,
            runtime::LinuxNamespaceType::Uts => Self::Uts,
            runtime::LinuxNamespaceType::Network => Self::Network,
            runtime::LinuxNamespaceType::Pid => Self::Pid,
            runtime::LinuxNamespaceType::Time => Self::Time,
            runtime::LinuxNamespaceType::Mount => Self::Mount,
        }
    }

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

impl Linux {
    /// Checks the chapter. `given` is the object as written, where oci-spec does not tell absent from 0.
    pub(super) fn check(spec: Option<&runtime::Linux>, given: &Node<'_>, warnings: &mut Vec<String>) -> Result<Self> {
        let Some(spec) = spec else { return Ok(Self::default()) };
        let namespaces = check_namespaces(spec)?;
        Ok(Self {
            id_mappings: check_id_mappings(spec, &namespaces)?,
            devices: check_devices(spec, given)?,
            cgroups_path: check_cgroups_path(spec)?,
            resources: match spec.resources() {
                None => Resources::default(),
                Some(resources) => Resources::check(resources, given.get("resources"), warnings)?,
            },
            rootfs_propagation: check_propagation(spec)?,
            masked_paths: check_paths("linux.maskedPaths", spec.masked_paths())?,
            readonly_paths: check_paths("linux.readonlyPaths", spec.readonly_paths())?,
            sysctl: check_sysctls(spec, &namespaces)?,
            mount_label: unless_empty(spec.mount_label().as_ref()),
            seccomp: spec.seccomp().as_ref().map(Seccomp::check).transpose()?,
            time_offsets: check_time_offsets(spec, &namespaces)?,
            execution: Execution::check(spec, given)?,
            net_devices: net_devices::check(given.get("netDevices"), &namespaces)?,
            rdt: spec.intel_rdt().as_ref().map(Rdt::check).transpose()?,
            namespaces,
        })
    }

    /// An id that the new user namespace does not have cannot be taken on: setresuid(2) would say EINVAL.
    pub(super) fn check_user_is_mapped(&self, user: &User) -> Result<()> {
        let (true, Some(mappings)) = (self.namespaces.creates(NamespaceKind::User), &self.id_mappings) else {
            return Ok(());
        };
        let check = |property: String, maps: &[IdMapping], name: &str, id: u32| match IdMappings::to_host(maps, id) {
            Some(_) => Ok(()),
            None => Err(Error::invalid(property, format!("{id} is not mapped by linux.{name}"))),
        };
        check("process.user.uid".to_owned(), &mappings.uids, "uidMappings", user.uid)?;
        check("process.user.gid".to_owned(), &mappings.gids, "gidMappings", user.gid)?;
        user.additional_gids.iter().enumerate().try_for_each(|(index, gid)| {
            check(format!("process.user.additionalGids[{index}]"), &mappings.gids, "gidMappings", *gid)
        })
    }
}

/// SPEC(config, linux.namespaces): a duplicate is an error, a path must be absolute.
fn check_namespaces(spec: &runtime::Linux) -> Result<Namespaces> {
    let mut namespaces = Namespaces::default();
    for (index, entry) in spec.namespaces().iter().flatten().enumerate() {
        let kind = NamespaceKind::of_spec(entry.typ());
        if namespaces.has(kind) {
            let property = format!("linux.namespaces[{index}].type");
            return Err(Error::invalid(property, format!("{:?} is listed twice", kind.name())));
        }
        let property = format!("linux.namespaces[{index}].path");
        let choice = match entry.path() {
            Some(path) if !path.as_os_str().is_empty() => {
                NamespaceChoice::Join { path: absolute(&property, path)?, property }
            }
            Some(_) | None => NamespaceChoice::Create,
        };
        namespaces.set(kind, choice);
    }
    Ok(namespaces)
}

/// A new user namespace without mappings could do nothing; mappings without one would do nothing.
fn check_id_mappings(spec: &runtime::Linux, namespaces: &Namespaces) -> Result<Option<IdMappings>> {
    let uids = spec.uid_mappings().as_deref().unwrap_or_default();
    let gids = spec.gid_mappings().as_deref().unwrap_or_default();
    let mappings = IdMappings::check("linux", uids, gids)?;
    match (namespaces.of(NamespaceKind::User), &mappings) {
        (NamespaceChoice::Create, None) => {
            Err(Error::invalid("linux.uidMappings", "is empty: a new user namespace needs mappings"))
        }
        (NamespaceChoice::Inherit, Some(_)) => {
            Err(Error::invalid("linux.uidMappings", "has no use: linux.namespaces has no user namespace"))
        }
        (NamespaceChoice::Create, Some(_))
        | (NamespaceChoice::Inherit, None)
        | (NamespaceChoice::Join { .. }, Some(_) | None) => Ok(mappings),
    }
}

impl IdMappings {
    /// Both halves or none, of the object at `property`.
    pub(super) fn check(
        property: &str,
        uids: &[runtime::LinuxIdMapping],
        gids: &[runtime::LinuxIdMapping],
    ) -> Result<Option<Self>> {
        let missing = match (uids.is_empty(), gids.is_empty()) {
            (true, true) => return Ok(None),
            (false, false) => None,
            (true, false) => Some(("uidMappings", "gidMappings")),
            (false, true) => Some(("gidMappings", "uidMappings")),
        };
        if let Some((missing, other)) = missing {
            let why = format!("is empty though {other} is given: each needs the other");
            return Err(Error::invalid(format!("{property}.{missing}"), why));
        }
        Ok(Some(Self {
            uids: check_mapping_list(&format!("{property}.uidMappings"), uids)?,
            gids: check_mapping_list(&format!("{property}.gidMappings"), gids)?,
        }))
    }
}

fn check_mapping_list(property: &str, spec: &[runtime::LinuxIdMapping]) -> Result<Vec<IdMapping>> {
    // KERNEL: user_namespaces(7).
    const MOST: usize = 340;
    if spec.len() > MOST {
        return Err(Error::invalid(property, format!("{} mappings, and the kernel takes {MOST}", spec.len())));
    }
    spec.iter().enumerate().map(|(index, entry)| check_mapping(&format!("{property}[{index}]"), entry)).collect()
}

fn check_mapping(property: &str, spec: &runtime::LinuxIdMapping) -> Result<IdMapping> {
    let (container_id, host_id, size) = (spec.container_id(), spec.host_id(), spec.size());
    if size == 0 {
        return Err(Error::invalid(format!("{property}.size"), "0 ids is no mapping"));
    }
    for (key, first) in [("containerID", container_id), ("hostID", host_id)] {
        // KERNEL: u32::MAX is no id, so that a range ends before it.
        if first.checked_add(size).is_none() {
            let why = format!("{size} ids from {first} on go beyond the last id, 4294967294");
            return Err(Error::invalid(format!("{property}.{key}"), why));
        }
    }
    Ok(IdMapping { container_id, host_id, size })
}

fn check_devices(spec: &runtime::Linux, given: &Node<'_>) -> Result<Vec<Device>> {
    let mut devices: Vec<Device> = Vec::new();
    for (index, entry) in spec.devices().iter().flatten().enumerate() {
        let device = check_device(index, entry, given.get("devices").item(index))?;
        check_no_mismatch(&device, &devices)?;
        devices.push(device);
    }
    Ok(devices)
}

/// SPEC(config, linux.devices): type and path are required; major and minor too unless it is a FIFO.
fn check_device(index: usize, spec: &runtime::LinuxDevice, given: &Node<'_>) -> Result<Device> {
    let property = format!("linux.devices[{index}]");
    let kind = match spec.typ() {
        runtime::LinuxDeviceType::C | runtime::LinuxDeviceType::U => DeviceKind::Char,
        runtime::LinuxDeviceType::B => DeviceKind::Block,
        runtime::LinuxDeviceType::P => DeviceKind::Fifo,
        runtime::LinuxDeviceType::A => {
            let why = "\"a\" is for rules of linux.resources.devices, expected one of \"c\", \"b\", \"u\", \"p\"";
            return Err(Error::invalid(format!("{property}.type"), why));
        }
    };
    let (major, minor) = match kind {
        DeviceKind::Fifo => (0, 0),
        DeviceKind::Char | DeviceKind::Block => check_device_numbers(index, spec, given)?,
    };
    let (uid, gid) = (spec.uid().unwrap_or(0), spec.gid().unwrap_or(0));
    check_id(&format!("{property}.uid"), uid)?;
    check_id(&format!("{property}.gid"), gid)?;
    Ok(Device {
        path: check_device_path(&property, spec.path())?,
        mode: check_device_mode(&property, kind, spec.file_mode())?,
        kind,
        major,
        minor,
        uid,
        gid,
        property,
    })
}

fn check_device_numbers(index: usize, spec: &runtime::LinuxDevice, given: &Node<'_>) -> Result<(u32, u32)> {
    let linux = Property::Document("linux");
    let devices = Property::Key(&linux, "devices");
    let at = Property::Item(&devices, index);
    require(&at, given, "major")?;
    require(&at, given, "minor")?;
    Ok((device_major(&format!("{at}.major"), spec.major())?, device_minor(&format!("{at}.minor"), spec.minor())?))
}

/// KERNEL: 12 bits of a device number are the major.
pub(super) fn device_major(property: &str, value: i64) -> Result<u32> {
    device_number(property, value, 0xfff)
}

/// KERNEL: 20 bits of a device number are the minor.
pub(super) fn device_minor(property: &str, value: i64) -> Result<u32> {
    device_number(property, value, 0xf_ffff)
}

fn device_number(property: &str, value: i64, last: u32) -> Result<u32> {
    match u32::try_from(value) {
        Ok(number) if number <= last => Ok(number),
        Ok(_) | Err(_) => Err(Error::invalid(property, format!("{value} is out of range (0 to {last})"))),
    }
}

fn check_device_path(property: &str, path: &Path) -> Result<PathBuf> {
    absolute(format!("{property}.path"), path)
}

/// COMPAT(nvidia-ctk): some engines copy the whole `st_mode`; its type bits are fine if they say the same as `type`.
fn check_device_mode(property: &str, kind: DeviceKind, mode: Option<u32>) -> Result<u32> {
    let mode = mode.unwrap_or(0o666);
    let type_bits = match kind {
        DeviceKind::Char => libc::S_IFCHR,
        DeviceKind::Block => libc::S_IFBLK,
        DeviceKind::Fifo => libc::S_IFIFO,
    };
    let permissions = if mode & libc::S_IFMT == type_bits { mode & !libc::S_IFMT } else { mode };
    if permissions > 0o777 {
        let why = format!("{mode} (octal {mode:o}) is above 511 (octal 777)");
        return Err(Error::invalid(format!("{property}.fileMode"), why));
    }
    Ok(permissions)
}

/// SPEC(config, linux.devices): a file at the path that does not match the device is an error.
fn check_no_mismatch(device: &Device, earlier: &[Device]) -> Result<()> {
    let same = |other: &&Device| other.path == device.path;
    let numbers = |device: &Device| (device.kind, device.major, device.minor);
    match earlier.iter().find(same) {
        Some(other) if numbers(other) != numbers(device) => Err(Error::invalid(
            format!("{}.path", device.property),
            format!("{:?} is already another device, {}", device.path, other.property),
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_cgroups_path(spec: &runtime::Linux) -> Result<Option<String>> {
    let Some(path) = spec.cgroups_path() else { return Ok(None) };
    match path.to_str() {
        Some("") => Ok(None),
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Error::invalid("linux.cgroupsPath", format!("{path:?} is not UTF-8"))),
    }
}

/// SPEC(config, linux.rootfsPropagation): four values. COMPAT(runc, podman): the recursive forms mean the same here.
fn check_propagation(spec: &runtime::Linux) -> Result<Option<Propagation>> {
    match spec.rootfs_propagation().as_deref() {
        None | Some("") => Ok(None),
        Some("shared" | "rshared") => Ok(Some(Propagation::Shared)),
        Some("slave" | "rslave") => Ok(Some(Propagation::Slave)),
        Some("private" | "rprivate") => Ok(Some(Propagation::Private)),
        Some("unbindable" | "runbindable") => Ok(Some(Propagation::Unbindable)),
        Some(other) => Err(Error::invalid(
            "linux.rootfsPropagation",
            format!("unknown value {other:?}, expected one of \"shared\", \"slave\", \"private\", \"unbindable\""),
        )),
    }
}

/// SPEC(config, linux.maskedPaths, linux.readonlyPaths): absolute in the container.
fn check_paths(property: &str, spec: &Option<Vec<String>>) -> Result<Vec<PathBuf>> {
    let check = |(index, path): (usize, &String)| absolute(format!("{property}[{index}]"), Path::new(path));
    spec.iter().flatten().enumerate().map(check).collect()
}

fn check_sysctls(spec: &runtime::Linux, namespaces: &Namespaces) -> Result<BTreeMap<String, String>> {
    let mut sysctls = BTreeMap::new();
    let given: BTreeMap<_, _> = spec.sysctl().iter().flatten().collect();
    for (written, value) in given {
        let property = member("linux.sysctl", written);
        let key = with_dots(written);
        check_sysctl_components(&property, &key)?;
        check_sysctl_is_apart(&property, &key, namespaces)?;
        if sysctls.insert(key, value.clone()).is_some() {
            return Err(Error::invalid(property, "is given twice, with \".\" and with \"/\""));
        }
    }
    Ok(sysctls)
}

/// COMPAT(sysctl(8)): if the first separator is a slash, slashes separate and dots are letters (`net/ipv4/conf/eth0.1`).
fn with_dots(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(first) if key[first..].starts_with('/') => {
            let swap = |letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            };
            key.chars().map(swap).collect()
        }
        Some(_) | None => key.to_owned(),
    }
}

/// A key must not leave the directory that its first words allow: in it `/` stands for a dot.
fn check_sysctl_components(property: &str, key: &str) -> Result<()> {
    if key.split('.').any(|word| matches!(word, "" | "/" | "//")) {
        return Err(Error::invalid(property, "is not the name of a kernel parameter"));
    }
    Ok(())
}

/// The parameters of an IPC namespace beside `fs.mqueue.*`.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Only what belongs to a namespace that is the container's own: anything else would change the whole machine.
fn check_sysctl_is_apart(property: &str, key: &str, namespaces: &Namespaces) -> Result<()> {
    let kind = if IPC_SYSCTLS.contains(&key) || key.starts_with("fs.mqueue.") {
        NamespaceKind::Ipc
    } else if key.starts_with("net.") {
        NamespaceKind::Network
    } else if key.starts_with("user.") {
        NamespaceKind::User
    } else if key == "kernel.domainname" {
        NamespaceKind::Uts
    } else if key == "kernel.hostname" {
        return Err(Error::invalid(property, "is what the property hostname sets"));
    } else {
        return Err(Error::invalid(property, "belongs to no namespace: it would change the whole machine"));
    };
    if namespaces.has(kind) {
        return Ok(());
    }
    let why = format!("would change this machine: linux.namespaces has no {} namespace", kind.name());
    Err(Error::invalid(property, why))
}

/// SPEC(config, linux.timeOffsets): two clocks; an offset can be set only before a process is in the namespace.
fn check_time_offsets(spec: &runtime::Linux, namespaces: &Namespaces) -> Result<BTreeMap<String, TimeOffset>> {
    let given: HashMap<_, _> = spec.time_offsets().clone().unwrap_or_default();
    if !given.is_empty() && !namespaces.creates(NamespaceKind::Time) {
        return Err(Error::invalid("linux.timeOffsets", "needs a new time namespace in linux.namespaces"));
    }
    let mut offsets = BTreeMap::new();
    for (clock, offset) in BTreeMap::from_iter(given) {
        let property = member("linux.timeOffsets", &clock);
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::invalid(property, "unknown clock, expected one of \"monotonic\", \"boottime\""));
        }
        let (secs, nanosecs) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if nanosecs >= 1_000_000_000 {
            let why = format!("{nanosecs} is out of range (0 to 999999999)");
            return Err(Error::invalid(format!("{property}.nanosecs"), why));
        }
        offsets.insert(clock, TimeOffset { secs, nanosecs });
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::testing::{accept, assert_refused};
    use crate::error::Kind;

    fn linux(patch: Value) -> Value {
        json!({"linux": patch})
    }

    #[test]
    fn namespaces() {
        let config = accept(&linux(json!({"namespaces": [
            {"type": "mount", "path": ""}, {"type": "network", "path": "/proc/1/ns/net"}, {"type": "time"}, {"type": "cgroup"}
        ]})));
        let namespaces = config.linux.namespaces;
        assert!(namespaces.creates(NamespaceKind::Mount) && namespaces.creates(NamespaceKind::Time));
        assert!(namespaces.has(NamespaceKind::Network) && !namespaces.creates(NamespaceKind::Network));
        assert_eq!(*namespaces.of(NamespaceKind::Pid), NamespaceChoice::Inherit);
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "twice",
                    linux(json!({"namespaces": [{"type": "pid"}, {"type": "pid", "path": "/proc/1/ns/pid"}]})),
                    "linux.namespaces[1].type: \"pid\" is listed twice",
                ),
                (
                    "relative",
                    linux(json!({"namespaces": [{"type": "pid", "path": "ns/pid"}]})),
                    "linux.namespaces[0].path: \"ns/pid\" is not an absolute path",
                ),
            ],
        );
    }

    #[test]
    fn id_mappings() {
        let map =
            |container: u32, host: u32, size: u32| json!([{"containerID": container, "hostID": host, "size": size}]);
        let with = |uids: Value, gids: Value, namespaces: Value, user: Value| {
            json!({"process": {"user": user},
                   "linux": {"uidMappings": uids, "gidMappings": gids, "namespaces": namespaces}})
        };
        let new = || json!([{"type": "user"}]);
        let root = || json!({});
        let joined = json!([{"type": "user", "path": "/proc/1/ns/user"}]);
        accept(&with(Value::Null, Value::Null, joined.clone(), root()));
        // The joined namespace's real mapping is the kernel's to say, so a user that these lack is no error.
        accept(&with(map(0, 0, 1), map(0, 0, 1), joined, json!({"uid": 5})));
        let config =
            accept(&with(map(0, 100_000, 65536), map(0, 100_000, u32::MAX - 100_000), new(), json!({"uid": 65535})));
        assert_eq!(config.linux.id_mappings.unwrap().gids[0].size, u32::MAX - 100_000);
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "new without",
                    with(json!([]), Value::Null, new(), root()),
                    "linux.uidMappings: is empty: a new user namespace needs mappings",
                ),
                (
                    "mappings without namespace",
                    with(map(0, 0, 1), map(0, 0, 1), json!([{"type": "pid"}]), root()),
                    "linux.uidMappings: has no use: linux.namespaces has no user namespace",
                ),
                (
                    "half",
                    with(map(0, 0, 1), json!([]), new(), root()),
                    "linux.gidMappings: is empty though uidMappings is given: each needs the other",
                ),
                (
                    "many",
                    with(map(0, 0, 1), json!(vec![map(0, 0, 1)[0].clone(); 341]), new(), root()),
                    "linux.gidMappings: 341 mappings, and the kernel takes 340",
                ),
                (
                    "size",
                    with(map(0, 0, 1), map(0, 0, 0), new(), root()),
                    "linux.gidMappings[0].size: 0 ids is no mapping",
                ),
                (
                    "host end",
                    with(map(0, u32::MAX, 1), map(0, 0, 1), new(), root()),
                    "linux.uidMappings[0].hostID: 1 ids from 4294967295 on go beyond the last id, 4294967294",
                ),
                (
                    "container end",
                    with(map(9, 0, u32::MAX), map(0, 0, 1), new(), root()),
                    "linux.uidMappings[0].containerID: 4294967295 ids from 9 on go beyond the last id, 4294967294",
                ),
                (
                    "uid",
                    with(map(0, 0, 1), map(0, 0, 1), new(), json!({"uid": 1})),
                    "process.user.uid: 1 is not mapped by linux.uidMappings",
                ),
                (
                    "gid",
                    with(map(0, 0, 1), map(1, 0, 1), new(), root()),
                    "process.user.gid: 0 is not mapped by linux.gidMappings",
                ),
                (
                    "additional gid",
                    with(map(0, 0, 1), map(0, 0, 2), new(), json!({"additionalGids": [1, 2]})),
                    "process.user.additionalGids[1]: 2 is not mapped by linux.gidMappings",
                ),
            ],
        );
    }

    #[test]
    fn devices() {
        let config = accept(&linux(json!({"devices": [
            {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229},
            {"type": "u", "path": "/dev/u", "major": 4095, "minor": 1_048_575, "fileMode": 0o20_600, "uid": 1, "gid": 2},
            {"type": "b", "path": "/x/sda", "major": 8, "minor": 0, "fileMode": 0},
            {"type": "p", "path": "/pipe", "major": 5},
            {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}
        ]})));
        let devices = config.linux.devices;
        let first = &devices[0];
        assert_eq!((first.kind, first.major, first.minor, first.mode), (DeviceKind::Char, 10, 229, 0o666));
        assert_eq!((devices[1].kind, devices[1].mode, devices[1].uid, devices[1].gid), (DeviceKind::Char, 0o600, 1, 2));
        assert_eq!((devices[2].kind, devices[2].mode), (DeviceKind::Block, 0));
        assert_eq!((devices[3].kind, devices[3].major), (DeviceKind::Fifo, 0));
        assert_eq!(devices[4].property, "linux.devices[4]");
    }

    #[test]
    fn devices_refused() {
        let device = |patch: Value| {
            let mut device = json!({"type": "c", "path": "/dev/a", "major": 1, "minor": 2});
            crate::config::testing::merge(&mut device, &patch);
            linux(json!({"devices": [{"type": "p", "path": "/pipe"}, device]}))
        };
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "type a",
                    device(json!({"type": "a"})),
                    "linux.devices[1].type: \"a\" is for rules of linux.resources.devices, expected one of \"c\", \"b\", \"u\", \"p\"",
                ),
                (
                    "unknown type",
                    device(json!({"type": "x"})),
                    "linux.devices[1].type: unknown value \"x\", expected one of \"a\", \"b\", \"c\", \"u\", \"p\"",
                ),
                ("path", device(json!({"path": "dev/a"})), "linux.devices[1].path: \"dev/a\" is not an absolute path"),
                ("no major", device(json!({"major": null})), "linux.devices[1].major: is required"),
                ("no minor", device(json!({"type": "b", "minor": null})), "linux.devices[1].minor: is required"),
                ("major -1", device(json!({"major": -1})), "linux.devices[1].major: -1 is out of range (0 to 4095)"),
                ("major", device(json!({"major": 4096})), "linux.devices[1].major: 4096 is out of range (0 to 4095)"),
                (
                    "minor",
                    device(json!({"minor": 1_048_576})),
                    "linux.devices[1].minor: 1048576 is out of range (0 to 1048575)",
                ),
                (
                    "mode",
                    device(json!({"fileMode": 512})),
                    "linux.devices[1].fileMode: 512 (octal 1000) is above 511 (octal 777)",
                ),
                (
                    "mode of another type",
                    device(json!({"fileMode": 0o60_600})),
                    "linux.devices[1].fileMode: 24960 (octal 60600) is above 511 (octal 777)",
                ),
                (
                    "uid",
                    device(json!({"uid": u32::MAX})),
                    "linux.devices[1].uid: 4294967295 is not an id: the kernel reads it as -1",
                ),
                (
                    "gid",
                    device(json!({"gid": u32::MAX})),
                    "linux.devices[1].gid: 4294967295 is not an id: the kernel reads it as -1",
                ),
                (
                    "mismatch",
                    device(json!({"path": "/pipe"})),
                    "linux.devices[1].path: \"/pipe\" is already another device, linux.devices[0]",
                ),
            ],
        );
    }

    #[test]
    fn propagation() {
        for (word, meant) in [
            ("shared", Some(Propagation::Shared)),
            ("rslave", Some(Propagation::Slave)),
            ("rprivate", Some(Propagation::Private)),
            ("unbindable", Some(Propagation::Unbindable)),
            ("", None),
        ] {
            assert_eq!(accept(&linux(json!({"rootfsPropagation": word}))).linux.rootfs_propagation, meant, "{word}");
        }
    }

    #[test]
    fn sysctls() {
        let all =
            json!([{"type": "ipc"}, {"type": "network"}, {"type": "uts"}, {"type": "user", "path": "/proc/1/ns/user"}]);
        let config = accept(&linux(json!({"namespaces": all, "sysctl": {
            "net/ipv4/conf/eth0.100/forwarding": "1", "net.core.somaxconn": "5", "kernel.sem": "1 2 3 4",
            "fs.mqueue.msg_max": "9", "kernel.domainname": "d", "user.max_user_namespaces": "3"
        }})));
        assert_eq!(config.linux.sysctl.len(), 6);
        assert!(config.linux.sysctl.contains_key("net.ipv4.conf.eth0/100.forwarding"));
        let none = |key: &str| linux(json!({"namespaces": [{"type": "mount"}], "sysctl": {key: "1"}}));
        let some = |key: &str| linux(json!({"sysctl": {key: "1"}}));
        let whole = "belongs to no namespace: it would change the whole machine";
        let no = |kind: &str| format!("would change this machine: linux.namespaces has no {kind} namespace");
        assert_refused(
            Kind::InvalidConfig,
            &[
                ("net", none("net.a"), &format!("linux.sysctl[\"net.a\"]: {}", no("network"))),
                ("msg", none("kernel.msgmax"), &format!("linux.sysctl[\"kernel.msgmax\"]: {}", no("ipc"))),
                ("mqueue", none("fs/mqueue/a"), &format!("linux.sysctl[\"fs/mqueue/a\"]: {}", no("ipc"))),
                (
                    "user",
                    some("user.max_user_namespaces"),
                    &format!("linux.sysctl[\"user.max_user_namespaces\"]: {}", no("user")),
                ),
                ("domain", none("kernel.domainname"), &format!("linux.sysctl[\"kernel.domainname\"]: {}", no("uts"))),
                (
                    "hostname",
                    some("kernel.hostname"),
                    "linux.sysctl[\"kernel.hostname\"]: is what the property hostname sets",
                ),
                ("panic", some("kernel.panic"), &format!("linux.sysctl[\"kernel.panic\"]: {whole}")),
                ("vm", some("vm/swappiness"), &format!("linux.sysctl[\"vm/swappiness\"]: {whole}")),
                ("prefix", some("network"), &format!("linux.sysctl.network: {whole}")),
                (
                    "up",
                    some("net/../kernel/panic"),
                    "linux.sysctl[\"net/../kernel/panic\"]: is not the name of a kernel parameter",
                ),
                ("up", some("net.//.kernel"), "linux.sysctl[\"net.//.kernel\"]: is not the name of a kernel parameter"),
                ("empty", some("net."), "linux.sysctl[\"net.\"]: is not the name of a kernel parameter"),
                (
                    "twice",
                    linux(json!({"sysctl": {"net.a.b": "1", "net/a/b": "2"}})),
                    "linux.sysctl[\"net/a/b\"]: is given twice, with \".\" and with \"/\"",
                ),
            ],
        );
    }

    #[test]
    fn time_offsets() {
        let with = |namespaces: Value, offsets: Value| linux(json!({"namespaces": namespaces, "timeOffsets": offsets}));
        let new = || json!([{"type": "time"}]);
        let config = accept(&with(new(), json!({"monotonic": {"secs": -5, "nanosecs": 999_999_999}, "boottime": {}})));
        assert_eq!(config.linux.time_offsets["monotonic"], TimeOffset { secs: -5, nanosecs: 999_999_999 });
        assert_eq!(config.linux.time_offsets["boottime"], TimeOffset { secs: 0, nanosecs: 0 });
        accept(&with(json!([]), json!({})));
        let needs = "linux.timeOffsets: needs a new time namespace in linux.namespaces";
        assert_refused(
            Kind::InvalidConfig,
            &[
                ("none", with(json!([]), json!({"monotonic": {}})), needs),
                ("joined", with(json!([{"type": "time", "path": "/proc/1/ns/time"}]), json!({"boottime": {}})), needs),
                (
                    "clock",
                    with(new(), json!({"realtime": {"secs": 1}})),
                    "linux.timeOffsets.realtime: unknown clock, expected one of \"monotonic\", \"boottime\"",
                ),
                (
                    "nanosecs",
                    with(new(), json!({"boottime": {"nanosecs": 1_000_000_000}})),
                    "linux.timeOffsets.boottime.nanosecs: 1000000000 is out of range (0 to 999999999)",
                ),
            ],
        );
    }

    #[test]
    fn other_values_refused() {
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "propagation",
                    linux(json!({"rootfsPropagation": "rbind"})),
                    "linux.rootfsPropagation: unknown value \"rbind\", expected one of \"shared\", \"slave\", \"private\", \"unbindable\"",
                ),
                (
                    "masked",
                    linux(json!({"maskedPaths": ["/a", "../b"]})),
                    "linux.maskedPaths[1]: \"../b\" is not an absolute path",
                ),
                (
                    "read-only",
                    linux(json!({"readonlyPaths": [""]})),
                    "linux.readonlyPaths[0]: \"\" is not an absolute path",
                ),
                (
                    "personality",
                    linux(json!({"personality": {"domain": "BSD"}})),
                    "linux.personality.domain: unknown value \"BSD\", expected \"LINUX\" or \"LINUX32\"",
                ),
                (
                    "memory policy",
                    linux(json!({"memoryPolicy": {"mode": "MPOL_X"}})),
                    "linux.memoryPolicy.mode: unknown value \"MPOL_X\", expected one of \"MPOL_DEFAULT\", \"MPOL_BIND\", \
                     \"MPOL_INTERLEAVE\", \"MPOL_WEIGHTED_INTERLEAVE\", \"MPOL_PREFERRED\", \"MPOL_PREFERRED_MANY\", \"MPOL_LOCAL\"",
                ),
            ],
        );
    }

    #[test]
    fn empty_ones_are_absent() {
        let config = accept(&linux(json!({"netDevices": {}, "cgroupsPath": "", "mountLabel": ""})));
        assert_eq!((config.linux.cgroups_path, config.linux.mount_label), (None, None));
    }

    #[test]
    fn no_personality_has_flags() {
        accept(&linux(json!({"personality": {"domain": "LINUX", "flags": []}})));
        assert_refused(
            Kind::Unsupported,
            &[(
                "flags",
                linux(json!({"personality": {"domain": "LINUX", "flags": ["X"]}})),
                "linux.personality.flags[0]: \"X\" is not supported, no flag is",
            )],
        );
    }
}
