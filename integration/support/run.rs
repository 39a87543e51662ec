//! Runs a program to its end, but never beyond its deadline.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::peer::{Peer, peer};
use super::wait::{DEADLINE, poll_fds};

/// A command that is about to run. Its stdin is /dev/null, its output is collected.
pub struct Run {
    command: Command,
    stdin: Option<Vec<u8>>,
}

impl Run {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, stdin: None }
    }

    /// A script for the host's shell.
    pub fn host_sh(script: &str) -> Self {
        Self::new("sh").args(["-ec", script])
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives these bytes as stdin; few enough for a pipe.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self.command.stdin(Stdio::piped());
        self
    }

    pub fn stdin_from(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    pub fn stdout_to(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    pub fn stderr_to(mut self, stderr: impl Into<Stdio>) -> Self {
        self.command.stderr(stderr);
        self
    }

    /// All three to the same file, such as the slave of a pty.
    pub fn stdio(self, file: &File) -> Self {
        let again = || file.try_clone().unwrap();
        self.stdin_from(again()).stdout_to(again()).stderr_to(again())
    }

    /// The program and its arguments, for who runs it in another way.
    #[allow(dead_code, reason = "integration/faults does")]
    pub fn words(&self) -> Vec<OsString> {
        std::iter::once(self.command.get_program()).chain(self.command.get_args()).map(OsStr::to_owned).collect()
    }

    /// Starts it and returns at once.
    pub fn spawn(mut self) -> Running {
        let what = format!("{:?}", self.command);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        if let Some(bytes) = self.stdin {
            let mut pipe: ChildStdin = child.stdin.take().unwrap();
            // The program may end without reading, which is its own business.
            let _ = pipe.write_all(&bytes);
        }
        Running { what, end: Instant::now() + DEADLINE, out: child.stdout.take(), err: child.stderr.take(), child }
    }

    /// Runs it to its end.
    pub fn output(self) -> Output {
        self.spawn().wait()
    }
}

/// A command that runs. It is killed when the test ends first.
pub struct Running {
    what: String,
    end: Instant,
    child: Child,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
}

impl Running {
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Whether it ends in this time.
    pub fn ends_within(&self, time: Duration) -> bool {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        poll_fds(&mut [PollFd::new(&pidfd, PollFlags::IN)], time)
    }

    /// Reads its stdout up to and including `needle`.
    pub fn read_until(&mut self, needle: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(needle) {
            let mut out = self.out.take().expect("stdout is a pipe");
            let mut fds = [PollFd::new(&out, PollFlags::IN)];
            let left = self.end.saturating_duration_since(Instant::now());
            assert!(poll_fds(&mut fds, left), "{}: waited for {needle:?}, got {seen:?}", self.what);
            let mut chunk = [0; 4096];
            let size = out.read(&mut chunk).unwrap();
            assert_ne!(size, 0, "{}: ended before {needle:?}, got {seen:?}", self.what);
            seen.push_str(&String::from_utf8_lossy(&chunk[..size]));
            self.out = Some(out);
        }
        seen
    }

    /// Waits for the end of the process and of its output.
    pub fn wait(mut self) -> Output {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut ended = false;
        while !ended || self.out.is_some() || self.err.is_some() {
            let fds = [
                (!ended).then_some(pidfd.as_fd()),
                self.out.as_ref().map(AsFd::as_fd),
                self.err.as_ref().map(AsFd::as_fd),
            ];
            let mut fds: Vec<_> = fds.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
                panic!("{}: not at its end in time (ended: {ended})\nstdout: {out}\nstderr: {err}", self.what);
            }
            poll_fds(&mut fds, left);
            drop(fds);
            ended = ended || poll_fds(&mut [PollFd::new(&pidfd, PollFlags::IN)], Duration::ZERO);
            drain(&mut self.out, &mut stdout);
            drain(&mut self.err, &mut stderr);
        }
        let status = self.child.wait().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { what: std::mem::take(&mut self.what), status, stdout: text(stdout), stderr: text(stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when `wait` was called; that is how it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes what is there without blocking; at the end of the file the pipe becomes `None`.
fn drain<P: Read + AsFd>(pipe: &mut Option<P>, into: &mut Vec<u8>) {
    while let Some(reader) = pipe {
        if !poll_fds(&mut [PollFd::new(reader, PollFlags::IN)], Duration::ZERO) {
            return;
        }
        let mut chunk = [0; 65536];
        match reader.read(&mut chunk).unwrap() {
            0 => *pipe = None,
            size => into.extend_from_slice(&chunk[..size]),
        }
    }
}

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    pub what: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Fails the test unless the exit status is 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Fails the test unless the exit status is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    /// Fails the test if anything was said on either output.
    #[track_caller]
    pub fn silent(self) -> Self {
        assert!(self.stdout.is_empty(), "not silent: {self:#?}");
        self.no_stderr()
    }

    /// Fails the test if there was an error or a warning; runc may warn.
    #[track_caller]
    pub fn no_stderr(self) -> Self {
        let warns = |line: &str| peer() == Peer::Runc && line.contains("level=warning");
        assert!(self.stderr.lines().all(warns), "not silent: {self:#?}");
        self
    }

    /// Stdout without the line break at its end.
    pub fn line(&self) -> &str {
        self.stdout.trim_end()
    }
}
