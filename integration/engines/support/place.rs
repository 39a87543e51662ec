//! Where an engine keeps what it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::wait::try_until;

/// A directory and a cgroup of its own.
pub struct Place {
    directory: TempDir,
    name: String,
}

impl Place {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let run = std::env::var("CORTEN_ENGINES").expect("integration/engines/suite runs this");
        let name = format!("{run}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        // Short: there are sockets below it.
        Self { directory: tempfile::tempdir().unwrap(), name }
    }

    /// What it is told from others by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A name in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The same as text, for settings.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The cgroup that all containers are below.
    pub fn cgroup_parent(&self) -> String {
        format!("/{}", self.name)
    }

    /// The cgroup `path` in the hierarchy of `controller`.
    pub fn cgroup(controller: &str, path: &str) -> PathBuf {
        Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/'))
    }

    /// The cgroup `path` in every hierarchy.
    pub fn cgroups(path: &str) -> Vec<PathBuf> {
        directories(Path::new("/sys/fs/cgroup")).iter().map(|it| it.join(path.trim_start_matches('/'))).collect()
    }

    /// What is in its cgroup, in words, but for what the engine itself makes there.
    pub fn cgroups_left(&self, made_by_engine: &[&str]) -> Vec<String> {
        let is_left = |it: &PathBuf| !made_by_engine.iter().chain([&self.name.as_str()]).any(|name| it.ends_with(name));
        let left = self.own_cgroups().into_iter().filter(is_left);
        left.map(|it| format!("cgroup {}", it.display())).collect()
    }

    /// All of its cgroups, the leaves first.
    fn own_cgroups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = directories(root).into_iter().chain([root.to_owned()]);
        hierarchies.flat_map(|it| cgroups(&it.join(&self.name))).collect()
    }
}

impl Drop for Place {
    /// Whatever has failed: nothing stays on the machine.
    fn drop(&mut self) {
        try_until(|| {
            let groups = self.own_cgroups();
            for group in &groups {
                let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for member in members.lines().filter_map(|it| Pid::from_raw(it.parse().ok()?)) {
                    let _ = kill_process(member, Signal::KILL);
                }
                let _ = fs::remove_dir(group);
            }
            groups.is_empty().then_some(())
        });
    }
}

/// The cgroup and those below it, the leaves first.
fn cgroups(directory: &Path) -> Vec<PathBuf> {
    let below = directories(directory).iter().flat_map(|it| cgroups(it)).collect::<Vec<_>>();
    below.into_iter().chain(directory.exists().then(|| directory.to_owned())).collect()
}

fn directories(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|it| it.is_dir() && !it.is_symlink()).collect()
}

/// What a runtime still has: its state directories, `ROOT/NAMESPACE/ID`, in words.
pub fn states(root: &Path) -> Vec<String> {
    let states = directories(root).iter().flat_map(|it| directories(it)).collect::<Vec<_>>();
    states.iter().map(|it| format!("state {}", it.display())).collect()
}
