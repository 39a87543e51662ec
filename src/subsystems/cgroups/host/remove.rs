//! Taking groups away.

use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::directory::Directory;
use super::tree;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::subsystems::cgroups::plan::{Placement, Version};
use crate::subsystems::cgroups::systemd;
use crate::sys;

/// Removes the container's groups and those that it made below them, waiting until `deadline` for the last process to
/// have left. A group that is not there is fine. Then the parents that were made for it, unless others use them by now.
pub fn remove(placement: &Placement, deadline: Instant) -> Result<()> {
    // ORDER: systemd takes away what it made, and would miss it.
    if let Some(unit) = &placement.unit {
        systemd::host::stop(unit, deadline)?;
    }
    for group in &placement.groups {
        let path = group.directory();
        remove_tree(&path, group.version, deadline).within(|| format!("remove cgroup {path:?}"))?;
    }
    for path in placement.made.iter().rev() {
        match rmdir(path) {
            Ok(()) | Err(Errno::ENOENT | Errno::EBUSY | Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(Error::call(format!("rmdir({path:?})"), errno)),
        }
    }
    Ok(())
}

fn rmdir(path: &Path) -> nix::Result<()> {
    unlinkat(nix::fcntl::AT_FDCWD, path, UnlinkatFlags::RemoveDir)
}

fn remove_tree(path: &Path, version: Version, deadline: Instant) -> Result<()> {
    loop {
        match rmdir(path) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(Error::call(format!("rmdir({path:?})"), errno)),
        }
        let Some(top) = Directory::find(path)? else { return Ok(()) };
        if !wait_until_empty(&top, version, deadline)? {
            return Err(Error::new(Kind::Busy, "processes are still inside"));
        }
        tree::innermost_first(&top, |parent, name| {
            match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
                // Busy: somebody made another one in it meanwhile. The top cannot be removed then either.
                Ok(()) | Err(Errno::ENOENT | Errno::EBUSY | Errno::ENOTEMPTY) => Ok(()),
                Err(errno) => Err(Error::call(format!("rmdir({name:?})"), errno)),
            }
        })?;
    }
}

/// Waits until nobody is in it nor in a group below. `false`: `deadline` came first.
fn wait_until_empty(directory: &Directory, version: Version, deadline: Instant) -> Result<bool> {
    match version {
        // ORDER: the time is looked at afterwards, so that groups that fill again and again are given up, too.
        Version::V2 => Ok(directory.wait_for_event("populated 0", deadline)? && Instant::now() < deadline),
        Version::V1 => {
            tree::outermost_first(directory, |group| {
                for pid in group.processes()? {
                    if let Ok(pidfd) = sys::pidfd::open(pid) {
                        // Late or not is asked in the end.
                        sys::wait::until_ready(&pidfd, PollFlags::POLLIN, deadline).or_call(|| "poll(pidfd)")?;
                    }
                }
                Ok(())
            })?;
            Ok(Instant::now() < deadline)
        }
    }
}
