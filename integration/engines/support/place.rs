//! Where an engine keeps what it has.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory and a cgroup of its own.
pub struct Place {
    directory: TempDir,
    name: String,
}

impl Place {
    pub fn new() -> Self {
        let random = RandomState::new().hash_one(()) & 0xff_ffff;
        // Short: there are sockets below it.
        Self { directory: tempfile::tempdir().unwrap(), name: format!("corten-engine-{random:06x}") }
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

    /// Takes its cgroup away: what was in it, in words, but for what an engine itself makes.
    pub fn remove_cgroups(&self, made_by_engine: &[&str]) -> Vec<String> {
        let below = |hierarchy: &PathBuf| cgroups(&hierarchy.join(&self.name));
        let hierarchies: Vec<_> = directories(Path::new("/sys/fs/cgroup"));
        let own = [PathBuf::from("/sys/fs/cgroup")].into_iter().chain(hierarchies);
        let groups: Vec<_> = own.flat_map(|it| below(&it)).collect();
        let _ = groups.iter().try_for_each(fs::remove_dir);
        let is_left =
            |it: &&PathBuf| !made_by_engine.iter().chain([&self.name.as_str()]).any(|name| it.ends_with(name));
        groups.iter().filter(is_left).map(|it| format!("cgroup {}", it.display())).collect()
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

/// What a runtime still has: the entries of its state directories that match `ROOT/*/*/ID`, in words.
pub fn states(root: &Path) -> Vec<String> {
    let states = directories(root).iter().flat_map(|it| directories(it)).collect::<Vec<_>>();
    states.iter().map(|it| format!("state {}", it.display())).collect()
}
