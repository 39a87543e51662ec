//! `kill` and `delete`: to whom, when, and that nothing stays.

use std::fs;

use crate::phrases::{DOES_NOT_EXIST, NOT_RUNNING};
use crate::support::wait::until;
use crate::support::{Bundle, Container, cgroup, differs, requires, rootfs};

/// Says the name of each signal it gets; TERM ends it.
fn signal_teller() -> Container {
    let script = "for name in HUP INT USR1 USR2 WINCH; do trap \"echo got $name\" $name; done
        trap 'echo got TERM; exit 0' TERM
        echo ready; while :; do sleep 600 & wait; done";
    let container = Bundle::sh(script).start();
    container.says("ready");
    container
}

#[test]
fn sends_the_signal_by_name_or_number() {
    let container = signal_teller();
    for (argument, name) in [("USR1", "USR1"), ("SIGUSR2", "USR2"), ("1", "HUP"), ("SIGINT", "INT"), ("28", "WINCH")] {
        container.kill(argument);
        container.says(&format!("got {name}\n"));
    }
}

#[test]
fn signal_names_may_be_lower_case() {
    differs!(Crun, "knows capitals only");
    let container = signal_teller();
    container.kill("usr1");
    container.says("got USR1\n");
    container.kill("sigusr2");
    container.says("got USR2\n");
}

#[test]
fn term_is_the_default() {
    let container = signal_teller();
    container.call("kill").ok().silent();
    assert_eq!(container.wait(), 0);
    container.says("got TERM\n");
}

#[test]
fn realtime_signals() {
    let container = Bundle::idle().start();
    container.kill("64");
    container.kill("0");
    assert_eq!(container.status(), "running");
}

#[test]
fn kills_a_created_container() {
    let container = Bundle::new().create();
    container.kill("KILL");
    assert_eq!(container.wait(), 128 + 9);
    assert_eq!(container.status(), "stopped");
    container.delete();
}

#[test]
fn does_not_kill_what_has_ended() {
    let container = Bundle::new().start();
    container.becomes("stopped");
    container.refuses("kill", &["KILL"]).says(NOT_RUNNING);
    container.wait();
    container.refuses("kill", &["KILL"]).says(NOT_RUNNING);
    container.refuses("kill", &[]).says(NOT_RUNNING);
}

#[test]
fn an_unknown_signal_is_refused_and_harms_nobody() {
    let container = Bundle::idle().start();
    for signal in ["NOSUCH", "SIG", "-1", "65", "1000"] {
        container.refuses("kill", &["--", signal]);
    }
    assert_eq!(container.status(), "running");
}

#[test]
fn kill_all_of_a_stopped_container_is_no_failure() {
    for flag in ["--all", "-a"] {
        let container = Bundle::new().start();
        container.wait();
        container.runtime("kill").args([flag, &container.id, "9"]).output().ok().silent();
    }
}

/// Without a pid namespace of its own the program's children outlive it.
fn with_leftover_child() -> (Container, i32) {
    let bundle = Bundle::sh("sleep 600 & echo child $!; exit 0").without_namespace("pid");
    let container = bundle.start();
    assert_eq!(container.wait(), 0);
    let child = container.stdout().trim().rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!(is_alive(child));
    (container, child)
}

/// A zombie is not.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn delete_ends_what_is_left_in_the_cgroup() {
    if cgroup::view() == cgroup::View::Unified {
        differs!(Runc, "on cgroup2 it kills but does not wait, so that rmdir fails");
    }
    let (container, child) = with_leftover_child();
    container.delete();
    assert!(!is_alive(child));
}

/// containerd's shim calls it for containers in the host's pid namespace.
#[test]
fn kill_all_ends_what_is_left_in_the_cgroup() {
    let (container, child) = with_leftover_child();
    container.runtime("kill").args(["--all", &container.id, "9"]).output().ok().silent();
    until("the child's end", || (!is_alive(child)).then_some(()));
    container.delete();
}

#[test]
fn kill_all_sends_any_signal_to_everybody() {
    let teller =
        |who: &str| format!("trap 'echo {who} got it' USR1; echo {who} is ready; while :; do sleep 600 & wait; done");
    let script = format!("({}) & {}", teller("child"), teller("parent"));
    for flag in ["--all", "-a"] {
        let container = Bundle::sh(&script).start();
        container.says("child is ready");
        container.says("parent is ready");
        container.runtime("kill").args([flag, &container.id, "USR1"]).output().ok().silent();
        container.says("child got it");
        container.says("parent got it");
        assert_eq!(container.stdout().matches("got it").count(), 2);
    }
}

#[test]
fn kill_all_reaches_what_is_left_with_any_signal() {
    let (container, child) = with_leftover_child();
    container.runtime("kill").args(["--all", &container.id, "0"]).output().ok().silent();
    assert!(is_alive(child));
    container.runtime("kill").args(["--all", &container.id, "TERM"]).output().ok().silent();
    until("the child's end", || (!is_alive(child)).then_some(()));
    container.delete();
}

#[test]
fn kill_all_reaches_groups_below() {
    for signal in ["KILL", "TERM"] {
        let (container, child) = with_leftover_child();
        for directory in cgroup::directories(&format!("{}/inner/innermost", container.cgroup)) {
            rootfs::directory(&directory);
            // A new v1 cpuset takes nobody, which is as good: it is found in the others.
            let _ = fs::write(directory.join("cgroup.procs"), child.to_string());
        }
        container.runtime("kill").args(["--all", &container.id, signal]).output().ok().silent();
        until("the child's end", || (!is_alive(child)).then_some(()));
        container.delete();
    }
}

/// On a machine with v1 alone, so without `cgroup.kill`: whoever is killed has a successor by then.
#[test]
fn kill_ends_what_forks_faster_than_it_is_killed() {
    requires!(cgroup::has("freezer"), "the freezer controller");
    differs!(Runc, "1.1.5 kills init alone");
    differs!(Crun, "kills init alone");
    let script = "for i in 1 2 3 4 5 6 7 8; do sh /relay & done; echo ready; sleep 600 & wait";
    let container = Bundle::sh(script)
        .file("relay", "sh /relay &\n")
        .without_namespace("pid")
        .after_host_mounts("umount /sys/fs/cgroup/unified")
        .start();
    container.says("ready");
    container.kill("KILL");
    for directory in cgroup::directories(&container.cgroup).iter().filter(|it| it.exists()) {
        assert_eq!(fs::read_to_string(directory.join("cgroup.procs")).unwrap(), "", "{directory:?}");
    }
    container.wait();
    container.delete();
}

#[test]
fn kill_of_a_container_in_the_hosts_pid_namespace_ends_all_of_it() {
    differs!(Runc, "1.1.5 kills init alone");
    differs!(Crun, "kills init alone");
    let container = Bundle::sh("sleep 600 & echo child $!; wait").without_namespace("pid").start();
    container.says("\n");
    let child = container.stdout().trim().rsplit_once(' ').unwrap().1.parse().unwrap();
    container.kill("KILL");
    container.wait();
    until("the child's end", || (!is_alive(child)).then_some(()));
}

#[test]
fn does_not_delete_what_runs() {
    let container = Bundle::idle().start();
    container.refuses("delete", &[]).says(&container.id);
    assert_eq!(container.status(), "running");
    container.terminate();
    assert_eq!(container.wait(), 0);
    container.delete();
}

#[test]
fn says_why_it_does_not_delete_what_runs() {
    let container = Bundle::idle().start();
    let words = format!("cannot delete container {} that is not stopped: running", container.id);
    container.refuses("delete", &[]).says(&words);
}

#[test]
fn deletes_a_created_container() {
    let container = Bundle::new().create();
    container.delete();
    assert_eq!(container.wait(), 128 + 9);
}

#[test]
fn force_deletes_in_every_status() {
    for flag in ["--force", "-f"] {
        let force = |container: &Container| {
            container.runtime("delete").args([flag, &container.id]).output().ok().silent();
            container.assert_nothing_left();
        };
        force(&Bundle::idle().create());
        force(&Bundle::idle().start());
        let stopped = Bundle::new().start();
        stopped.wait();
        force(&stopped);
    }
}

#[test]
fn force_of_an_unknown_id_is_silent() {
    let bundle = Bundle::new();
    bundle.runtime("delete").args(["--force", "no-such-id"]).output().ok().silent();
}

#[test]
fn a_second_delete_says_that_there_is_nothing() {
    let container = Bundle::new().create();
    container.delete();
    container.refuses("delete", &[]).says(DOES_NOT_EXIST);
}

#[test]
fn delete_removes_cgroups_that_the_container_made() {
    let container = Bundle::idle().start();
    for directory in cgroup::directories(&container.cgroup).iter().filter(|it| it.exists()) {
        rootfs::directory(&directory.join("inner/innermost"));
    }
    container.kill("KILL");
    container.wait();
    container.delete();
}

#[test]
fn delete_leaves_a_cgroup_to_which_the_process_was_moved() {
    let controller = if cgroup::has("pids") { "pids" } else { "hugetlb" };
    requires!(cgroup::has(controller), "the pids or hugetlb controller");
    let container = Bundle::idle().start();
    let foreign = cgroup::directory_of(controller, &format!("{}-foreign", container.cgroup)).unwrap();
    rootfs::directory(&foreign);
    fs::write(foreign.join("cgroup.procs"), container.pid.to_string()).unwrap();
    container.kill("KILL");
    container.wait();
    container.delete();
    assert!(foreign.exists());
    fs::remove_dir(foreign).unwrap();
}
