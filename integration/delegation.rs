//! Whose the container's cgroup is: SPEC(config-linux, "Cgroup ownership").

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::cgroup::{self, View};
use crate::support::{Bundle, Container, differs, requires};

/// Container ids from 0 on are these outside.
const FIRST: u32 = 100_000;

fn mapped(script: &str, options: &[&str]) -> Bundle {
    let bundle = Bundle::sh(script).user_namespace(FIRST).namespace("cgroup", None);
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", options)
}

fn owner(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().uid()
}

fn groups(container: &Container) -> Vec<PathBuf> {
    let mounted = cgroup::directories(&container.cgroup).into_iter().filter(|it| it.exists());
    mounted.collect()
}

/// What the kernel says, or the specification where it says nothing.
fn to_delegate() -> Vec<String> {
    let list = fs::read_to_string("/sys/kernel/cgroup/delegate");
    let list = list.unwrap_or_else(|_| "cgroup.procs cgroup.subtree_control cgroup.threads".to_owned());
    list.split_whitespace().map(str::to_owned).collect()
}

#[track_caller]
fn assert_owned_by(group: &Path, user: u32) {
    assert_eq!(owner(group), user);
    assert_eq!(owner(group.parent().unwrap()), 0);
    for entry in fs::read_dir(group).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let name = entry.file_name().into_string().unwrap();
        let expected = if to_delegate().contains(&name) { user } else { 0 };
        assert_eq!(owner(entry.path()), expected, "{name}");
        assert_eq!(fs::metadata(entry.path()).unwrap().gid(), 0, "{name}");
    }
}

#[test]
fn the_containers_user_owns_it() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    differs!(Runc | Crun, "with the systemd driver only");
    assert_owned_by(&groups(&mapped("sleep 600", &["rw"]).create())[0], FIRST);
    let user = mapped("sleep 600", &[]).set("/process/user/uid", 7).create();
    assert_owned_by(&groups(&user)[0], FIRST + 7);
    let not_mapped = Bundle::idle().namespace("cgroup", None).mount("/sys/fs/cgroup", "cgroup", "cgroup", &[]);
    assert_owned_by(&groups(&not_mapped.set("/process/user/uid", 1234).create())[0], 1234);
}

#[test]
fn he_makes_groups_in_it_and_moves_himself() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    differs!(Runc | Crun, "with the systemd driver only");
    let script = "cd /sys/fs/cgroup && mkdir inner && echo $$ > inner/cgroup.procs && cat /proc/self/cgroup";
    let container = mapped(script, &["rw"]).create();
    let printed = container.finish();
    assert!(printed.contains("0::/inner\n"), "{printed}");
}

/// Not the limits: he could lift them.
#[test]
fn he_does_not_own_the_limits() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    let script = "cd /sys/fs/cgroup; for i in 1 2; do echo max > cgroup.max.depth; done; echo end";
    let container = mapped(script, &["rw"]).start();
    container.says("end");
    assert_eq!(container.stderr().matches("ermission denied").count(), 2, "{}", container.stderr());
    container.wait();
}

#[test]
fn it_stays_ours_otherwise() {
    differs!(Crun, "gives groups away that the specification says stay");
    let mount = |bundle: Bundle, source: &str, options: &[&str]| {
        bundle.mount("/sys/fs/cgroup", "cgroup", source, options).create()
    };
    let user_namespace = || Bundle::idle().user_namespace(FIRST);
    for (name, container) in [
        ("read-only", mapped("sleep 600", &["ro"]).create()),
        ("another source", mount(user_namespace().namespace("cgroup", None), "cgroup2", &[])),
        ("the caller's cgroup namespace", mount(user_namespace(), "cgroup", &["ro"])),
        ("no mount", user_namespace().namespace("cgroup", None).create()),
    ] {
        for group in groups(&container) {
            assert_owned_by(&group, 0);
            assert_eq!(owner(&group), 0, "{name} {group:?}");
        }
    }
}

#[test]
fn never_on_v1() {
    requires!(cgroup::view() == View::Hybrid, "cgroup v1");
    let container = mapped("sleep 600", &["rw"]).create();
    groups(&container).iter().for_each(|group| assert_owned_by(group, 0));
}
