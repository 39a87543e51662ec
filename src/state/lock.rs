//! One process at a time changes a container.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Error, Kind, OrCall, Result};

/// How long somebody else may take: a create with slow hooks, a delete of a container that dies slowly.
const PATIENCE: Duration = Duration::from_secs(30);

/// Held until it is dropped, or the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not used")] Flock<OwnedFd>);

/// Locks a container's directory (flock(2)).
pub fn exclusive(directory: impl AsFd) -> Result<Lock> {
    // A description of its own: the lock must not go away with a copy of somebody else's descriptor.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let own = openat(directory.as_fd(), ".", flags, Mode::empty()).or_call(|| "open(state directory)")?;
    match Flock::lock(own, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Lock(lock)),
        Err((own, Errno::EWOULDBLOCK)) => wait(own),
        Err((_, errno)) => Err(Error::call("flock(state directory)", errno)),
    }
}

/// flock(2) knows no deadline, so a thread waits, and if it comes too late, its lock is released at once.
fn wait(own: OwnedFd) -> Result<Lock> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = sender.send(Flock::lock(own, FlockArg::LockExclusive));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(lock)) => Ok(Lock(lock)),
        Ok(Err((_, errno))) => Err(Error::call("flock(state directory)", errno)),
        Err(_) => {
            let why = format!("another process has worked on this container for {} s", PATIENCE.as_secs());
            Err(Error::new(Kind::Busy, why))
        }
    }
}
