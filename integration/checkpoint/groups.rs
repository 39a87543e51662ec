//! Cgroups that the container has made below its own: what each mode of `--manage-cgroups-mode` makes of them.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::refusals::fails;
use super::{COUNTS, Subject, counter, requires_criu, with_volume};
use crate::support::cgroup::{self, View};
use crate::support::{Bundle, requires, systemd};

/// In a group two below its own, the upper one of which has a limit.
fn nested() -> Subject {
    nested_in(|bundle| bundle)
}

fn nested_in(place: impl FnOnce(Bundle) -> Bundle) -> Subject {
    let script = "cd /sys/fs/cgroup && mkdir -p upper/lower && echo $$ >upper/lower/cgroup.procs && \
        echo +pids >cgroup.subtree_control && echo 17 >upper/pids.max; cd /; ";
    let bundle = with_volume(Bundle::sh(&format!("{script}{COUNTS}"))).namespace("cgroup", None);
    let bundle = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw"]);
    Subject::run(place(bundle.set("/linux/resources/pids/limit", 40)))
}

impl Subject {
    fn group(&self, name: &str) -> PathBuf {
        cgroup::directory_of("pids", &self.cgroup).unwrap().join(name)
    }

    /// Of a group below the container's; "" is its own.
    #[track_caller]
    fn limit(&self, group: &str) -> String {
        fs::read_to_string(self.group(group).join("pids.max")).unwrap().trim().to_owned()
    }

    #[track_caller]
    fn remove(self) {
        self.runtime("delete").args(["--force", &self.id]).output().ok().silent();
        self.wait();
        self.assert_nothing_left();
    }
}

fn own_group(subject: &Subject) -> String {
    cgroup::of_process(subject.pid)[""].clone()
}

/// Into the same cgroup, and into another one; by default as with `soft`.
#[test]
fn groups_below_are_made_again() {
    requires_criu!();
    requires!(cgroup::view() == View::Unified && cgroup::has("pids"), "cgroup v2 with pids");
    for flags in [&[][..], &["--manage-cgroups-mode", "soft"]] {
        let subject = nested();
        let last = subject.count();
        assert_eq!(own_group(&subject), format!("{}/upper/lower", subject.cgroup));
        subject.is_taken_down("images", flags);
        let mut subject = subject.restore("images", flags);
        subject.counts_on(last);
        assert_eq!(own_group(&subject), format!("{}/upper/lower", subject.cgroup));
        assert_eq!((subject.limit(""), subject.limit("upper")), ("40".to_owned(), "max".to_owned()));
        let last = subject.count();
        subject.is_taken_down("more", flags);
        let other = subject.moves(31);
        let subject = subject.restore("more", flags);
        subject.counts_on(last);
        assert_eq!(own_group(&subject), format!("{other}/upper/lower"));
        assert_eq!((subject.limit("other"), subject.limit("other/upper")), ("31".to_owned(), "max".to_owned()));
        assert_eq!(subject.exec("cat /sys/fs/cgroup/upper/pids.max"), "max");
        subject.remove();
    }
}

/// Those of restore find the process in the container's own group, and may find what they look for by its cgroup.
#[test]
fn hooks_find_the_container_by_its_group() {
    requires_criu!();
    requires!(cgroup::view() == View::Unified && cgroup::has("pids"), "cgroup v2 with pids");
    let mut subject = nested_in(|bundle| {
        let script = format!(
            "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); cat /proc/$pid/cgroup >>{}",
            bundle.path("found").display()
        );
        bundle.hook("createRuntime", json!({"path": "/bin/sh", "args": ["sh", "-c", script]}))
    });
    subject.count();
    subject.is_taken_down("images", &[]);
    let other = subject.moves(31);
    let subject = subject.restore("images", &[]);
    let found = fs::read_to_string(subject.path("found")).unwrap();
    assert_eq!(found, format!("0::{}\n0::{other}\n", subject.cgroup));
    subject.remove();
}

/// Without groups in the images there are none to be managed, whatever is asked for: the container has its new one.
#[test]
fn groups_that_the_images_lack() {
    requires_criu!();
    requires!(cgroup::view() == View::Unified && cgroup::has("pids"), "cgroup v2 with pids");
    for mode in ["soft", "full", "strict"] {
        let mut subject = Subject::run(counter());
        let last = subject.count();
        subject.is_taken_down("images", &[]);
        let other = subject.moves(31);
        let subject = subject.restore("images", &["--manage-cgroups-mode", mode]);
        subject.counts_on(last);
        assert_eq!(own_group(&subject), other);
        subject.remove();
    }
}

/// All processes are in the container's own group.
#[test]
fn groups_below_are_left_out() {
    requires_criu!();
    requires!(cgroup::view() == View::Unified && cgroup::has("pids"), "cgroup v2 with pids");
    let ignore = ["--manage-cgroups-mode", "ignore"];
    for (dumped, restored) in [(&ignore[..], &[][..]), (&[], &ignore)] {
        let subject = nested();
        let last = subject.count();
        subject.is_taken_down("images", dumped);
        let subject = subject.restore("images", restored);
        subject.counts_on(last);
        assert_eq!(own_group(&subject), subject.cgroup);
        assert!(!subject.group("upper").exists());
        subject.remove();
    }
}

/// The container's own group is there already, and `strict` takes nothing that is.
#[test]
fn groups_that_are_there_already() {
    requires_criu!();
    requires!(cgroup::view() == View::Unified && cgroup::has("pids"), "cgroup v2 with pids");
    let subject = nested();
    subject.count();
    subject.is_taken_down("images", &["--manage-cgroups-mode", "full"]);
    let mut subject = subject;
    subject.moves(31);
    let strict = ["--detach", "--manage-cgroups-mode", "strict"];
    fails("restore", subject.restore_command("images", &strict).output()).because("Abort restore of existing cgroups");
    subject.assert_nothing_left();
}

/// With `full` CRIU itself lets the container's own group hand controllers down, otherwise we do.
fn go_on_in_the_same_groups(place: fn(Bundle) -> Bundle, flags: &[&str]) {
    let subject = nested_in(place);
    let last = subject.count();
    subject.is_taken_down("images", flags);
    let subject = subject.restore("images", flags);
    subject.counts_on(last);
    assert_eq!(own_group(&subject), format!("{}/upper/lower", subject.cgroup));
    let hands_down = fs::read_to_string(subject.group("cgroup.subtree_control")).unwrap();
    assert_eq!(hands_down, "pids\n");
    assert_eq!((subject.limit(""), subject.limit("upper")), ("40".to_owned(), "max".to_owned()));
    subject.remove();
}

#[test]
fn groups_as_they_were() {
    requires_criu!();
    requires!(cgroup::view() == View::Unified && cgroup::has("pids"), "cgroup v2 with pids");
    go_on_in_the_same_groups(|bundle| bundle, &["--manage-cgroups-mode", "full"]);
}

#[test]
fn groups_below_a_unit_of_systemd() {
    requires_criu!();
    requires!(cgroup::view() == View::Unified && systemd::is_here() && cgroup::has("pids"), "systemd with pids");
    for flags in [&[][..], &["--manage-cgroups-mode", "full"]] {
        go_on_in_the_same_groups(systemd::in_default_slice, flags);
    }
}
