//! Taking groups away.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::directory::{Directory, is_gone};
use super::kill::kill_in_rounds;
use super::parents;
use super::tree;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::subsystems::cgroups::plan::{Group, Placement, Version};
use crate::subsystems::cgroups::systemd;
use crate::sys;

/// Removes the container's groups and those that it made below them, waiting until `deadline` for the last process to
/// have left. A group that is not there is fine. Then the parents that were made for it or another one, unless others use them
/// by now.
pub fn remove(placement: &Placement, deadline: Instant) -> Result<()> {
    // ORDER: systemd takes away what it made, and would miss it.
    let stopped = placement.unit.as_ref().map_or(Ok(()), |unit| systemd::host::stop(unit, deadline));
    let removed = remove_groups(placement, deadline);
    match stopped {
        // Nobody there who could still know the unit: its user has logged out, or the machine was started anew.
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ECONNREFUSED)) => {
            log::debug!("the cgroup is removed without systemd: {error}");
            removed
        }
        Err(error) => Err(error),
        Ok(()) => removed,
    }
}

fn remove_groups(placement: &Placement, deadline: Instant) -> Result<()> {
    for group in &placement.groups {
        let path = group.directory();
        remove_tree(placement, group, deadline).within(|| format!("remove cgroup {path:?}"))?;
    }
    for path in placement.made.iter().rev() {
        rmdir_unless_used(path)?;
    }
    placement.groups.iter().try_for_each(parents::remove)
}

/// A directory that others may be in, or have taken away.
pub(super) fn rmdir_unless_used(path: &Path) -> Result<()> {
    match rmdir(path) {
        Ok(()) | Err(Errno::ENOENT | Errno::EBUSY | Errno::ENOTEMPTY) => Ok(()),
        Err(errno) => Err(Error::call(format!("rmdir({path:?})"), errno)),
    }
}

/// How long who was killed may take to be gone before everybody is killed once more.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a v1 group is looked at in which nobody can be waited for.
const INTERVAL: Duration = Duration::from_millis(5);

fn rmdir(path: &Path) -> nix::Result<()> {
    unlinkat(nix::fcntl::AT_FDCWD, path, UnlinkatFlags::RemoveDir)
}

/// SPEC(runtime, "Delete"): what create did not make stays, without what is in it.
fn remove_tree(placement: &Placement, group: &Group, deadline: Instant) -> Result<()> {
    let (path, version) = (&group.directory(), group.version);
    let is_ours = placement.has_made(group);
    loop {
        if is_ours {
            match rmdir(path) {
                Ok(()) | Err(Errno::ENOENT) => return Ok(()),
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
                Err(errno) => return Err(Error::call(format!("rmdir({path:?})"), errno)),
            }
        }
        let Some(top) = Directory::find(path)? else { return Ok(()) };
        if !wait_until_empty(&top, version, deadline.min(Instant::now() + PATIENCE))? {
            if Instant::now() >= deadline {
                return Err(Error::new(Kind::Busy, "processes are still inside"));
            }
            // Who came in after the killing, or was moved out of the hierarchy that was killed.
            kill_in_rounds(placement, deadline)?;
            continue;
        }
        if !is_ours && top.children()?.is_empty() {
            return Ok(());
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
        Version::V2 => match directory.wait_for_event("populated 0", deadline) {
            Err(error) if is_gone(&error) => Ok(true),
            other => Ok(other? && Instant::now() < deadline),
        },
        Version::V1 => {
            let (mut found, mut waited) = (0, false);
            tree::outermost_first(directory, |group| {
                found += group.count_processes()?;
                for pid in group.processes()? {
                    if let Ok(pidfd) = sys::pidfd::open(pid) {
                        // Late or not is asked in the end.
                        sys::wait::until_ready(&pidfd, PollFlags::POLLIN, deadline).or_call(|| "poll(pidfd)")?;
                        waited = true;
                    }
                }
                Ok(())
            })?;
            if found > 0 && !waited {
                // Nobody of them has a pid in our namespace.
                sys::wait::until_any(&[], Some(Instant::now() + INTERVAL)).or_call(|| "poll")?;
            }
            Ok(Instant::now() < deadline)
        }
    }
}
