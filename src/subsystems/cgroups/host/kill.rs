//! SIGKILL for everybody.

use nix::fcntl::OFlag;

use super::directory::Directory;
use super::freezer::thaw_all;
use super::tree;
use crate::error::{OrCall, Result};
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
        match directory.open_file("cgroup.kill", OFlag::O_WRONLY) {
            Ok(file) => return nix::unistd::write(&file, b"1").or_call(|| "write(\"cgroup.kill\")").map(|_| true),
            Err(error) => log::debug!("killing one by one: {error}"),
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
