//! What is to be made and written, computed without touching anything.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{device_filter, path, v1, v2};
use crate::config::Config;
use crate::config::resources::{DeviceRule, Resources};
use crate::error::{Error, Result};
use crate::machine::cgroups::{CgroupLayout, Hierarchy};
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
}

impl CgroupPlan {
    /// Plans the groups and limits of `config`.
    pub fn new(config: &Config, id: &str, driver: Driver, layout: &CgroupLayout) -> Result<Self> {
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
        match layout {
            CgroupLayout::V2(hierarchy) => Ok(Self {
                groups: vec![Group::new(hierarchy, cgroups_path, id, Version::V2)?],
                writes: v2::writes(resources)?,
                device_program: match device_rules(resources) {
                    Some(rules) => device_filter::program(&rules),
                    None => Vec::new(),
                },
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
                Ok(Self { groups, writes, device_program: Vec::new() })
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

/// COMPAT(Podman): rules for devices come along with `--cgroups=disabled`, too; they mean nothing without a group.
fn refuse_limits(resources: &Resources) -> Result<()> {
    let without_devices = Resources { devices: Vec::new(), ..resources.clone() };
    if without_devices == Resources::default() {
        return Ok(());
    }
    Err(Error::invalid("linux.resources", "limits need a cgroup, and --cgroup-manager is disabled"))
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
