//! What is to be made and written, computed without touching anything.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::systemd::{self, Unit, UnitPlan};
use super::{device_filter, path, v1, v2};
use crate::config::Config;
use crate::config::resources::{DeviceRule, Resources};
use crate::error::{Error, Result, Within};
use crate::machine::Machine;
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
    fn new(hierarchy: &Hierarchy, path: String, version: Version) -> Self {
        Self { mount_point: hierarchy.mount_point.clone(), path, controllers: hierarchy.controllers.clone(), version }
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
    /// What systemd calls them, if it made them.
    pub unit: Option<Unit>,
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
}

impl CgroupPlan {
    /// Plans the groups and limits of `config`.
    pub fn new(config: &Config, id: &str, driver: Driver, machine: &Machine) -> Result<Self> {
        let resources = &config.linux.resources;
        refuse_what_comes_later(resources)?;
        let layout = machine.cgroups()?;
        let rules = device_rules(resources);
        let unit = match driver {
            Driver::Cgroupfs => None,
            Driver::Systemd => {
                let manager = machine.systemd().within(|| "--systemd-cgroup")?;
                Some(systemd::plan(config, id, rules.as_deref(), layout, manager)?)
            }
            Driver::Disabled => return refuse_limits(resources).map(|()| Self::default()),
        };
        let (unit, path_of_unit) = unit.unzip();
        let group = |hierarchy: &Hierarchy, version| -> Result<Group> {
            let path = match &path_of_unit {
                Some(path) => path.clone(),
                None => path::in_hierarchy(config.linux.cgroups_path.as_deref(), id, hierarchy)?,
            };
            Ok(Group::new(hierarchy, path, version))
        };
        match layout {
            CgroupLayout::V2(hierarchy) => Ok(Self {
                groups: vec![group(hierarchy, Version::V2)?],
                unit,
                writes: v2::writes(resources)?,
                device_program: match rules {
                    Some(rules) => device_filter::program(&rules),
                    None => Vec::new(),
                },
            }),
            CgroupLayout::V1 { hierarchies, unified } => {
                let mut groups = Vec::new();
                for hierarchy in hierarchies {
                    groups.push(group(hierarchy, Version::V1)?);
                }
                let writes = v1::writes(resources, rules.as_deref(), &groups)?;
                if let Some(unified) = unified {
                    groups.push(group(unified, Version::V2)?);
                }
                Ok(Self { groups, unit, writes, device_program: Vec::new() })
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
