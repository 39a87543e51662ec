//! One process at a time works on what is in a directory (flock(2)).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Error, OrCall, Result};
use crate::sys;

/// Held until it is dropped, or the process ends.
#[derive(Debug)]
pub struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing releases it too, but only when a child that is about to execute has closed its copy.
        let _ = sys::fd::lock(&self.0, libc::LOCK_UN);
    }
}

/// Locks a directory. `None`: somebody else has held it for as long as our patience lasts.
pub fn exclusive(directory: impl AsFd, patience: Duration) -> Result<Option<Lock>> {
    // A description of its own: the lock must not go away with a copy of somebody else's descriptor.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let own = openat(directory.as_fd(), ".", flags, Mode::empty()).or_call(|| "open(\".\")")?;
    match sys::fd::lock(&own, libc::LOCK_EX | libc::LOCK_NB) {
        Ok(()) => Ok(Some(Lock(own))),
        Err(Errno::EWOULDBLOCK) => wait(own, patience),
        Err(errno) => Err(Error::call("flock", errno)),
    }
}

/// flock(2) knows no deadline, so a thread waits, and if it comes too late, its lock is released at once.
fn wait(own: OwnedFd, patience: Duration) -> Result<Option<Lock>> {
    let (sender, receiver) = mpsc::channel();
    let waiting = move || drop(sender.send(sys::fd::lock(&own, libc::LOCK_EX).map(|()| Lock(own))));
    std::thread::Builder::new().spawn(waiting).or_call(|| "pthread_create")?;
    match receiver.recv_timeout(patience) {
        Ok(Ok(lock)) => Ok(Some(lock)),
        Ok(Err(errno)) => Err(Error::call("flock", errno)),
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
