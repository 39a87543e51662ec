//! Waiting for what happens to a container: OOM kills, and its end.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Whence;

use super::directory::{Directory, is_gone};
use super::oom::OomCounter;
use super::processes::processes;
use crate::error::{Error, OrCall, Result};
use crate::subsystems::cgroups::plan::{Placement, Version};
use crate::sys;

/// A container under observation. What it did before does not count.
#[derive(Debug)]
pub struct Watch {
    oom: Option<Oom>,
    end: End,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// So many OOM kills since the last time.
    OomKills(u64),
    /// Nobody is left inside.
    End,
    /// The deadline came first.
    Nothing,
}

impl Watch {
    /// Begins.
    pub fn new(placement: &Placement) -> Result<Self> {
        let oom = Oom::new(placement)?;
        if oom.is_none() {
            log::warn!("OOM kills are not reported: the container's cgroup has no memory controller");
        }
        Ok(Self { oom, end: End::new(placement)? })
    }

    /// Waits until something happens or `deadline` comes.
    pub fn wait(&mut self, deadline: Instant) -> Result<Seen> {
        loop {
            // ORDER: the end is looked for first: who was killed was counted before he was gone.
            let has_ended = self.end.has_come()?;
            let kills = self.oom.as_mut().map_or(Ok(0), Oom::new_kills)?;
            if kills > 0 {
                return Ok(Seen::OomKills(kills));
            }
            if has_ended {
                return Ok(Seen::End);
            }
            if Instant::now() >= deadline {
                return Ok(Seen::Nothing);
            }
            let look_again = self.oom.as_ref().and_then(|oom| oom.look_again);
            let fds: Vec<_> = self.oom.iter().map(Oom::poll_for).chain(self.end.poll_for()).collect();
            sys::wait::until_any(&fds, Some(look_again.map_or(deadline, |again| again.min(deadline))))
                .or_call(|| "poll(cgroup)")?;
        }
    }
}

/// OOM kills as they happen.
#[derive(Debug)]
struct Oom {
    counter: OomCounter,
    /// v1: an eventfd; v2: the file with the counter, which says that it has changed.
    signal: Signal,
    /// How many are known.
    known: u64,
    look_again: Option<Instant>,
}

#[derive(Debug)]
enum Signal {
    Eventfd(EventFd),
    File(OwnedFd),
}

/// KERNEL(cgroup v1): the signal comes before the kill, and nothing when it is done.
const KILL_TAKES: Duration = Duration::from_millis(100);

impl Oom {
    fn new(placement: &Placement) -> Result<Option<Self>> {
        let Some(counter) = OomCounter::open(placement)? else { return Ok(None) };
        let file = counter.directory.open_file(counter.file(), OFlag::O_RDONLY)?;
        let signal = match counter.version {
            Version::V2 => Signal::File(file),
            Version::V1 => {
                let eventfd =
                    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).or_call(|| "eventfd")?;
                // Once it is registered the kernel needs the file no longer.
                let registration = format!("{} {}", eventfd.as_raw_fd(), file.as_raw_fd());
                counter.directory.write("cgroup.event_control", &registration)?;
                Signal::Eventfd(eventfd)
            }
        };
        // ORDER: after the registration: none is missed.
        Ok(Some(Self { known: counter.read()?, counter, signal, look_again: None }))
    }

    fn new_kills(&mut self) -> Result<u64> {
        self.acknowledge()?;
        let counted = self.counter.read().or_else(|error| if is_gone(&error) { Ok(self.known) } else { Err(error) })?;
        // v1 forgets those of groups that are removed.
        let new = counted.saturating_sub(self.known);
        self.known = counted;
        if new > 0 || self.look_again.is_some_and(|again| Instant::now() >= again) {
            self.look_again = None;
        }
        Ok(new)
    }

    /// Makes the signal one that can come again.
    fn acknowledge(&mut self) -> Result<()> {
        match &self.signal {
            Signal::File(file) => read_from_start(file).map(drop),
            Signal::Eventfd(eventfd) => match eventfd.read() {
                Ok(_) => {
                    self.look_again = Some(Instant::now() + KILL_TAKES);
                    Ok(())
                }
                Err(Errno::EAGAIN) => Ok(()),
                Err(errno) => Err(Error::call("read(eventfd)", errno)),
            },
        }
    }

    fn poll_for(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.signal {
            Signal::Eventfd(eventfd) => (eventfd.as_fd(), PollFlags::POLLIN),
            Signal::File(file) => (file.as_fd(), PollFlags::POLLPRI),
        }
    }
}

/// The moment in which nobody is left.
#[derive(Debug)]
enum End {
    /// `cgroup.events` of v2 tells.
    Event(OwnedFd),
    /// v1 tells nobody: somebody of the container is watched, and then somebody else.
    Somebody { placement: Placement, pidfd: Option<OwnedFd> },
    /// It is gone already.
    Past,
}

impl End {
    fn new(placement: &Placement) -> Result<Self> {
        let Some(group) = placement.unified() else {
            return Ok(Self::Somebody { placement: placement.clone(), pidfd: None });
        };
        let Some(directory) = Directory::open(group)? else { return Ok(Self::Past) };
        directory.open_file("cgroup.events", OFlag::O_RDONLY).map(Self::Event)
    }

    fn has_come(&mut self) -> Result<bool> {
        match self {
            Self::Past => Ok(true),
            Self::Event(file) => match read_from_start(file)? {
                Some(content) => Ok(!content.contains("populated 1")),
                None => Ok(true),
            },
            Self::Somebody { placement, pidfd } => {
                if !pidfd.as_ref().map_or(Ok(false), is_alive)? {
                    *pidfd = anybody(placement)?;
                }
                Ok(pidfd.is_none())
            }
        }
    }

    fn poll_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match self {
            Self::Past => None,
            Self::Event(file) => Some((file.as_fd(), PollFlags::POLLPRI)),
            Self::Somebody { pidfd, .. } => pidfd.as_ref().map(|pidfd| (pidfd.as_fd(), PollFlags::POLLIN)),
        }
    }
}

/// Somebody who is inside and lives.
fn anybody(placement: &Placement) -> Result<Option<OwnedFd>> {
    for pid in processes(placement)? {
        let Ok(pidfd) = sys::pidfd::open(pid) else { continue };
        // The pid may have gone to somebody else between the read and the open: look again, with the pidfd in hand.
        if processes(placement)?.contains(&pid) && is_alive(&pidfd)? {
            return Ok(Some(pidfd));
        }
    }
    Ok(None)
}

fn is_alive(pidfd: &OwnedFd) -> Result<bool> {
    sys::pidfd::is_alive(pidfd).or_call(|| "poll(pidfd)")
}

/// `None`: the group is gone.
fn read_from_start(file: &OwnedFd) -> Result<Option<String>> {
    // KERNEL: either call may be the one that notices.
    let read = nix::unistd::lseek(file, 0, Whence::SeekSet).and_then(|_| sys::fd::read_all(file));
    match read {
        Ok(content) => Ok(Some(String::from_utf8_lossy(&content).into_owned())),
        Err(Errno::ENODEV) => Ok(None),
        Err(errno) => Err(Error::call("read(cgroup file)", errno)),
    }
}
