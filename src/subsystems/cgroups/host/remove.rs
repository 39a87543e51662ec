//! Taking groups away.

use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::directory::Directory;
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
        let Some(directory) = Directory::find(path)? else { return Ok(()) };
        for child in directory.children()? {
            remove_tree(&path.join(child), version, deadline)?;
        }
        if !wait_until_empty(&directory, version, deadline)? {
            return Err(Error::new(Kind::Busy, "processes are still inside"));
        }
    }
}

/// `false`: `deadline` came first.
fn wait_until_empty(directory: &Directory, version: Version, deadline: Instant) -> Result<bool> {
    match version {
        Version::V2 => {
            let events = directory.open_file("cgroup.events", OFlag::O_RDONLY)?;
            loop {
                let content = sys::fd::read_all(&events).or_call(|| "read(\"cgroup.events\")")?;
                if !String::from_utf8_lossy(&content).contains("populated 1") {
                    return Ok(Instant::now() < deadline);
                }
                if !sys::wait::until_ready(&events, PollFlags::POLLPRI, deadline)
                    .or_call(|| "poll(\"cgroup.events\")")?
                {
                    return Ok(false);
                }
                nix::unistd::lseek(&events, 0, nix::unistd::Whence::SeekSet).or_call(|| "lseek(\"cgroup.events\")")?;
            }
        }
        Version::V1 => {
            for pid in directory.processes()? {
                if let Ok(pidfd) = sys::pidfd::open(pid)
                    && !sys::wait::until_ready(&pidfd, PollFlags::POLLIN, deadline).or_call(|| "poll(pidfd)")?
                {
                    return Ok(false);
                }
            }
            Ok(Instant::now() < deadline)
        }
    }
}
