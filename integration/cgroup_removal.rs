//! Deleting a container that made cgroups of its own in its group: many, deep, threaded, in use.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};

use crate::support::cgroup::{self, View};
use crate::support::{Bundle, Container, differs, requires, rootfs};

/// The container's directory in the v2 hierarchy, or in one of v1.
fn group_of(container: &Container) -> PathBuf {
    let directories = cgroup::directories(&container.cgroup);
    directories.into_iter().find(|it| it.join("cgroup.kill").exists() || it.join("tasks").exists()).unwrap()
}

fn end(container: &Container) {
    container.kill("KILL");
    container.wait();
}

/// Removes what a peer that cannot leaves behind, also when the test fails.
struct Nested {
    top: PathBuf,
    depth: usize,
}

impl Nested {
    /// Step by step: as a path it would be longer than the kernel takes.
    fn new(top: &Path, depth: usize) -> Self {
        let mut current = open(CWD, top).unwrap();
        for _ in 0..depth {
            mkdirat(&current, NAME, Mode::RWXU).unwrap();
            current = open(&current, NAME).unwrap();
        }
        Self { top: top.to_owned(), depth }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        let Some(mut current) = open(CWD, &self.top) else { return };
        for _ in 1..self.depth {
            let Some(child) = open(&current, NAME) else { break };
            current = child;
        }
        for _ in 0..self.depth {
            let _ = unlinkat(&current, NAME, AtFlags::REMOVEDIR);
            let Some(parent) = open(&current, "..") else { return };
            current = parent;
        }
    }
}

const NAME: &str = "a-name-of-no-more-than-forty-characters";

fn open(parent: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Option<OwnedFd> {
    openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

#[test]
fn three_thousand_levels() {
    differs!(Runc | Crun, "works with paths, which are too long");
    let container = Bundle::idle().start();
    let group = group_of(&container);
    let nested = Nested::new(&group, 3000);
    end(&container);
    container.delete();
    drop(nested);
}

/// The descriptors that delete needs are not more with more levels.
#[test]
fn with_few_descriptors() {
    differs!(Runc | Crun, "works with paths, which are too long");
    let container = Bundle::idle().start();
    let nested = Nested::new(&group_of(&container), 300);
    end(&container);
    let delete = "ulimit -n 16; exec \"$@\"";
    let program = crate::support::peer::program();
    let output = crate::support::run::Run::host_sh(delete)
        .arg("_")
        .arg(program)
        .arg("--root")
        .arg(container.state_root())
        .args(["delete", &container.id])
        .output();
    output.ok().silent();
    container.assert_nothing_left();
    drop(nested);
}

#[test]
fn thousands_beside_each_other() {
    let container = Bundle::idle().start();
    let group = group_of(&container);
    for number in 0..1000 {
        fs::create_dir(group.join(format!("beside-{number}"))).unwrap();
    }
    end(&container);
    container.delete();
}

#[test]
fn with_limits_on_what_is_below() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    let container = Bundle::idle().start();
    let group = group_of(&container);
    rootfs::directory(&group.join("inner/innermost"));
    for file in ["cgroup.max.descendants", "cgroup.max.depth", "inner/cgroup.max.descendants"] {
        fs::write(group.join(file), "0").unwrap();
    }
    end(&container);
    container.delete();
}

#[test]
fn threaded_groups() {
    differs!(Crun, "reads cgroup.procs of threaded groups, which is refused");
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    let container = Bundle::idle().start();
    let group = group_of(&container);
    let inner = group.join("inner");
    rootfs::directory(&inner.join("innermost"));
    fs::write(inner.join("cgroup.type"), "threaded").unwrap();
    fs::write(inner.join("innermost/cgroup.type"), "threaded").unwrap();
    fs::write(inner.join("innermost/cgroup.threads"), container.pid.to_string()).unwrap();
    end(&container);
    container.delete();
}

/// Without a pid namespace nobody kills them before delete does, and the kernel takes its time to let go of them.
#[test]
fn processes_in_groups_below() {
    differs!(Runc, "kills, but does not wait");
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 600 & done; echo ready; exit 0";
    let container = Bundle::sh(script).without_namespace("pid").start();
    container.says("ready");
    container.wait();
    // A new group of a v1 cpuset has no processor for anybody.
    let takes_processes = |it: &&PathBuf| it.exists() && !it.join("cpuset.cpus").exists();
    for directory in cgroup::directories(&container.cgroup).iter().filter(takes_processes) {
        let inner = directory.join("inner/innermost");
        rootfs::directory(&inner);
        for pid in fs::read_to_string(directory.join("cgroup.procs")).unwrap().lines() {
            fs::write(inner.join("cgroup.procs"), pid).unwrap();
        }
    }
    container.delete();
}

#[test]
fn a_name_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let container = Bundle::idle().start();
    fs::create_dir(group_of(&container).join(std::ffi::OsStr::from_bytes(b"\xff\xfe"))).unwrap();
    end(&container);
    container.delete();
}

/// A cgroup of somebody else in every hierarchy, in which a bundle's container is to be.
struct Theirs(Vec<PathBuf>);

impl Theirs {
    fn of(bundle: &mut Bundle) -> Self {
        let path = &format!("{}-theirs", bundle.cgroup);
        bundle.config["linux"]["cgroupsPath"] = path.as_str().into();
        let directories = cgroup::directories(path);
        directories.iter().for_each(|directory| rootfs::directory(directory));
        // v1 cpusets take nobody before they have something.
        for directory in
            directories.iter().filter(|it| it.join("cpuset.cpus").exists() && !it.join("cgroup.type").exists())
        {
            for name in ["cpuset.cpus", "cpuset.mems"] {
                let above = fs::read_to_string(directory.ancestors().nth(2).unwrap().join(name)).unwrap();
                fs::write(directory.parent().unwrap().join(name), above.trim()).unwrap();
                fs::write(directory.join(name), above.trim()).unwrap();
            }
        }
        Self(directories)
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        for directory in &self.0 {
            let _ = fs::remove_dir(directory);
            // The last sandbox may have tried before.
            let _ = fs::remove_dir(directory.parent().unwrap());
        }
    }
}

/// SPEC(runtime, "Delete"): what create did not make MUST NOT be deleted.
#[test]
fn a_group_that_was_there_stays_and_what_is_in_it_goes() {
    differs!(Runc | Crun, "takes it away");
    let mut bundle = Bundle::idle();
    let theirs = Theirs::of(&mut bundle);
    let container = bundle.start();
    for directory in &theirs.0 {
        fs::create_dir(directory.join("inner")).unwrap();
    }
    end(&container);
    container.runtime("delete").arg(&container.id).output().ok().silent();
    for directory in &theirs.0 {
        assert!(directory.exists() && !directory.join("inner").exists(), "{directory:?}");
    }
}

#[test]
fn a_failed_create_gives_it_its_limits_back() {
    differs!(Runc | Crun, "leaves its own");
    let (controller, v1, v2, old, new) = match cgroup::has("pids") {
        true => ("pids", "pids.max", "pids.max", "77", serde_json::json!({"pids": {"limit": 5}})),
        false => {
            let limit = serde_json::json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]});
            ("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max", "8388608", limit)
        }
    };
    requires!(cgroup::has(controller), "the pids or the hugetlb controller");
    let mut bundle = Bundle::new().args(&["no-such-program"]).set("/linux/resources", new);
    let theirs = Theirs::of(&mut bundle);
    let parent = fs::read_to_string(theirs.0[0].parent().unwrap().join("cgroup.controllers")).unwrap_or_default();
    if cgroup::view() == View::Unified && parent.contains(controller) {
        let _ = fs::write(theirs.0[0].parent().unwrap().join("cgroup.subtree_control"), format!("+{controller}"));
    }
    let file = cgroup::file(controller, bundle.config["linux"]["cgroupsPath"].as_str().unwrap(), v1, v2);
    requires!(file.exists(), "a controller that tests can hand down");
    fs::write(&file, old).unwrap();
    bundle.create_fails();
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), old);
}
