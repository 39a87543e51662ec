//! SIGKILL for everybody.

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::directory::Directory;
use super::freezer::thaw_all;
use super::tree;
use crate::error::{Error, Result};
use crate::subsystems::cgroups::plan::{Group, Placement, Version};
use crate::sys;

/// Sends SIGKILL to everybody in the container's groups and below. Frozen ones die too.
pub fn kill_all(placement: &Placement) -> Result<()> {
    if !kill_at_once(&placement.groups)? {
        for group in &placement.groups {
            if let Some(directory) = Directory::open(group)? {
                kill_one_by_one(&directory)?;
            }
        }
    }
    thaw_all(placement)
}

/// `false`: there is no v2 group, or the kernel cannot.
fn kill_at_once(groups: &[Group]) -> Result<bool> {
    for group in groups.iter().filter(|group| group.version == Version::V2) {
        let Some(directory) = Directory::open(group)? else { continue };
        // KERNEL(5.14): one write for all, also for those that are just being forked.
        let file = match directory.open_file("cgroup.kill", OFlag::O_WRONLY) {
            Ok(file) => file,
            Err(error) => {
                log::debug!("killing one by one: {error}");
                continue;
            }
        };
        match nix::unistd::write(&file, b"1") {
            Ok(_) => return Ok(true),
            // A threaded group has threads, and only processes can be killed.
            Err(Errno::EOPNOTSUPP) => log::debug!("killing one by one: the cgroup is threaded"),
            Err(errno) => return Err(Error::call("write(\"cgroup.kill\")", errno)),
        }
    }
    Ok(false)
}

/// ORDER: outermost first, so that those who make groups below are dead before we get there.
fn kill_one_by_one(directory: &Directory) -> Result<()> {
    tree::outermost_first(directory, kill_in)
}

fn kill_in(directory: &Directory) -> Result<()> {
    for pid in directory.processes()? {
        let Ok(pidfd) = sys::pidfd::open(pid) else { continue };
        // The pid may have gone to somebody else between the read and the open: look again, with the pidfd in hand.
        if directory.processes()?.contains(&pid) {
            let _ = sys::pidfd::send_signal(&pidfd, libc::SIGKILL);
        }
    }
    Ok(())
}
