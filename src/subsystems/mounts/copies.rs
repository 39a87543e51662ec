//! Copies of the host's mounts (open_tree(2)): attached nowhere, with attributes and propagation already set.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::options::Change;
use super::plan::Root;
use crate::error::{Error, OrCall, Result, Within};
use crate::fs::c_path;
use crate::fs::rootdir::file_type;
use crate::sys::mount::{Attributes, Reach, clone_tree_at, set_attributes};

/// A copy of what is mounted at `path`, with propagation and attributes set.
///
/// ORDER: without the change of propagation the copy would be a peer of the host's mount, and what the container mounts
/// below it would appear on the host.
pub fn copy_of(path: &Path, reach: Reach, propagation: Option<u64>, change: Change) -> Result<OwnedFd> {
    let copy = clone_tree_at(&c_path(path)?, reach).map_err(|errno| {
        let recursive = if reach == Reach::Tree { "|RECURSIVE" } else { "" };
        let error = Error::call(format!("open_tree({path:?}, CLONE{recursive})"), errno);
        match (errno, reach) {
            (Errno::EINVAL, Reach::Mount) => {
                error.hint("it is unbindable, or a user namespace would see what is covered below it: rbind")
            }
            _ => error,
        }
    })?;
    let set = |reach, attributes: &Attributes| {
        set_attributes(&copy, reach, attributes).or_call(|| format!("mount_setattr({path:?})"))
    };
    if let Some(propagation) = propagation {
        set(Reach::Tree, &Attributes { propagation, ..Attributes::default() })?;
    }
    if !change.is_empty() {
        // The attributes of a bind mount are those of its top, as mount(8) has it; the recursive options are for the rest.
        set(Reach::Mount, &Attributes { set: change.set, clear: change.clear, ..Attributes::default() })?;
    }
    Ok(copy)
}

/// The root filesystem with all that is mounted in it.
pub fn copy_of_root(root: &Root) -> Result<OwnedFd> {
    let within = || format!("root.path: open {:?}", root.path);
    let copy = copy_of(&root.path, Reach::Tree, Some(root.before), Change::default()).within(within)?;
    if file_type(&copy)? == SFlag::S_IFDIR {
        return Ok(copy);
    }
    Err(Error::call(format!("open_tree({:?})", root.path), Errno::ENOTDIR)).within(within)
}

/// What a copy of the host's mounts becomes, so that nothing mounted in the container appears on the host: `None` leaves it
/// a peer of the original, which only happens when the root is shared and the volume is to be, too ("Bidirectional" of
/// Kubernetes).
pub fn propagation_of_copy(root: &Root, asked: &[(u64, Reach)]) -> Option<u64> {
    let stays_peer =
        root.after == Some(libc::MS_SHARED) && asked.last().is_some_and(|(kind, _)| *kind == libc::MS_SHARED);
    // A volume that is to receive from the host must not be cut off first because the root is.
    let receives = asked.last().is_some_and(|(kind, _)| *kind == libc::MS_SLAVE);
    match (stays_peer, receives) {
        (true, _) => None,
        (false, true) => Some(libc::MS_SLAVE),
        (false, false) => Some(root.before),
    }
}
