//! What is to be made and written, computed without touching anything.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{device_filter, limits, path};
use crate::config::Config;
use crate::config::resources::Resources;
use crate::error::{Error, Result};
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
    pub fn new(config: &Config, id: &str, driver: Driver, machine: &Machine) -> Result<Self> {
        let cgroups_path = config.linux.cgroups_path.as_deref();
        let resources = &config.linux.resources;
        match driver {
            Driver::Cgroupfs => {}
            Driver::Systemd => {
                let why = "the systemd cgroup driver is not part of this version of corten";
                return Err(Error::unsupported("--systemd-cgroup", why));
            }
            Driver::Disabled => return refuse_limits(resources).map(|()| Self::default()),
        }
        let mut groups = Vec::new();
        match machine.cgroups()? {
            CgroupLayout::V2(hierarchy) => groups.push(Group::new(hierarchy, cgroups_path, id, Version::V2)?),
            CgroupLayout::V1 { hierarchies, unified } => {
                for hierarchy in hierarchies {
                    groups.push(Group::new(hierarchy, cgroups_path, id, Version::V1)?);
                }
                if let Some(unified) = unified {
                    groups.push(Group::new(unified, cgroups_path, id, Version::V2)?);
                }
            }
        }
        // A new group says nothing yet.
        let writes = limits::writes(resources, &groups, machine, &|_, _| None)?;
        let device_program = match limits::version(&groups) {
            Version::V2 => device_filter::effective_rules(resources).map(|rules| device_filter::program(&rules)),
            Version::V1 => None,
        };
        Ok(Self { groups, writes, device_program: device_program.unwrap_or_default() })
    }

    /// Whether there are v1 hierarchies, which can only be joined by a write.
    pub fn has_v1(&self) -> bool {
        self.groups.iter().any(|group| group.version == Version::V1)
    }
}

/// COMPAT(Podman): rules for devices come along with `--cgroups=disabled`, too; they mean nothing without a group.
fn refuse_limits(resources: &Resources) -> Result<()> {
    let without_devices = Resources { devices: Vec::new(), ..resources.clone() };
    if without_devices == Resources::default() {
        return Ok(());
    }
    Err(Error::invalid("linux.resources", "limits need a cgroup, and --cgroup-manager is disabled"))
}
