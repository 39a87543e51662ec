//! Carrying out the writes of a plan.

use super::directory::Directory;
use crate::error::{Result, Within};
use crate::subsystems::cgroups::plan::{Group, When, Write};

/// Sets one limit; a failure says what the group has instead, or what it uses now.
pub fn write(group: &Group, directory: &Directory, write: &Write) -> Result<()> {
    if !is_due(directory, write)? {
        return Ok(());
    }
    directory
        .write(&write.file, &write.value)
        .within(|| format!("{}: set {:?} of cgroup {:?}", write.property, write.file, group.path))
}

/// Whether the group has what the write is for.
pub fn is_due(directory: &Directory, write: &Write) -> Result<bool> {
    match write.when {
        When::Always => Ok(true),
        When::IfThere => directory.has(&write.file),
        When::Without(other) => Ok(!directory.has(other)?),
    }
}
