//! A container that `create` has made.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, waitpid};
use serde_json::Value;

use super::refusal::Refusal;
use super::run::Run;
use super::wait::{DEADLINE, poll_fds, until};
use super::{Bundle, Sandbox};

/// Goes away with everything it has when the test ends.
pub struct Container {
    pub made_from: Bundle,
    pub pid: i32,
}

impl Deref for Container {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.made_from
    }
}

impl Container {
    /// Runs `create`; its stdin is the file `stdin` of the sandbox, if there is one, its output goes to `stdout` and
    /// `stderr` there, and so does that of the program.
    #[track_caller]
    pub fn create(bundle: Bundle) -> Self {
        Self::made_by(bundle, "create", "")
    }

    /// The same with `run --detach`, which has started it already.
    #[track_caller]
    pub fn run(bundle: Bundle) -> Self {
        Self::made_by(bundle, "run", "")
    }

    /// `create` with one line of warning, which has these words in it.
    #[track_caller]
    pub fn create_warns(bundle: Bundle, words: &str) -> Self {
        bundle.write();
        Self::made_by(bundle, "create", words)
    }

    #[track_caller]
    fn made_by(bundle: Bundle, command: &str, warning: &str) -> Self {
        let output = detached(&bundle, command).output();
        let said = read(bundle.path("stderr"));
        let as_expected = said.lines().count() == usize::from(!warning.is_empty()) && said.contains(warning);
        assert!(output.status.success() && as_expected, "{}: {} {said}", output.what, output.status);
        let mut container = Self { made_from: bundle, pid: 0 };
        container.pid = container.state()["pid"].as_i64().unwrap().try_into().unwrap();
        container
    }

    /// `run --keep` in the foreground: the program is at its end.
    pub fn run_and_keep(bundle: Bundle) -> Self {
        let bundle = bundle.option("--keep");
        bundle.write();
        bundle.command("run").output().ok().silent();
        Self { made_from: bundle, pid: 0 }
    }

    /// `start`, which says nothing.
    #[track_caller]
    pub fn start(&self) {
        self.call("start").ok().silent();
    }

    /// `create` once more, after `delete`.
    #[track_caller]
    pub fn create_again(&mut self) {
        let _ = reap(self.pid);
        detached(&self.made_from, "create").output().ok();
        self.pid = self.state()["pid"].as_i64().unwrap().try_into().unwrap();
    }

    /// What `state` prints.
    #[track_caller]
    pub fn state(&self) -> Value {
        let output = self.call("state").ok();
        assert_eq!(output.stderr, "");
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    /// Polls until `state` says so.
    #[track_caller]
    pub fn becomes(&self, status: &str) {
        until(&format!("status {status}"), || (self.status() == status).then_some(()));
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) {
        self.runtime("kill").args([&self.id, signal]).output().ok().silent();
    }

    /// SIGTERM, for which the program must have a trap: the kernel drops a signal for which a first process has none yet.
    #[track_caller]
    pub fn terminate(&self) {
        until("a trap for SIGTERM", || self.catches(Signal::TERM).then_some(()));
        self.kill("TERM");
    }

    /// Whether its program has a trap for this signal.
    pub fn catches(&self, signal: Signal) -> bool {
        let status = self.proc("status");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
        u64::from_str_radix(caught, 16).unwrap() & (1 << (signal.as_raw() - 1)) != 0
    }

    /// A command with this id that fails as it should.
    #[track_caller]
    pub fn refuses(&self, command: &str, args: &[&str]) -> Refusal {
        let output = self.runtime(command).arg(&self.id).args(args).output();
        Refusal::from_output(command, output)
    }

    #[track_caller]
    pub fn delete(&self) {
        self.call("delete").ok().silent();
        self.assert_nothing_left();
    }

    /// `start`, the program's end, and `delete`: what it printed.
    #[track_caller]
    pub fn finish(self) -> String {
        self.start();
        self.wait();
        self.delete();
        self.stderr_is_empty();
        self.stdout()
    }

    /// Waits for the end of the program, as an engine does: its exit status, or 128 + the signal.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        let pid = Pid::from_raw(self.pid).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        assert!(poll_fds(&mut [PollFd::new(&pidfd, PollFlags::IN)], DEADLINE), "the program is not at its end");
        let status = reap(self.pid).expect("init is our child");
        status.exit_status().or_else(|| Some(128 + status.terminating_signal()?)).unwrap()
    }

    /// What the program has written to stdout.
    pub fn stdout(&self) -> String {
        read(self.path("stdout"))
    }

    pub fn stderr(&self) -> String {
        read(self.path("stderr"))
    }

    #[track_caller]
    pub fn stderr_is_empty(&self) {
        assert_eq!(self.stderr(), "");
    }

    /// Waits until the program has written this.
    #[track_caller]
    pub fn says(&self, needle: &str) {
        until(&format!("{needle:?} from the program"), || self.stdout().contains(needle).then_some(()));
    }

    /// A file of /proc/PID.
    pub fn proc(&self, name: &str) -> String {
        read(PathBuf::from(format!("/proc/{}/{name}", self.pid)))
    }

    /// The children of its first process.
    pub fn children(&self) -> Vec<i32> {
        let children = self.proc(&format!("task/{}/children", self.pid));
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// The namespace of this name.
    pub fn namespace(&self, name: &str) -> String {
        super::holder::link(&PathBuf::from(format!("/proc/{}/ns/{name}", self.pid)))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Before the sandbox looks for what is left.
        let output = self.runtime("delete").args(["--force", &self.id]).output();
        let _ = reap(self.pid);
        if !std::thread::panicking() {
            output.ok();
        }
    }
}

/// Takes the exit status of our child if it has ended.
fn reap(pid: i32) -> Option<WaitStatus> {
    let (_, status) = waitpid(Some(Pid::from_raw(pid)?), WaitOptions::NOHANG).ok()??;
    Some(status)
}

/// A command whose stdio the program will keep.
pub fn detached(bundle: &Bundle, command: &str) -> Run {
    let file = |name: &str| File::options().create(true).append(true).open(bundle.path(name)).unwrap();
    let run = bundle.command(command).stdout_to(file("stdout")).stderr_to(file("stderr"));
    match File::open(bundle.path("stdin")) {
        Ok(stdin) => run.stdin_from(stdin),
        Err(_) => run,
    }
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}
