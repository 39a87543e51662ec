//! The directories above a container's own that were made for it, or for another one.

use std::ffi::CStr;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::lstat;
use nix::unistd::geteuid;

use super::directory::Directory;
use super::remove::rmdir_unless_used;
use crate::error::{Error, Result};
use crate::subsystems::cgroups::plan::Group;
use crate::sys::xattr;

/// Marks a directory that was made above a container's own: it goes with the last container in it, who need not be the one that
/// it was made for.
///
/// KERNEL: groups have such attributes since 5.7; who may make groups in one may set them, so only ours are believed.
const MADE: &CStr = c"user.corten.made";

/// Tells whoever is the last one in this parent that it is to go.
pub(super) fn mark(parent: &Directory, path: &Path) {
    if let Err(errno) = xattr::set(parent, MADE, b"") {
        // Then it goes only if this container is the last one.
        log::debug!("fsetxattr({path:?}, {MADE:?}): {errno}");
    }
}

/// Removes the parents of a group that are marked and that nobody uses any more, the innermost first.
pub(super) fn remove(group: &Group) -> Result<()> {
    let directory = group.directory();
    let is_parent = |path: &&Path| path.starts_with(&group.mount_point) && *path != group.mount_point;
    for parent in directory.ancestors().skip(1).take_while(is_parent) {
        match xattr::is_set(parent, MADE) {
            Ok(true) if is_ours(parent)? => rmdir_unless_used(parent)?,
            // Another container that goes was faster, or it was ours to remove.
            Err(Errno::ENOENT) => {}
            // Also what is not ours to read, or without attributes.
            Ok(_) | Err(Errno::EACCES | Errno::EOPNOTSUPP) => return Ok(()),
            Err(errno) => return Err(Error::call(format!("getxattr({parent:?})"), errno)),
        }
    }
    Ok(())
}

/// Whether nobody but us may write to it. Whom a group was given to could have it removed else, and with it the limits that the
/// giver has set.
fn is_ours(directory: &Path) -> Result<bool> {
    match lstat(directory) {
        Ok(stat) => Ok(stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o022 == 0),
        Err(Errno::ENOENT) => Ok(true),
        Err(errno) => Err(Error::call(format!("lstat({directory:?})"), errno)),
    }
}
