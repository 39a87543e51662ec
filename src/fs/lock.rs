//! One process at a time works on what is in a directory (flock(2)).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Error, OrCall, Result};

/// Held until it is dropped, or the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not used")] Flock<OwnedFd>);

/// Locks a directory. `None`: somebody else has held it for as long as our patience lasts.
pub fn exclusive(directory: impl AsFd, patience: Duration) -> Result<Option<Lock>> {
    // A description of its own: the lock must not go away with a copy of somebody else's descriptor.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let own = openat(directory.as_fd(), ".", flags, Mode::empty()).or_call(|| "open(\".\")")?;
    match Flock::lock(own, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(Lock(lock))),
        Err((own, Errno::EWOULDBLOCK)) => wait(own, patience),
        Err((_, errno)) => Err(Error::call("flock", errno)),
    }
}

/// flock(2) knows no deadline, so a thread waits, and if it comes too late, its lock is released at once.
fn wait(own: OwnedFd, patience: Duration) -> Result<Option<Lock>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = sender.send(Flock::lock(own, FlockArg::LockExclusive));
    });
    match receiver.recv_timeout(patience) {
        Ok(Ok(lock)) => Ok(Some(Lock(lock))),
        Ok(Err((_, errno))) => Err(Error::call("flock", errno)),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = std::fs::File::open(directory.path()).unwrap();
        let first = exclusive(&file, Duration::ZERO).unwrap();
        assert!(first.is_some());
        assert!(exclusive(&file, Duration::from_millis(1)).unwrap().is_none());
        drop(first);
        assert!(exclusive(&file, Duration::from_secs(10)).unwrap().is_some());
    }
}
