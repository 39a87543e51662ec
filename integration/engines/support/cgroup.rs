//! The machine's cgroups: which version, who makes them for engines, and what they say of a container.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Whether there is one hierarchy for all controllers.
pub fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Whether engines let systemd make them: where it runs, as they do by themselves on v2.
pub fn are_systemds() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// Where the group `path` is in the hierarchy of `controller`.
pub fn directory(controller: &str, path: &str) -> PathBuf {
    let hierarchy = if is_v2() { ROOT.into() } else { Path::new(ROOT).join(controller) };
    hierarchy.join(path.trim_start_matches('/'))
}

/// All directories in which the group `path` may be.
pub fn directories(path: &str) -> Vec<PathBuf> {
    let below = |it: PathBuf| it.join(path.trim_start_matches('/'));
    if is_v2() { vec![below(ROOT.into())] } else { entries(Path::new(ROOT)).into_iter().map(below).collect() }
}

/// The group of a process in the hierarchy of `controller`.
pub fn of_process(pid: impl std::fmt::Display, controller: &str) -> String {
    let file = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let lines = file.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let is_its =
        |line: &Vec<&str>| if is_v2() { line[0] == "0" } else { line[1].split(',').any(|it| it == controller) };
    lines.into_iter().find(is_its).unwrap_or_else(|| panic!("{controller}: {file}"))[2].to_owned()
}

/// What cgroup v2 has for a file of v1, and which of its words that is.
const ON_V2: [(&str, &str, usize); 6] = [
    ("memory.limit_in_bytes", "memory.max", 0),
    ("memory.soft_limit_in_bytes", "memory.low", 0),
    ("cpu.cfs_quota_us", "cpu.max", 0),
    ("cpu.cfs_period_us", "cpu.max", 1),
    ("cpu.shares", "cpu.weight", 0),
    ("freezer.state", "cgroup.freeze", 0),
];

/// A file of the group of process `pid`, by its name in v1.
#[track_caller]
pub fn value(pid: impl std::fmt::Display, controller: &str, name: &str) -> String {
    let group = directory(controller, &of_process(pid, controller));
    let read = |name: &str| {
        let file = group.join(name);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}")).trim_end().to_owned()
    };
    match ON_V2.iter().find(|row| row.0 == name) {
        Some((_, other, word)) if is_v2() => read(other).split_whitespace().nth(*word).unwrap().to_owned(),
        _ => read(name),
    }
}

/// What `cpu.shares` says when an engine asked for so many.
pub fn shares(asked: u64) -> String {
    if !is_v2() {
        return asked.to_string();
    }
    // As runc and crun convert them now, and as they did before.
    let log = (asked as f64).log2();
    let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil();
    let before = 1 + ((asked - 2) * 9999) / 262_142;
    if super::peer::peer() == super::Peer::Runc { before.to_string() } else { weight.to_string() }
}

/// What `freezer.state` says.
pub fn frozen(is: bool) -> &'static str {
    match (is_v2(), is) {
        (true, true) => "1",
        (true, false) => "0",
        (false, true) => "FROZEN",
        (false, false) => "THAWED",
    }
}

/// The directories in it.
pub fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|it| it.is_dir() && !it.is_symlink()).collect()
}
