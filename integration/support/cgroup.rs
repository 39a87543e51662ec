//! The cgroup hierarchies as the test process sees them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::mountinfo::Mountinfo;

/// Which of the two views of /sys/fs/cgroup the run is in; see `integration/main.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Controllers on v1 hierarchies, cgroup2 beside them.
    Hybrid,
    /// cgroup2 alone.
    Unified,
}

/// A mounted hierarchy.
pub struct Hierarchy {
    pub mount_point: PathBuf,
    /// Controllers of a v1 hierarchy, or what cgroup.controllers says.
    pub controllers: Vec<String>,
}

static HIERARCHIES: LazyLock<Vec<Hierarchy>> = LazyLock::new(|| {
    let mounts = Mountinfo::of_self();
    let in_place = mounts.lines.iter().filter(|line| line.target.starts_with("/sys/fs/cgroup"));
    in_place
        .filter_map(|line| {
            let mount_point = PathBuf::from(&line.target);
            let controllers = match line.kind.as_str() {
                "cgroup" => line.super_options.iter().filter(|option| *option != "rw").cloned().collect(),
                "cgroup2" => words(&fs::read_to_string(mount_point.join("cgroup.controllers")).ok()?),
                _ => return None,
            };
            Some(Hierarchy { mount_point, controllers })
        })
        .collect()
});

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// All hierarchies.
pub fn hierarchies() -> &'static [Hierarchy] {
    &HIERARCHIES
}

pub fn view() -> View {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { View::Unified } else { View::Hybrid }
}

/// Where the cgroup `path` is in the hierarchy of `controller`.
pub fn directory_of(controller: &str, path: &str) -> Option<PathBuf> {
    let hierarchy = hierarchies().iter().find(|it| it.controllers.iter().any(|name| name == controller))?;
    Some(below(&hierarchy.mount_point, path))
}

/// The cgroup `path` in every hierarchy, whether it exists or not.
pub fn directories(path: &str) -> Vec<PathBuf> {
    hierarchies().iter().map(|hierarchy| below(&hierarchy.mount_point, path)).collect()
}

fn below(mount_point: &Path, path: &str) -> PathBuf {
    mount_point.join(path.trim_start_matches('/'))
}

/// The file `v1` or `v2` of a container's cgroup, by the view.
pub fn file(controller: &str, path: &str, v1: &str, v2: &str) -> PathBuf {
    let name = if view() == View::Unified { v2 } else { v1 };
    directory_of(controller, path).expect("the test requires the controller").join(name)
}

/// Whether a controller can be used from this view.
pub fn has(controller: &str) -> bool {
    hierarchies().iter().any(|it| it.controllers.iter().any(|name| name == controller))
}

/// /proc/PID/cgroup: controllers (empty for cgroup2) to path.
pub fn of_process(pid: i32) -> BTreeMap<String, String> {
    parse(&fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap())
}

/// The same from text, which may come from inside.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let fields = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1).map(str::to_owned);
        Some((fields.next()?, fields.next()?))
    };
    text.lines().filter_map(fields).collect()
}

/// The keys of `of_process` for the hierarchies that are mounted in this view.
pub fn mounted_keys() -> Vec<String> {
    match view() {
        View::Unified => vec![String::new()],
        View::Hybrid => {
            let of = |it: &Hierarchy| {
                if it.mount_point.ends_with("unified") { String::new() } else { it.controllers.join(",") }
            };
            hierarchies().iter().map(of).collect()
        }
    }
}

/// rmdir from the leaves up; what is busy stays.
pub fn remove_all(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    entries.filter_map(Result::ok).filter(|it| it.path().is_dir()).for_each(|it| remove_all(&it.path()));
    let _ = fs::remove_dir(directory);
}
