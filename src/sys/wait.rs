//! Waiting: poll(2) with a point in time by which it is over.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits until `fd` is ready for `events`, or has an error or no other end any more. `false`: `deadline` came first.
pub fn until_ready(fd: impl AsFd, events: PollFlags, deadline: Instant) -> nix::Result<bool> {
    Ok(until_any(&[(fd.as_fd(), events)], Some(deadline))?.is_some())
}

/// Waits until one of them is ready, and tells which, the first of several. `None`: `deadline` came first.
pub fn until_any(fds: &[(BorrowedFd<'_>, PollFlags)], deadline: Option<Instant>) -> nix::Result<Option<usize>> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|(fd, events)| PollFd::new(*fd, *events)).collect();
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up: a poll that comes back too early would be asked again in vain.
                let millis = left.as_nanos().div_ceil(1_000_000);
                PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut polled, timeout) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(None),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => {
                let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
                return Ok(polled.iter().position(ready));
            }
            Err(errno) => return Err(errno),
        }
    }
}
