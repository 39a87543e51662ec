//! Where an engine keeps what it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::cgroup;
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
        // systemd takes a hyphen for a slash.
        let name = format!("{run}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
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

    /// The cgroup that all containers are below, as engines are told.
    pub fn cgroup_parent(&self) -> String {
        if cgroup::are_systemds() { format!("{}.slice", self.name) } else { self.cgroupfs_parent() }
    }

    /// The same for what never asks systemd.
    pub fn cgroupfs_parent(&self) -> String {
        format!("/{}", self.name)
    }

    /// The cgroup of a container that an engine calls `ID`, or, when systemd makes it, `PREFIX-ID.scope`.
    pub fn cgroup_of(&self, prefix: &str, id: &str) -> String {
        let parent = self.cgroup_parent();
        if cgroup::are_systemds() { format!("/{parent}/{prefix}-{id}.scope") } else { format!("{parent}/{id}") }
    }

    /// What is in its cgroup, in words, but for what the engine itself makes there. systemd takes its own away in its own time.
    pub fn cgroups_left(&self, made_by_engine: &[&str]) -> Vec<String> {
        let own = [self.name.clone(), format!("{}.slice", self.name)];
        let is_own = |it: &PathBuf| own.iter().any(|name| it.ends_with(name));
        let is_left = |it: &PathBuf| !is_own(it) && !made_by_engine.iter().any(|name| it.ends_with(name));
        let left = || self.own_cgroups().into_iter().filter(is_left).collect::<Vec<_>>();
        if cgroup::are_systemds() {
            try_until(|| left().is_empty().then_some(()));
        }
        left().iter().map(|it| format!("cgroup {}", it.display())).collect()
    }

    /// All of its cgroups, the leaves first.
    fn own_cgroups(&self) -> Vec<PathBuf> {
        let slice = format!("{}.slice", self.name);
        let own = [cgroup::directories(&self.name), cgroup::directories(&slice)].concat();
        own.iter().flat_map(|it| cgroups(it)).collect()
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
    let below = cgroup::entries(directory).iter().flat_map(|it| cgroups(it)).collect::<Vec<_>>();
    below.into_iter().chain(directory.exists().then(|| directory.to_owned())).collect()
}

/// What a runtime still has: its state directories, `ROOT/NAMESPACE/ID`, in words.
pub fn states(root: &Path) -> Vec<String> {
    let states = cgroup::entries(root).iter().flat_map(|it| cgroup::entries(it)).collect::<Vec<_>>();
    states.iter().map(|it| format!("state {}", it.display())).collect()
}
