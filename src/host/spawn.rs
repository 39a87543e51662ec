//! THE SEAM: the only place that makes a process which will enter a container.
//!
//! It may be called from any thread of any program, with a sealed body: between clone3 and execve the child makes a handful of
//! raw calls (`sys::clone`); then it is a sealed copy of our executable, with one thread and nothing of the caller's memory.
//!
//! A program with one thread, such as the command line, may have itself copied instead, which saves the start of a program
//! (0.5 ms). It is not sealed, so that is done only where nobody who is in the container already can see it; and before
//! anything of the container runs the copy executes a husk ([`crate::sys::husk`]), which is.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::PollFlags;

use super::Fork;
use super::container::{DEATH, kill_and_wait, within};
use super::seal::Sealed;
use crate::channel::{self, HostEnd};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::plan::ErrandRef;
use crate::subsystems::cgroups::Placement;
use crate::subsystems::cgroups::host as cgroups;
use crate::sys::clone::{Child, Launch, Then};
use crate::sys::fd::{Luggage, Passed};
use crate::{sys, timing};

/// A process that was made and is not yet a container's for good: dropped without [`Launched::keep`], it is killed with
/// all that is in its container's groups, and reaped.
#[derive(Debug)]
pub struct Launched {
    child: Option<Child>,
    cgroups: Placement,
    earlier_oom_kills: u64,
}

/// What process to make.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// `CLONE_NEW*`.
    pub namespaces: u64,
    /// It waits for its ids to be mapped before it executes.
    pub maps_before_exec: bool,
    /// The cgroup v2 to be born in.
    pub birthplace: Option<BorrowedFd<'a>>,
    /// What goes along.
    pub luggage: &'a Luggage,
    /// The same, of the caller's.
    pub preserved_fds: u32,
    /// Whoever is here is killed with the process, when that comes to nothing.
    pub placement: Placement,
    /// How many there had been killed for lack of memory before.
    pub earlier_oom_kills: u64,
}

/// What a process is made from.
#[derive(Debug)]
pub enum Body {
    /// A sealed copy of our executable, which is sent its errand.
    Sealed(Sealed),
    /// A copy of this process, which knows it, and leaves the last steps to a husk.
    Copy {
        /// What it does.
        fork: Fork,
        /// The husk's file.
        husk: Passed,
    },
}

impl Body {
    /// The husk's file.
    pub fn husk(&self) -> Option<Passed> {
        match self {
            Self::Sealed(_) => None,
            Self::Copy { husk, .. } => Some(*husk),
        }
    }

    /// What is to be sent to it first of all, if anything is.
    pub fn plan(&self, errand: ErrandRef<'_>) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Sealed(_) => errand.to_bytes().map(Some),
            Self::Copy { .. } => Ok(None),
        }
    }
}

/// Makes the process. The channel's other end is its.
pub fn launch(wanted: Wanted<'_>, body: &Body, errand: ErrandRef<'_>) -> Result<(Launched, HostEnd)> {
    let (host_end, inside_end) = channel::pair()?;
    let number = inside_end.as_fd().as_raw_fd();
    let text = crate::fs::c_string(&number.to_string())?;
    let mut arguments = vec![channel::SEALED_NAME, text.as_c_str()];
    arguments.extend(timing::is_wanted().then_some(channel::TELL_PHASES));
    let mut keep = wanted.luggage.numbers();
    keep.push(number);
    let then = match body {
        Body::Sealed(sealed) => Then::Execute { executable: sealed.executable(), arguments: &arguments },
        Body::Copy { .. } => Then::GoOn,
    };
    let child = sys::clone::launch(&Launch {
        namespaces: wanted.namespaces,
        cgroup: wanted.birthplace,
        then,
        keep: &keep,
        preserved: wanted.preserved_fds,
        ids_mapped: wanted.maps_before_exec.then(|| inside_end.as_fd()),
        report: inside_end.as_fd(),
    })
    .or_call(|| format!("clone3({:#x})", wanted.namespaces))
    .within(|| "make the container's process")?;
    let child = match (child, body) {
        (Some(child), _) => child,
        // What our caller owns is not this process' to drop: it does not come back.
        (None, Body::Copy { fork, .. }) => fork(inside_end, errand),
        (None, Body::Sealed(_)) => sys::clone::end(1),
    };
    let cgroups = wanted.placement;
    Ok((Launched { child: Some(child), cgroups, earlier_oom_kills: wanted.earlier_oom_kills }, host_end))
}

impl Launched {
    /// One that somebody else made, as our child.
    pub fn adopt(child: Child, cgroups: Placement) -> Self {
        Self { child: Some(child), cgroups, earlier_oom_kills: 0 }
    }

    /// Its pid, as we see it.
    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(-1, |child| child.pid)
    }

    /// Both of them.
    pub fn process(&self) -> Result<&Child> {
        self.child.as_ref().ok_or_else(|| Error::new(Kind::ProcessGone, "the process is gone"))
    }

    /// The process itself.
    pub fn pidfd(&self) -> Option<&OwnedFd> {
        self.child.as_ref().map(|child| &child.pidfd)
    }

    /// Does not wait for its end.
    pub fn kill(&self) -> Result<()> {
        sys::pidfd::send_signal(&self.process()?.pidfd, libc::SIGKILL).or_call(|| "pidfd_send_signal(SIGKILL)")
    }

    /// The intermediate process has done its work: goes on with the first process, which it made as our child.
    pub fn replace(&mut self, child: Child) -> Result<()> {
        if let Some(intermediate) = self.child.replace(child) {
            match sys::pidfd::reap(&intermediate.pidfd) {
                // An embedder that waits for all its children was faster.
                Ok(_) | Err(Errno::ECHILD) => {}
                Err(errno) => return Err(Error::call("poll and waitid(intermediate process)", errno)),
            }
        }
        Ok(())
    }

    /// How it died, in words.
    pub fn obituary(&self) -> String {
        use sys::pidfd::Ended;
        let Some(child) = &self.child else { return "is gone".to_owned() };
        if !sys::wait::until_ready(&child.pidfd, PollFlags::POLLIN, within(DEATH)).unwrap_or(false) {
            return "closed its end of the channel and lives".to_owned();
        }
        match sys::pidfd::obituary(&child.pidfd) {
            Ok(Ended::Exited(status)) => format!("ended with status {status} without a word"),
            Ok(Ended::Killed(libc::SIGKILL)) if self.lacked_memory() => LACKED_MEMORY.to_owned(),
            Ok(Ended::Killed(signal)) => format!("was killed by signal {signal}"),
            Err(errno) => format!("cannot be waited for: {errno}"),
        }
    }

    fn lacked_memory(&self) -> bool {
        let kills = cgroups::oom_kills(&self.cgroups);
        kills.is_ok_and(|kills| kills > self.earlier_oom_kills)
    }

    /// It is the container's first process now.
    pub fn keep(mut self) -> Option<OwnedFd> {
        self.child.take().map(|child| child.pidfd)
    }
}

/// What the kernel did to a process for which the limit is too low.
const LACKED_MEMORY: &str = "was killed for lack of memory (raise linux.resources.memory.limit)";

impl Drop for Launched {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        let killed = kill_and_wait(&child.pidfd)
            .and_then(|()| cgroups::kill_all(&self.cgroups))
            .and_then(|()| end_copy_of(&child));
        if let Err(error) = killed {
            log::warn!("after a failed create: {error}");
        }
        // Whoever already reaped it did no harm.
        let _ = sys::pidfd::reap(&child.pidfd);
    }
}

/// An intermediate process may have made the first one and not told us of it. They are a group, whose id is nobody else's as
/// long as the dead one is not reaped.
fn end_copy_of(dead: &Child) -> Result<()> {
    match sys::pidfd::obituary(&dead.pidfd) {
        Ok(_) => sys::pidfd::end_group(dead.pid).or_call(|| format!("kill(-{}, SIGKILL)", dead.pid)),
        // An embedder that waits for all its children was faster.
        Err(Errno::ECHILD) => Ok(()),
        Err(errno) => Err(Error::call("waitid(first process)", errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn who_made_a_copy_and_did_not_tell_is_ended_with_it() {
        let sleeper = |group| Command::new("sleep").arg("60").process_group(group).spawn().unwrap();
        let mut intermediate = sleeper(0);
        let pid = i32::try_from(intermediate.id()).unwrap();
        let mut copy = sleeper(pid);
        let pidfd = sys::pidfd::open(pid).unwrap();
        intermediate.kill().unwrap();
        drop(Launched::adopt(Child { pid, pidfd }, Placement::default()));
        for child in [&mut intermediate, &mut copy] {
            assert_eq!(child.try_wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
        }
    }
}
