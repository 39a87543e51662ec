//! The place in which one test plays: a temporary directory, an id, a cgroup path and a state root of its own, and the
//! comparison of the machine before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

use super::cgroup;
use super::mountinfo::Mountinfo;
use super::peer::{Peer, peer, program};
use super::run::{Output, Run};
use super::wait::{has_ended, try_until};

/// Part of the path of everything that tests make, so that what is left can be told from what was there.
const MARK: &str = "corten-it-";

/// Begins the names of everything that this run makes. Two runs in pid namespaces of their own may have the same pid, and see
/// the same cgroups.
static NAME: LazyLock<String> = LazyLock::new(|| {
    let random = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), ());
    format!("corten-test-{:06x}", random & 0xff_ffff)
});

/// All cgroups of this run are below it.
static CGROUP_PARENT: LazyLock<String> = LazyLock::new(|| format!("{}/{}", cgroup::home().unwrap_or_default(), *NAME));

/// How many sandboxes there are: the last one removes the common cgroup, because libtest has no hook at its end.
static ALIVE: Mutex<u32> = Mutex::new(0);

/// The mounts of this process that have nothing to do with tests.
static MOUNTS_BEFORE: LazyLock<BTreeSet<String>> = LazyLock::new(mounts_of_others);

/// Removes what the test left and fails it if the runtime left anything.
pub struct Sandbox {
    temp: TempDir,
    pub id: String,
    /// The default `linux.cgroupsPath`.
    pub cgroup: String,
    /// In front of every command of the runtime: who calls it.
    pub caller: Vec<String>,
}

impl Sandbox {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        LazyLock::force(&MOUNTS_BEFORE);
        *alive() += 1;
        // Init is orphaned by `create`; as containerd's shim and conmon do, we take it and read its exit status.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let temp = tempfile::Builder::new().prefix(MARK).tempdir().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", *NAME);
        Self { temp, cgroup: format!("{}/{id}", *CGROUP_PARENT), id, caller: Vec::new() }
    }

    /// A name in the temporary directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The directory with config.json.
    pub fn bundle(&self) -> PathBuf {
        self.path("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    /// `--root`.
    pub fn state_root(&self) -> PathBuf {
        self.path("state")
    }

    /// `corten`.
    pub fn program(&self) -> Run {
        let program = program().to_str().unwrap().to_owned();
        let mut words = self.caller.iter().cloned().chain([program]);
        Run::new(words.next().unwrap()).args(words)
    }

    /// `corten --root STATE COMMAND`.
    pub fn runtime(&self, command: &str) -> Run {
        self.program().arg("--root").arg(self.state_root()).arg(command)
    }

    /// `corten --root STATE COMMAND ID`, run to its end.
    pub fn call(&self, command: &str) -> Output {
        self.runtime(command).arg(&self.id).output()
    }

    /// Part of the path of everything in this sandbox and of nothing else.
    fn mark(&self) -> &str {
        self.temp.path().to_str().unwrap()
    }

    /// Our descendants that belong to this sandbox: by cgroup, root directory or command line. As subreaper we inherit
    /// whatever a runtime leaves behind, so nobody else's processes are ever looked at, or killed.
    pub fn processes(&self) -> Vec<String> {
        // Other mounts prove nothing: a namespace made while a container without one was there has copies of its mounts.
        let root_mount = |pid: &str| {
            let mounts = Mountinfo::parse(&proc_file(pid, "mountinfo"));
            mounts.lines.iter().any(|line| line.target == "/" && line.root.contains(self.mark()))
        };
        let root_directory = |pid: &str| {
            let root = fs::read_link(format!("/proc/{pid}/root")).unwrap_or_default();
            root.to_string_lossy().contains(self.mark())
        };
        let in_cgroup = |pid: &str| {
            let paths = cgroup::parse(&proc_file(pid, "cgroup"));
            let below =
                |path: &String| path.strip_prefix(&self.cgroup).is_some_and(|it| it.is_empty() || it.starts_with('/'));
            paths.values().any(below)
        };
        let of_sandbox = |pid: &String| {
            let ours = in_cgroup(pid)
                || root_directory(pid)
                || root_mount(pid)
                || proc_file(pid, "cmdline").contains(self.mark());
            !has_ended(pid) && ours && !proc_file(pid, "environ").contains(super::holder::MARK)
        };
        descendants(&std::process::id().to_string()).into_iter().filter(of_sandbox).collect()
    }

    /// Reaps what came to us as subreaper and is not a container's first process, as engines do: until then its pid namespace
    /// does not end.
    pub fn reap_orphans(&self) {
        let own = std::process::id().to_string();
        for pid in descendants(&own).into_iter().filter(|pid| proc_file(pid, "stat").contains(") Z ")) {
            let status = proc_file(&pid, "status");
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            let is_first = field("NSpid:").split_ascii_whitespace().next_back() == Some("1");
            let is_in_cgroup = proc_file(&pid, "cgroup").contains(&self.cgroup);
            if field("PPid:") == own && is_in_cgroup && !is_first {
                let _ = waitpid(Pid::from_raw(pid.parse().unwrap()), WaitOptions::NOHANG);
            }
        }
    }

    /// The last sandbox takes the common cgroup along.
    fn end_lease(&self) {
        let mut alive = alive();
        *alive -= 1;
        if *alive == 0 {
            for directory in cgroup::directories(&CGROUP_PARENT) {
                // Not there, or in use because a test failed: neither is worth a second failure.
                let _ = fs::remove_dir(directory);
            }
        }
    }

    /// What is still there of this sandbox's containers, in words.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = entries_of(&self.state_root());
        found.extend(mounts().into_iter().filter(|line| line.contains(self.mark())));
        if peer() == Peer::Crun {
            // It leaves the cgroup behind when `create` fails.
            cgroup::directories(&self.cgroup).iter().for_each(|it| drop(fs::remove_dir(it)));
        }
        found.extend(cgroup::directories(&self.cgroup).iter().filter(|it| it.exists()).map(|it| format!("{it:?}")));
        let words = |pid: &String| format!("process {pid} {:?} {}", proc_file(pid, "cmdline"), proc_file(pid, "stat"));
        found.extend(self.processes().iter().map(words));
        found
    }

    /// Fails the test if a container left anything: checked after failures, and always at the end.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let left = self.leftovers();
        assert!(left.is_empty(), "left behind: {left:#?}");
        assert_no_foreign_mounts();
    }

    /// Ends and removes by hand what a runtime that has failed its test left on the machine.
    pub fn sweep(&self) {
        for pid in self.processes() {
            let _ = kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL);
        }
        for line in Mountinfo::of_self().lines.iter().rev().filter(|line| line.target.contains(self.mark())) {
            let _ = unmount(&line.target, UnmountFlags::DETACH);
        }
        let gone = || {
            self.leftovers().is_empty().then_some(()).or_else(|| {
                cgroup::directories(&self.cgroup).iter().for_each(|it| cgroup::remove_all(it));
                let _ = fs::remove_dir_all(self.state_root());
                None
            })
        };
        try_until(gone);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let test_failed = std::thread::panicking();
        let deleted: Vec<_> = entries_of(&self.state_root())
            .iter()
            .map(|id| self.runtime("delete").args(["--force", id]).output())
            .collect();
        let left = self.leftovers();
        if !left.is_empty() {
            self.sweep();
        }
        self.end_lease();
        if !test_failed {
            deleted.into_iter().for_each(|output| drop(output.ok()));
            assert!(left.is_empty(), "left behind: {left:#?}");
            assert_no_foreign_mounts();
        }
    }
}

fn alive() -> std::sync::MutexGuard<'static, u32> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entries_of(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn mounts() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().map(str::to_owned).collect()
}

fn mounts_of_others() -> BTreeSet<String> {
    mounts().into_iter().filter(|line| !line.contains(MARK)).collect()
}

#[track_caller]
fn assert_no_foreign_mounts() {
    if peer() == Peer::Crun {
        // It mounts its own binary in the host's namespace for a moment, which other threads see.
        return;
    }
    // The CRIU of another test takes the options of the cgroup hierarchy away until its corten puts them back.
    let same = || (*MOUNTS_BEFORE == mounts_of_others()).then_some(());
    if try_until(same).is_none() {
        let changed: Vec<_> = MOUNTS_BEFORE.symmetric_difference(&mounts_of_others()).cloned().collect();
        panic!("mounts of the host changed: {changed:#?}");
    }
}

fn descendants(pid: &str) -> Vec<String> {
    let threads = entries_of(&Path::new("/proc").join(pid).join("task"));
    let children = threads.iter().map(|thread| proc_file(pid, &format!("task/{thread}/children")));
    let children: Vec<_> =
        children.flat_map(|it| it.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let below = children.iter().flat_map(|child| descendants(child));
    below.chain(children.iter().cloned()).collect()
}

/// Empty for a process that is gone or a zombie.
fn proc_file(pid: &str, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
