//! Carrying out the writes of a plan.

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::directory::Directory;
use crate::error::{Result, Within};
use crate::subsystems::cgroups::plan::{Group, When, Write};

/// Sets one limit; a failure says what the group has instead, or what it uses now.
pub fn write(group: &Group, directory: &Directory, write: &Write) -> Result<()> {
    let is_due = match write.when {
        When::Always => true,
        When::IfThere => has(directory, &write.file)?,
        When::Without(other) => !has(directory, other)?,
    };
    if !is_due {
        return Ok(());
    }
    directory
        .write(&write.file, &write.value)
        .within(|| format!("{}: set {:?} of cgroup {:?}", write.property, write.file, group.path))
}

fn has(directory: &Directory, file: &str) -> Result<bool> {
    match directory.open_file(file, OFlag::O_PATH) {
        Ok(_) => Ok(true),
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
