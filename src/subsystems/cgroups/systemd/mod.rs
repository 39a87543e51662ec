//! systemd's driver: the container's cgroup is a transient unit, a scope as a rule, made over D-Bus.
//!
//! ```text
//! linux.cgroupsPath ─► unit: its name and place ──┐                    ┌─ the limits, in the kernel's files, as always
//! linux.resources ──► properties ─────────────────┼─► host: start it ──┤
//! annotations ──────► variant: more of them ──────┘                    └─ the first process is born in it
//! ```
//!
//! Systemd starts no scope without a process. It gets a placeholder, which sleeps until the container's first process is
//! inside; that one is born in the scope's cgroup like in any other, and never moved. With `Delegate=` what is below the
//! scope's cgroup, and what is in its files, is ours.

pub mod host;
pub mod properties;
pub mod unit;
mod variant;

use std::path::PathBuf;

pub use properties::Property;
pub use unit::Unit;

use super::plan::{Group, Version};
use crate::config::Config;
use crate::config::resources::DeviceRule;
use crate::error::Result;
use crate::machine::cgroups::{CgroupLayout, Hierarchy};
use crate::machine::systemd::{Bus, ServiceManager, Value};
use unit::Place;

/// The unit of a container, computed without touching anything.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitPlan {
    /// Its name, and whose it is.
    pub unit: Unit,
    /// Everything but the process.
    pub properties: Vec<Property>,
    /// The version of the manager.
    pub version: u32,
    /// KERNEL: who is born in another cgroup needs the right to write `cgroup.procs` of this one, which both are below.
    /// `None`: root has it.
    pub common: Option<PathBuf>,
}

/// Plans the unit of a container, and its place below the cgroup of its manager.
pub fn plan(
    config: &Config,
    id: &str,
    rules: Option<&[DeviceRule]>,
    layout: &CgroupLayout,
    manager: &ServiceManager,
) -> Result<(UnitPlan, String)> {
    let place = unit::place(config.linux.cgroups_path.as_deref(), id, &manager.bus)?;
    let version = match layout {
        CgroupLayout::V1 { .. } => Version::V1,
        CgroupLayout::V2(_) => Version::V2,
    };
    let mut properties = of_unit(&place, id, version);
    properties.extend(properties::of_limits(&config.linux.resources, version)?);
    if let (Version::V1, Some(rules)) = (version, rules) {
        properties.extend(properties::of_devices(rules));
    }
    properties.retain(|property| property.is_known_to(manager.version));
    properties::merge(&mut properties, variant::from_annotations(&config.annotations)?);
    let path = format!("{}{}", manager.control_group, place.path);
    let common = match (&manager.bus, layout) {
        (Bus::User(_), CgroupLayout::V2(hierarchy)) => Some(common(hierarchy, &path)),
        _ => None,
    };
    let unit = Unit { bus: manager.bus.clone(), name: place.name };
    Ok((UnitPlan { unit, properties, version: manager.version, common }, path))
}

/// What the unit is. The order is that in which systemd looks at it.
fn of_unit(place: &Place, id: &str, version: Version) -> Vec<Property> {
    let yes = |name: &str| Property::new(name, Value::Boolean(true));
    let mut properties = vec![Property::new("Description", Value::text(format!("corten container {id}")))];
    if place.name.ends_with(".slice") {
        properties.push(Property::new("Wants", Value::texts([place.slice.clone()])));
    } else {
        properties.push(Property::new("Slice", Value::text(place.slice.clone())));
        properties.push(yes("Delegate"));
    }
    let io = match version {
        Version::V1 => "BlockIOAccounting",
        Version::V2 => "IOAccounting",
    };
    properties.extend(["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"].map(yes));
    // Else it would be stopped early at shutdown, before the engine that it belongs to.
    properties.push(Property::new("DefaultDependencies", Value::Boolean(false)));
    properties
}

/// The directory of the deepest cgroup that our own one and `path` are both in.
fn common(hierarchy: &Hierarchy, path: &str) -> PathBuf {
    let both = hierarchy.own.split('/').zip(path.split('/')).take_while(|(own, other)| own == other);
    hierarchy.mount_point.join(both.map(|(name, _)| name).collect::<PathBuf>())
}

/// Whether the group is made, and taken away, by systemd: that of v2, and the one that it counts processes by on v1.
pub fn is_systemds(group: &Group) -> bool {
    group.version == Version::V2 || group.controllers.iter().any(|controller| controller == "name=systemd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_that_both_are_below() {
        let hierarchy = |own: &str| Hierarchy { mount_point: "/m".into(), controllers: vec![], own: own.to_owned() };
        for (own, path, expected) in [
            ("/user.slice/u/app.slice/run.scope", "/user.slice/u/user.slice/c.scope", "/m/user.slice/u"),
            ("/user.slice/session.scope", "/user.slice/u/c.scope", "/m/user.slice"),
            ("/init.scope", "/user.slice/c.scope", "/m"),
            ("/", "/user.slice/c.scope", "/m"),
        ] {
            assert_eq!(common(&hierarchy(own), path), PathBuf::from(expected), "{own} {path}");
        }
    }
}
