//! A runtime, and one call of it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub struct Runtime {
    pub name: String,
    pub path: PathBuf,
    state: PathBuf,
}

impl Runtime {
    pub fn new(name: &str, path: &str) -> Self {
        // In memory, as /run is where runtimes are used.
        let state = PathBuf::from(format!("/dev/shm/corten-bench-{}-{name}", std::process::id()));
        Self { name: name.to_owned(), path: path.into(), state }
    }

    /// The kernel's work alone: it takes a bundle's configuration for granted.
    pub fn is_floor(&self) -> bool {
        self.name == "floor"
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        if !self.is_floor() {
            command.arg("--root").arg(&self.state);
        }
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// How long it took. It must succeed.
    pub fn call(&self, words: &[&str]) -> Duration {
        let mut command = self.command(words);
        let start = Instant::now();
        let status = command.status().unwrap();
        let took = start.elapsed();
        assert!(status.success(), "{} {words:?}: {status}", self.name);
        took
    }

    /// The containers' processes are our children when their runtime is gone.
    pub fn wait_for_end(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        while let Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) =
            waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG))
        {
            assert!(Instant::now() < end, "{}: the container does not end", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the process between `create` and `start` takes: resident, and its share of what it has in common with others.
    pub fn waiting_init(&self, bundle: &Path) -> (u64, u64) {
        let file = self.state.with_extension("pid");
        let (bundle, pid_file) = (bundle.to_str().unwrap(), file.to_str().unwrap());
        self.call(&["create", "--bundle", bundle, "--pid-file", pid_file, "bench"]);
        let pid = fs::read_to_string(&file).unwrap();
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.trim())).unwrap();
        let found = (bytes(&rollup, "Rss:"), bytes(&rollup, "Pss:"));
        self.call(&["delete", "--force", "bench"]);
        self.wait_for_end();
        fs::remove_file(&file).unwrap();
        found
    }

    /// The most that the command itself, without the container, ever had resident.
    pub fn peak_of_run(&self, bundle: &Path) -> u64 {
        let mut command = self.command(&["run", "--bundle", bundle.to_str().unwrap(), "bench"]);
        // SAFETY: traceme is one system call on constants.
        unsafe { command.pre_exec(|| nix::sys::ptrace::traceme().map_err(Into::into)) };
        let mut child = command.spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        // Stopped at execve, then at its exit, when it is still all there.
        waitpid(pid, None).unwrap();
        nix::sys::ptrace::setoptions(pid, nix::sys::ptrace::Options::PTRACE_O_TRACEEXIT).unwrap();
        let mut signal = None;
        let peak = loop {
            nix::sys::ptrace::cont(pid, signal).unwrap();
            match waitpid(pid, None).unwrap() {
                WaitStatus::PtraceEvent(..) => break high_water(pid),
                // It executed itself again.
                WaitStatus::Stopped(_, Signal::SIGTRAP) => signal = None,
                WaitStatus::Stopped(_, other) => signal = Some(other),
                other => panic!("{}: {other:?}", self.name),
            }
        };
        nix::sys::ptrace::cont(pid, None).unwrap();
        assert!(child.wait().unwrap().success());
        peak
    }
}

fn high_water(pid: Pid) -> u64 {
    bytes(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), "VmHWM:")
}

/// A figure of a file of /proc, which has it in KiB.
fn bytes(text: &str, name: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    rest.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.state);
    }
}
