//! A process that holds namespaces: for containers that join them, and for tests that need a mount namespace of their own.

use std::path::{Path, PathBuf};

use super::mountinfo::Mountinfo;
use super::run::{Output, Run, Running};
use super::wait::until;

/// In the environment of holders, so that they are not taken for something that a container left.
pub const MARK: &str = "CORTEN_TEST_HOLDER";

/// `unshare FLAGS cat`: ends when it is dropped.
pub struct Holder {
    process: Running,
}

impl Holder {
    /// With flags of unshare(1).
    pub fn new(flags: &[&str]) -> Self {
        // A child that asks for /dev/null as stdin would end at once: `cat` waits for the end of our pipe.
        let run = Run::new("unshare").args(flags).args(["sh", "-c", "echo ready; exec cat"]).env(MARK, "1");
        let mut process = run.stdin_from(std::process::Stdio::piped()).spawn();
        process.read_until("ready");
        Self { process }
    }

    /// A mount namespace whose mounts travel as `propagation` says (private, shared, slave).
    pub fn mounts(propagation: &str) -> Self {
        Self::new(&["--mount", "--propagation", propagation])
    }

    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }

    /// The file of a namespace, by its name in /proc/PID/ns.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{name}", self.pid()))
    }

    /// `pid:[4026531836]`.
    pub fn link(&self, name: &str) -> String {
        link(&self.path(name))
    }

    /// A prefix that runs a command in the holder's mount namespace.
    pub fn enter(&self) -> Vec<String> {
        ["nsenter", "--mount", "--target", &self.pid().to_string(), "--"].map(str::to_owned).to_vec()
    }

    /// What a container has mounted as `inner`, in a volume that is shared with it, must be there.
    #[track_caller]
    pub fn has_inner_mount(&self, volume: &Path) {
        let table = Mountinfo::parse(&self.sh("cat /proc/self/mountinfo").stdout);
        assert_eq!(table.at(volume.join("inner").to_str().unwrap()).source, "inner");
    }

    /// Runs a script of the host's shell in the holder's mount namespace.
    pub fn sh(&self, script: &str) -> Output {
        let mut enter = self.enter().into_iter();
        Run::new(enter.next().unwrap()).args(enter).args(["sh", "-ec", script]).output().ok()
    }
}

/// What the file of a namespace links to.
pub fn link(path: &Path) -> String {
    until(&format!("{path:?}"), || std::fs::read_link(path).ok()).to_string_lossy().into_owned()
}
