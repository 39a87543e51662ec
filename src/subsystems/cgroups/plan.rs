//! What is to be made and written, computed without touching anything.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::systemd::{self, Unit, UnitPlan};
use super::{device_filter, limits, path};
use crate::config::resources::Resources;
use crate::config::{Config, IdMappings, NamespaceKind};
use crate::error::{Error, Result, Within};
use crate::machine::Machine;
use crate::machine::cgroups::{CgroupLayout, Hierarchy, MOUNT_POINT};
use crate::sys::bpf::Instruction;

/// Which interface a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum Version {
    V1,
    V2,
}

/// The container's place in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where the hierarchy is mounted.
    pub mount_point: PathBuf,
    /// Below it, beginning with a slash.
    pub path: String,
    /// v1 controllers; empty for v2.
    pub controllers: Vec<String>,
    /// The interface.
    pub version: Version,
}

impl Group {
    fn new(hierarchy: &Hierarchy, path: String, version: Version) -> Self {
        Self { mount_point: hierarchy.mount_point.clone(), path, controllers: hierarchy.controllers.clone(), version }
    }

    /// Its directory.
    pub fn directory(&self) -> PathBuf {
        self.mount_point.join(self.path.trim_start_matches('/'))
    }

    /// Whether it is of the v1 hierarchy of `controller`.
    pub fn is_of(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }
}

/// Where a container's processes are. Kept in the state: every later command finds them by it, whatever it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// One place per hierarchy.
    pub groups: Vec<Group>,
    /// What systemd calls them, if it makes them.
    pub unit: Option<Unit>,
    /// The directories that were not there before, outermost first: they go when the container goes.
    pub made: Vec<PathBuf>,
}

impl Placement {
    /// Its v2 group.
    pub fn unified(&self) -> Option<&Group> {
        self.groups.iter().find(|group| group.version == Version::V2)
    }

    /// The group in which `controller` counts: in its v1 hierarchy, else in that of v2.
    pub fn group_of(&self, controller: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.is_of(controller)).or_else(|| self.unified())
    }

    /// Whether this group was not there before the container, and goes with it.
    pub fn has_made(&self, group: &Group) -> bool {
        self.made.contains(&group.directory()) || (self.unit.is_some() && systemd::is_systemds(group))
    }
}

/// Who makes the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// We, in the filesystem.
    #[default]
    Cgroupfs,
    /// systemd, as a transient unit.
    Systemd,
    /// Nobody: the container stays in the caller's groups.
    Disabled,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Index of the group.
    pub group: usize,
    /// In the group's directory.
    pub file: String,
    /// One write(2).
    pub value: String,
    /// Who asked for it, for the message.
    pub property: Cow<'static, str>,
    /// Whether the file has to be there.
    pub when: When,
}

/// Which files a group has is known when it is made, so a choice between them is part of the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// A file that is missing is an error.
    #[default]
    Always,
    /// A file that is missing is passed over.
    IfThere,
    /// Only in a group without this other file, in which case it has to be there.
    Without(&'static str),
}

/// Everything about the container's cgroups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupPlan {
    /// One place per hierarchy.
    pub groups: Vec<Group>,
    /// Started before the groups are looked for.
    pub unit: Option<UnitPlan>,
    /// In order, before anybody is inside.
    pub writes: Vec<Write>,
    /// For cgroup v2, attached while the container builds its root.
    pub device_program: Vec<Instruction>,
    /// The user, as the host knows him, who gets the v2 group for his own.
    pub delegate_to: Option<u32>,
    /// When we may not make the groups.
    pub if_denied: IfDenied,
    /// Whether device rules are given up when they are refused: device nodes cannot be made in a user namespace anyway, and
    /// whoever made ours decided which of the host's are open to us.
    pub devices_are_optional: bool,
}

/// What becomes of a container whose groups we may not make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfDenied {
    /// It is not created.
    #[default]
    Fail,
    /// The same, and we say that a user without rights cannot have limits.
    FailForLimits,
    /// It stays in the caller's groups, as nothing else was asked for.
    Stay,
}

/// What the caller says about the groups.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Who makes them.
    pub driver: Driver,
    /// Whether the container may do without those that we may not make; `None`: if we are without privileges.
    pub rootless: Option<bool>,
}

impl CgroupPlan {
    /// Plans the groups and limits of `config`.
    pub fn new(config: &Config, wishes: &Wishes<'_>, machine: &Machine) -> Result<Self> {
        let Wishes { id, driver, rootless } = *wishes;
        let resources = &config.linux.resources;
        let manager = match driver {
            Driver::Cgroupfs => None,
            Driver::Systemd => Some(machine.systemd().within(|| "--systemd-cgroup")?),
            Driver::Disabled => return refuse_limits(resources).map(|()| Self::default()),
        };
        let unit = manager.map(|manager| systemd::place(config, id, manager)).transpose()?;
        let groups = groups(machine.cgroups()?, |hierarchy| match &unit {
            Some(unit) => Ok(unit.path.clone()),
            None => path::in_hierarchy(config.linux.cgroups_path.as_deref(), id, hierarchy),
        })?;
        let writes = limits::writes(resources, &groups, machine, &super::host::now)?;
        let unit = match manager.zip(unit) {
            None => None,
            Some((manager, place)) => {
                Some(systemd::plan(config, id, place, manager, (&writes, limits::version(&groups)))?)
            }
        };
        let (device_program, delegate_to) = match limits::version(&groups) {
            Version::V2 => {
                let rules = device_filter::effective_rules(resources);
                (rules.map(|rules| device_filter::program(&rules)), delegate_to(config))
            }
            Version::V1 => (None, None),
        };
        let rootless = rootless.map_or_else(|| machine.is_rootless(), Ok)?;
        Ok(Self {
            groups,
            unit,
            writes,
            device_program: device_program.unwrap_or_default(),
            delegate_to,
            if_denied: IfDenied::new(config, rootless),
            devices_are_optional: rootless || machine.in_user_namespace()?,
        })
    }

    /// Whether there are v1 hierarchies, which can only be joined by a write.
    pub fn has_v1(&self) -> bool {
        limits::version(&self.groups) == Version::V1
    }
}

/// One group in each hierarchy, at the place that `path` gives.
fn groups(layout: &CgroupLayout, path: impl Fn(&Hierarchy) -> Result<String>) -> Result<Vec<Group>> {
    let (v1, v2) = match layout {
        CgroupLayout::V2(hierarchy) => (&[][..], Some(hierarchy)),
        CgroupLayout::V1 { hierarchies, unified } => (&hierarchies[..], unified.as_ref()),
    };
    let versions = v1.iter().map(|it| (it, Version::V1)).chain(v2.map(|it| (it, Version::V2)));
    versions.map(|(hierarchy, version)| Ok(Group::new(hierarchy, path(hierarchy)?, version))).collect()
}

/// SPEC(config-linux, "Cgroup ownership"): of a new cgroup namespace whose root the container may write to.
fn delegate_to(config: &Config) -> Option<u32> {
    let user = &config.process.as_ref()?.user;
    let mount = config.mounts.iter().rfind(|mount| mount.destination == Path::new(MOUNT_POINT))?;
    let read_only = mount.options.iter().any(|option| option == "ro" || option == "rro");
    let from_cgroup = mount.source.as_deref() == Some(Path::new("cgroup"));
    if read_only || !from_cgroup || !config.linux.namespaces.creates(NamespaceKind::Cgroup) {
        return None;
    }
    match (&config.linux.id_mappings, config.linux.namespaces.has(NamespaceKind::User)) {
        (Some(mappings), _) => IdMappings::to_host(&mappings.uids, user.uid),
        // One that is joined, and nobody says who its users are.
        (None, true) => None,
        (None, false) => Some(user.uid),
    }
}

impl IfDenied {
    /// COMPAT(runc): who lacks rights, and asks for nothing that needs a group, needs none.
    fn new(config: &Config, rootless: bool) -> Self {
        match (rootless && config.linux.cgroups_path.is_none(), has_limits(&config.linux.resources)) {
            (true, false) => Self::Stay,
            (true, true) => Self::FailForLimits,
            (false, _) => Self::Fail,
        }
    }
}

/// COMPAT(Podman): rules for devices come along with `--cgroups=disabled`, too; they mean nothing without a group.
fn refuse_limits(resources: &Resources) -> Result<()> {
    if has_limits(resources) {
        return Err(Error::invalid("linux.resources", "limits need a cgroup, and --cgroup-manager is disabled"));
    }
    Ok(())
}

/// Whether a group is needed for more than to keep the processes together.
fn has_limits(resources: &Resources) -> bool {
    let without_devices = Resources { devices: Vec::new(), ..resources.clone() };
    without_devices != Resources::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A configuration with this `linux` and `mounts`.
    fn config(linux: &Value, mounts: &Value) -> Config {
        let mut document = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "mounts": mounts, "linux": linux});
        document["process"] = json!({"user": {"uid": 7, "gid": 0}, "cwd": "/", "args": ["true"]});
        Config::parse(document.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn whose_group_it_is() {
        let mount = |source: &str, options: &[&str]| json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": source, "options": options}]);
        let with = |kinds: &[&str]| {
            let namespaces: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            match kinds.contains(&"user") {
                true => json!({"namespaces": namespaces, "uidMappings": map, "gidMappings": map}),
                false => json!({"namespaces": namespaces}),
            }
        };
        let all = with(&["mount", "user", "cgroup"]);
        for (name, linux, mounts, expected) in [
            ("mapped", &all, mount("cgroup", &["rw"]), Some(100_007)),
            ("not mapped", &with(&["mount", "cgroup"]), mount("cgroup", &[]), Some(7)),
            ("the caller's cgroup namespace", &with(&["mount", "user"]), mount("cgroup", &[]), None),
            ("read-only", &all, mount("cgroup", &["nosuid", "ro"]), None),
            ("another source", &all, mount("cgroup2", &[]), None),
            ("not mounted", &all, json!([]), None),
        ] {
            assert_eq!(delegate_to(&config(linux, &mounts)), expected, "{name}");
        }
    }

    #[test]
    fn who_may_do_without_groups() {
        let with_path = json!({"cgroupsPath": "/c"});
        let with_limit = json!({"resources": {"pids": {"limit": 7}}});
        let with_devices = json!({"resources": {"devices": [{"allow": false, "access": "rwm"}]}});
        for (linux, rootless, expected) in [
            (json!({}), true, IfDenied::Stay),
            (json!({}), false, IfDenied::Fail),
            (with_path, true, IfDenied::Fail),
            (with_limit, true, IfDenied::FailForLimits),
            (with_devices, true, IfDenied::Stay),
        ] {
            assert_eq!(IfDenied::new(&config(&linux, &json!([])), rootless), expected, "{linux} {rootless}");
        }
    }
}
