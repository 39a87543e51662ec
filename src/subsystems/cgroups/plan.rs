//! What is to be made and written, computed without touching anything.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{device_filter, path, v1, v2};
use crate::config::resources::{DeviceRule, Resources};
use crate::config::{Config, IdMappings, NamespaceKind};
use crate::error::{Error, Result};
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
    fn new(hierarchy: &Hierarchy, cgroups_path: Option<&str>, id: &str, version: Version) -> Result<Self> {
        Ok(Self {
            mount_point: hierarchy.mount_point.clone(),
            path: path::in_hierarchy(cgroups_path, id, hierarchy)?,
            controllers: hierarchy.controllers.clone(),
            version,
        })
    }

    /// Its directory.
    pub fn directory(&self) -> PathBuf {
        self.mount_point.join(self.path.trim_start_matches('/'))
    }
}

/// Where a container's processes are. Kept in the state: every later command finds them by it, whatever it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// One place per hierarchy.
    pub groups: Vec<Group>,
    /// The directories that were not there before, outermost first: they go when the container goes.
    pub made: Vec<PathBuf>,
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
    pub property: &'static str,
}

/// Everything about the container's cgroups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupPlan {
    /// One place per hierarchy.
    pub groups: Vec<Group>,
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

/// What the plan depends on besides the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Who makes the groups.
    pub driver: Driver,
    /// Where the hierarchies are.
    pub layout: &'a CgroupLayout,
    /// Whether we may do without groups that we may not make.
    pub rootless: bool,
    /// Whether our own user namespace is not the initial one.
    pub in_user_namespace: bool,
}

impl CgroupPlan {
    /// Plans the groups and limits of `config`.
    pub fn new(config: &Config, circumstances: &Circumstances<'_>) -> Result<Self> {
        let Circumstances { id, driver, layout, rootless, in_user_namespace } = *circumstances;
        let cgroups_path = config.linux.cgroups_path.as_deref();
        let resources = &config.linux.resources;
        refuse_what_comes_later(resources)?;
        match driver {
            Driver::Cgroupfs => {}
            Driver::Systemd => {
                let why = "the systemd cgroup driver is not part of this version of corten";
                return Err(Error::unsupported("--systemd-cgroup", why));
            }
            Driver::Disabled => return refuse_limits(resources).map(|()| Self::default()),
        }
        let plan = Self {
            if_denied: match (rootless && cgroups_path.is_none(), has_limits(resources)) {
                (true, false) => IfDenied::Stay,
                (true, true) => IfDenied::FailForLimits,
                (false, _) => IfDenied::Fail,
            },
            devices_are_optional: rootless || in_user_namespace,
            ..Self::default()
        };
        match layout {
            CgroupLayout::V2(hierarchy) => Ok(Self {
                groups: vec![Group::new(hierarchy, cgroups_path, id, Version::V2)?],
                writes: v2::writes(resources)?,
                device_program: match device_rules(resources) {
                    Some(rules) => device_filter::program(&rules),
                    None => Vec::new(),
                },
                delegate_to: delegate_to(config),
                ..plan
            }),
            CgroupLayout::V1 { hierarchies, unified } => {
                let mut groups = Vec::new();
                for hierarchy in hierarchies {
                    groups.push(Group::new(hierarchy, cgroups_path, id, Version::V1)?);
                }
                let writes = v1::writes(resources, device_rules(resources).as_deref(), &groups)?;
                if let Some(unified) = unified {
                    groups.push(Group::new(unified, cgroups_path, id, Version::V2)?);
                }
                Ok(Self { groups, writes, ..plan })
            }
        }
    }

    /// Whether there are v1 hierarchies, which can only be joined by a write.
    pub fn has_v1(&self) -> bool {
        self.groups.iter().any(|group| group.version == Version::V1)
    }
}

/// The configured rules and behind them the promised devices; `None` without rules: nothing is restricted.
fn device_rules(resources: &Resources) -> Option<Vec<DeviceRule>> {
    if resources.devices.is_empty() || device_filter::allows_everything(&resources.devices) {
        return None;
    }
    let mut rules = resources.devices.clone();
    rules.extend(device_filter::default_rules());
    Some(rules)
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

/// Limits that this version does not set. Saying so is better than a limit that only seems to be there.
fn refuse_what_comes_later(resources: &Resources) -> Result<()> {
    let Resources { block_io, hugepages, network, rdma, .. } = resources;
    let given = [
        ("linux.resources.blockIO", *block_io != Default::default()),
        ("linux.resources.hugepageLimits", !hugepages.is_empty()),
        ("linux.resources.network", *network != Default::default()),
        ("linux.resources.rdma", !rdma.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((property, _)) => Err(Error::unsupported(*property, "this version of corten does not set these limits")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// For `linux` and `mounts` of a configuration.
    fn plan(linux: &Value, mounts: &Value, rootless: bool, v2: bool) -> CgroupPlan {
        let hierarchy = |controllers: &[&str]| Hierarchy {
            mount_point: MOUNT_POINT.into(),
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            own: "/".to_owned(),
        };
        let layout = match v2 {
            true => CgroupLayout::V2(hierarchy(&[])),
            false => CgroupLayout::V1 { hierarchies: vec![hierarchy(&["pids"])], unified: Some(hierarchy(&[])) },
        };
        let mut document = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "mounts": mounts, "linux": linux});
        document["process"] = json!({"user": {"uid": 7, "gid": 0}, "cwd": "/", "args": ["true"]});
        let config = Config::parse(document.to_string().as_bytes()).unwrap();
        let (driver, id) = (Driver::Cgroupfs, "c1");
        CgroupPlan::new(&config, &Circumstances { id, driver, layout: &layout, rootless, in_user_namespace: false })
            .unwrap()
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
            assert_eq!(plan(linux, &mounts, false, true).delegate_to, expected, "{name}");
            assert_eq!(plan(linux, &mounts, false, false).delegate_to, None, "{name}, on v1");
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
            let plan = plan(&linux, &json!([]), rootless, true);
            assert_eq!((plan.if_denied, plan.devices_are_optional), (expected, rootless), "{linux} {rootless}");
        }
    }
}
