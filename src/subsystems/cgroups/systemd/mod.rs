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

pub use properties::{Property, files};
pub use unit::Unit;
pub use variant::UNIT_PROPERTY;

use super::device_filter;
use super::plan::{Group, Version, Write};
use crate::config::Config;
use crate::error::Result;
use crate::machine::systemd::{ServiceManager, Value};
use properties::{Now, OOM_POLICY};
use unit::{Place, is_slice};

/// The unit of a container, computed without touching anything.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitPlan {
    /// Its name, and whose it is.
    pub unit: Unit,
    /// Everything but the process.
    pub properties: Vec<Property>,
}

/// Where the unit of a container is: its name, and its cgroup below that of its manager.
pub fn place(config: &Config, id: &str, manager: &ServiceManager) -> Result<Place> {
    let mut place = unit::place(config.linux.cgroups_path.as_deref(), id, &manager.bus)?;
    place.path.insert_str(0, &manager.control_group);
    Ok(place)
}

/// Plans the unit at `place`, with those of the limits that systemd knows.
pub fn plan(
    config: &Config,
    id: &str,
    place: Place,
    manager: &ServiceManager,
    (writes, version): (&[Write], Version),
) -> Result<UnitPlan> {
    let mut properties = of_unit(&place, id, version);
    properties.extend(properties::of_writes(writes, version, &|_| None)?);
    if is_slice(&place.name) {
        properties.retain(|property| property.name != OOM_POLICY);
    }
    if let (Version::V1, Some(rules)) = (version, device_filter::effective_rules(&config.linux.resources)) {
        properties.extend(properties::of_devices(&rules));
    }
    properties.retain(|property| property.is_known_to(manager.version));
    properties::merge(&mut properties, variant::from_annotations(&config.annotations)?);
    let unit = Unit { bus: manager.bus.clone(), name: place.name, version: manager.version };
    Ok(UnitPlan { unit, properties })
}

/// What of changed limits the unit is told, when the files have them.
pub fn changes(unit: &Unit, writes: &[Write], version: Version, now: &Now<'_>) -> Result<Vec<Property>> {
    let mut properties = properties::of_writes(writes, version, now)?;
    properties.retain(|property| property.name != OOM_POLICY && property.is_known_to(unit.version));
    Ok(properties)
}

/// What the unit is. The order is that in which systemd looks at it.
fn of_unit(place: &Place, id: &str, version: Version) -> Vec<Property> {
    let yes = |name: &str| Property::new(name, Value::Boolean(true));
    let mut properties = vec![Property::new("Description", Value::text(format!("corten container {id}")))];
    if is_slice(&place.name) {
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

/// Whether the group is made, and taken away, by systemd: that of v2, and the one that it counts processes by on v1.
pub fn is_systemds(group: &Group) -> bool {
    group.version == Version::V2 || group.controllers.iter().any(|controller| controller == "name=systemd")
}
