//! Frozen and not.

use super::directory::Directory;
use crate::error::Result;
use crate::subsystems::cgroups::plan::{Group, Placement, Version};

/// Whether somebody paused the container.
pub fn is_frozen(placement: &Placement) -> Result<bool> {
    let freezes = |group: &&Group| match group.version {
        // The v2 hierarchy of a hybrid host has a freezer too, but engines there use the controller's.
        Version::V2 => placement.groups.len() == 1,
        Version::V1 => group.controllers.iter().any(|controller| controller == "freezer"),
    };
    match placement.groups.iter().find(freezes) {
        None => Ok(false),
        Some(group) => match Directory::open(group)? {
            Some(directory) => is_frozen_group(group, &directory),
            None => Ok(false),
        },
    }
}

/// Whether this group is frozen, by itself or by one above.
pub fn is_frozen_group(group: &Group, directory: &Directory) -> Result<bool> {
    Ok(match group.version {
        // Not there in the root group of a namespace.
        Version::V2 => directory.read("cgroup.events").is_ok_and(|events| events.contains("frozen 1")),
        Version::V1 if group.controllers.iter().any(|controller| controller == "freezer") => {
            // Unreadable: the group is going away.
            directory.read("freezer.state").is_ok_and(|state| state.trim() != "THAWED")
        }
        Version::V1 => false,
    })
}

/// Lets frozen v1 processes go on, so that they take a SIGKILL; v2 kills frozen ones by itself.
pub fn thaw_all(placement: &Placement) -> Result<()> {
    placement.groups.iter().try_for_each(thaw)
}

/// A frozen v1 process takes its SIGKILL only when it is thawed.
fn thaw(group: &Group) -> Result<()> {
    if group.version == Version::V1
        && group.controllers.iter().any(|controller| controller == "freezer")
        && let Some(directory) = Directory::open(group)?
        && is_frozen_group(group, &directory)?
    {
        directory.write("freezer.state", "THAWED")?;
    }
    Ok(())
}
