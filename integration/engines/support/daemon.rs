//! A program that runs until it is told to end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::wait::{poll_fds, try_until};

/// How long it may take to end when asked to. Docker gives its containers 15 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of a log is shown.
const TAIL: usize = 40;

pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Its output goes to the file `log`. Panics, with the end of that, if it ends or is not `ready` by the deadline.
    pub fn start(command: &mut Command, log: &Path, mut ready: impl FnMut() -> bool) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut daemon = Self { child, log: log.to_owned() };
        let answer = try_until(|| match daemon.child.try_wait().unwrap() {
            Some(status) => Some(Err(format!("{command:?} ended: {status}"))),
            None => ready().then_some(Ok(())),
        });
        match answer {
            Some(Ok(())) => daemon,
            Some(Err(ended)) => panic!("{ended}\n{}", daemon.log_tail()),
            None => panic!("{command:?} is not ready\n{}", daemon.log_tail()),
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        format!("--- the end of {}\n{tail}", self.log.display())
    }

    /// SIGTERM, and SIGKILL for one that does not listen: whether it did.
    pub fn stop(&mut self) -> bool {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        let _ = kill_process(self.pid(), Signal::TERM);
        let listens = poll_fds(&mut [PollFd::new(&pidfd, PollFlags::IN)], PATIENCE);
        self.kill();
        listens
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // Both fail after `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
