//! Signals for everybody.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;

use super::directory::Directory;
use super::freezer::{self, Order, thaw_all};
use super::processes::processes;
use crate::error::{Error, Kind, OrCall, Result};
use crate::subsystems::cgroups::plan::{Group, Placement, Version};
use crate::sys;

/// How long a container may go on to make new processes while it gets a signal, and killed ones may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends SIGKILL to everybody in the container's groups and below. Frozen ones die too.
pub fn kill_all(placement: &Placement) -> Result<()> {
    if !kill_at_once(&placement.groups)? {
        kill_in_rounds(placement, Instant::now() + PATIENCE)?;
    }
    thaw_all(placement)
}

/// Sends a signal that need not be deadly to everybody in the container's groups and below, also to those who are made
/// meanwhile.
pub fn signal_all(placement: &Placement, signal: i32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut told = BTreeSet::new();
    loop {
        let new: BTreeSet<i32> = processes(placement)?.difference(&told).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::new(Kind::TimedOut, "it makes processes faster than they can be told"));
        }
        signal_each(placement, &new, signal)?;
        told.extend(new);
    }
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
            // It went meanwhile: systemd takes scopes away in which nobody is left.
            Err(Errno::ENODEV | Errno::ENOENT) => {}
            // A threaded group has threads, and only processes can be killed.
            Err(Errno::EOPNOTSUPP) => log::debug!("killing one by one: the cgroup is threaded"),
            Err(errno) => return Err(Error::call("write(\"cgroup.kill\")", errno)),
        }
    }
    Ok(false)
}

/// Whoever forks faster than we kill is stopped first; only who was in the middle of a fork gets another one. Where nothing
/// can be frozen it is a race.
pub fn kill_in_rounds(placement: &Placement, deadline: Instant) -> Result<()> {
    loop {
        let everybody = processes(placement)?;
        if everybody.is_empty() {
            return Ok(());
        }
        ask_freezer(placement, Order::Stop);
        let killed = processes(placement).and_then(|all| signal_each(placement, &all, libc::SIGKILL));
        ask_freezer(placement, Order::GoOn);
        if let Some(pidfd) = killed? {
            sys::wait::until_ready(&pidfd, PollFlags::POLLIN, deadline).or_call(|| "poll(pidfd)")?;
        }
        if Instant::now() >= deadline {
            let why = format!("processes are still there after {} s of SIGKILL", PATIENCE.as_secs());
            return Err(Error::new(Kind::TimedOut, why));
        }
    }
}

/// Only asks: nobody waits for the last one to be frozen, since who is not will be killed all the same.
fn ask_freezer(placement: &Placement, order: Order) {
    if let Err(error) = freezer::tell_if_there(placement, order) {
        log::debug!("killing who may still fork: {error}");
    }
}

/// How many are held at a time: a container may have more processes than we may have descriptors.
const AT_A_TIME: usize = 256;

/// The answer is one of those who got it.
fn signal_each(placement: &Placement, pids: &BTreeSet<i32>, signal: i32) -> Result<Option<OwnedFd>> {
    let pids: Vec<i32> = pids.iter().copied().collect();
    let mut told = None;
    for some in pids.chunks(AT_A_TIME) {
        let hold = |pid: &i32| Some((*pid, sys::pidfd::open(*pid).ok()?));
        let held: Vec<(i32, OwnedFd)> = some.iter().filter_map(hold).collect();
        // A pid may have gone to somebody else between the read and the open: look again, with the pidfds in hand.
        let still_inside = processes(placement)?;
        for (pid, pidfd) in held.into_iter().filter(|(pid, _)| still_inside.contains(pid)) {
            match sys::pidfd::send_signal(&pidfd, signal) {
                Ok(()) => told = Some(pidfd),
                Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::call(format!("pidfd_send_signal({pid}, {signal})"), errno)),
            }
        }
    }
    Ok(told)
}
