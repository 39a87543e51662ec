//! Waiting for something that has no file descriptor to poll.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

/// How long any single thing may take, also on a machine that is busy.
pub const DEADLINE: Duration = Duration::from_secs(20);

const INTERVAL: Duration = Duration::from_millis(5);

/// Asks again until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} for {what}");
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
