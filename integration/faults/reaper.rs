//! Waits for whatever happens to our children and to whom we trace: those, too, that came to us as the reaper of orphans.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub struct Reaper {
    signals: SignalFd,
}

impl Reaper {
    /// Only one, of a process with one thread.
    pub fn new() -> Self {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().unwrap();
        Self { signals: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).unwrap() }
    }

    /// Hands over what happens until that is an answer. `None`: `patience` was over first, or there is nobody left.
    pub fn until<T>(&self, patience: Duration, mut handle: impl FnMut(WaitStatus) -> Option<T>) -> Option<T> {
        let end = Instant::now() + patience;
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::StillAlive) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
                    while let Ok(Some(_)) = self.signals.read_signal() {}
                }
                Ok(status) => {
                    if let Some(answer) = handle(status) {
                        return Some(answer);
                    }
                }
                Err(Errno::ECHILD) => return None,
                Err(errno) => panic!("waitpid: {errno}"),
            }
        }
    }

    /// Waits for the end of one, and reaps whoever ends before.
    pub fn end_of(&self, pid: Pid, patience: Duration) -> Option<WaitStatus> {
        self.until(patience, |status| match status {
            WaitStatus::Exited(of, _) | WaitStatus::Signaled(of, ..) if of == pid => Some(status),
            _ => {
                let_go(status);
                None
            }
        })
    }

    /// Reaps who has ended, or ends before `patience` is over.
    pub fn reap(&self, patience: Duration) {
        self.until(patience, |status| {
            let_go(status);
            None::<()>
        });
    }
}

/// Who was made by a process that was killed in the same moment is traced, too, and stops when the tracing is over already.
fn let_go(status: WaitStatus) {
    let (pid, signal) = match status {
        WaitStatus::PtraceEvent(pid, ..) | WaitStatus::PtraceSyscall(pid) => (pid, None),
        WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
        _ => return,
    };
    // Error: it was killed meanwhile.
    let _ = ptrace::detach(pid, signal);
}
