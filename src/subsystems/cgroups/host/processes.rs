//! Who is inside.

use std::collections::BTreeSet;

use super::directory::Directory;
use super::tree;
use crate::error::Result;
use crate::subsystems::cgroups::plan::Placement;

/// Everybody in the container's groups and below, by pid. A process can be moved out of one hierarchy and stay in another.
pub fn processes(placement: &Placement) -> Result<BTreeSet<i32>> {
    let mut processes = BTreeSet::new();
    for group in &placement.groups {
        if let Some(directory) = Directory::open(group)? {
            tree::outermost_first(&directory, |it| {
                processes.extend(it.processes()?);
                Ok(())
            })?;
        }
    }
    Ok(processes)
}

/// Whether the container has made groups below its own.
pub fn has_groups_inside(placement: &Placement) -> Result<bool> {
    for group in &placement.groups {
        if let Some(directory) = Directory::open(group)?
            && !directory.children()?.is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}
