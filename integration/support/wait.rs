//! Waiting for something that has no file descriptor to poll.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

/// How long any single thing may take, also on a machine that is busy, and emulated.
pub const DEADLINE: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(5);

/// Asks again until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    try_until(ask).unwrap_or_else(|| panic!("waited {DEADLINE:?} for {what}"))
}

/// The same; `None` after the deadline.
pub fn try_until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() >= end {
            return answer;
        }
        poll_fds(&mut [], INTERVAL);
    }
}

/// poll(2) for at most `time`; whether anything is ready.
pub fn poll_fds(fds: &mut [PollFd<'_>], time: Duration) -> bool {
    let time = Timespec::try_from(time).unwrap();
    match poll(fds, Some(&time)) {
        Ok(ready) => ready > 0,
        Err(Errno::INTR) => false,
        Err(errno) => panic!("poll: {errno}"),
    }
}

/// Whether a process has ended, even if nobody has asked for its status yet.
pub fn has_ended(pid: impl std::fmt::Display) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}
