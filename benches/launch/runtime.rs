//! A runtime, and one call of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
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

    pub fn command(&self, words: &[&str]) -> Command {
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

    /// The whole life of a container.
    pub fn run(&self, bundle: &Path) -> Duration {
        self.call(&["run", "--bundle", bundle.to_str().unwrap(), "bench"])
    }

    pub fn create(&self, bundle: &Path, id: &str) -> Duration {
        self.call(&["create", "--bundle", bundle.to_str().unwrap(), id])
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
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.state);
    }
}
