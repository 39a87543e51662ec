//! Processes by descriptor: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), waitid(2) with P_PIDFD.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// A descriptor of the process `pid` (since 5.3). Whether it is the process that was meant, the caller must check
/// *afterwards*, by its start time.
pub fn open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two integers. The descriptor is close-on-exec by itself.
    super::answer_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Whether it has not ended yet.
pub fn is_alive(pidfd: impl AsFd) -> nix::Result<bool> {
    super::wait::until_ready(pidfd, PollFlags::POLLIN, Instant::now()).map(|ended| !ended)
}

/// Sends a signal to exactly that process (since 5.1).
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> nix::Result<()> {
    // SAFETY: a null siginfo means the one that kill(2) would send.
    super::answer(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}

/// A copy of the descriptor that is `number` there (since 5.6). Needs the rights that tracing the process would need.
pub fn get_fd(pidfd: impl AsFd, number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes three integers. The descriptor is close-on-exec by itself.
    super::answer_fd(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), number, 0) })
}

/// How long somebody who ends, or was killed, may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reaps our own child, which is about to end: poll(2) and waitid(2). Its exit status in the way of a shell: 128 + signal when
/// it was killed.
pub fn reap(pidfd: impl AsFd) -> nix::Result<Ended> {
    if !super::wait::until_ready(&pidfd, PollFlags::POLLIN, Instant::now() + PATIENCE)? {
        return Err(Errno::ETIMEDOUT);
    }
    how_it_ended(pidfd, WaitPidFlag::empty())
}

/// The same, and leaves it to be reaped: nobody else gets its id.
pub fn obituary(pidfd: impl AsFd) -> nix::Result<Ended> {
    how_it_ended(pidfd, WaitPidFlag::WNOWAIT)
}

fn how_it_ended(pidfd: impl AsFd, flags: WaitPidFlag) -> nix::Result<Ended> {
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::__WALL | flags) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(Ended::Exited(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Ended::Killed(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Kills the process group `id`, and reaps those of it who are our own children, none of whom needs to be known. The id must
/// be nobody else's by now: that of a child of ours that was not reaped before.
pub fn end_group(id: i32) -> nix::Result<()> {
    let id = Pid::from_raw(id);
    match killpg(id, Signal::SIGKILL) {
        Ok(()) => {}
        Err(Errno::ESRCH) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        match waitid(Id::PGid(id), WaitPidFlag::WEXITED | WaitPidFlag::__WALL | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::StillAlive) if Instant::now() >= deadline => return Err(Errno::ETIMEDOUT),
            // There is no descriptor of them to wait for.
            Ok(WaitStatus::StillAlive) => {
                super::wait::until_any(&[], Some(Instant::now() + Duration::from_millis(1)))?;
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// The exit status that a shell shows for it.
    pub fn status(self) -> i32 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128 + signal,
        }
    }
}
