//! `ps`: who is in a container.

use std::collections::BTreeSet;
use std::fs;

use crate::support::run::Output;
use crate::support::{Bundle, Container, cgroup, differs, rootfs};

/// `ps` with flags before the id and options behind it.
fn ps(container: &Container, flags: &[&str], options: &[&str]) -> Output {
    container.runtime("ps").args(flags).arg(&container.id).args(options).output()
}

#[track_caller]
fn pids(container: &Container) -> Vec<i32> {
    let output = ps(container, &["--format", "json"], &[]).ok().no_stderr();
    let mut pids: Vec<i32> =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:#?}"));
    pids.sort_unstable();
    pids
}

/// A container with two children of init, and the pids of all.
fn family() -> (Container, Vec<i32>) {
    let container = Bundle::sh("sleep 600 & sleep 601 & echo ready; wait").start();
    container.says("ready");
    let procs = fs::read_to_string(cgroup::directories(&container.cgroup)[0].join("cgroup.procs")).unwrap();
    let mut pids: Vec<i32> = procs.lines().map(|line| line.parse().unwrap()).collect();
    pids.sort_unstable();
    assert_eq!(pids.len(), 3);
    (container, pids)
}

#[test]
fn as_json_it_is_the_pids() {
    let (container, expected) = family();
    assert_eq!(pids(&container), expected);
    let short = ps(&container, &["-f", "json"], &[]).ok().no_stderr();
    assert!(short.stdout.starts_with('[') && short.stdout.ends_with("]\n"), "{short:#?}");
}

#[test]
fn as_a_table_it_is_what_ps_says_of_them() {
    let (container, expected) = family();
    for flags in [&[][..], &["--format", "table"], &["--format=table"]] {
        let output = ps(&container, flags, &[]).ok().no_stderr();
        let header: Vec<&str> = output.stdout.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(header, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        let pid = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<i32>().unwrap();
        let mut listed: Vec<i32> = output.stdout.lines().skip(1).map(pid).collect();
        listed.sort_unstable();
        assert_eq!(listed, expected, "{output:#?}");
    }
}

/// Also those that look like ours.
#[test]
fn what_follows_the_id_is_for_ps() {
    let (container, _) = family();
    let output = ps(&container, &[], &["-e", "-o", "user,pid,args"]).ok().no_stderr();
    let lines: Vec<Vec<&str>> = output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["USER", "PID", "COMMAND"]);
    let programs: BTreeSet<&str> = lines[1..].iter().map(|words| words[words.len() - 1]).collect();
    assert!(lines.len() == 4 && programs.is_superset(&["600", "601"].into()), "{output:#?}");
}

#[test]
fn processes_in_groups_below_are_counted() {
    let (container, expected) = family();
    let child = *expected.iter().find(|pid| **pid != container.pid).unwrap();
    let inner = cgroup::directories(&format!("{}/inner", container.cgroup));
    for directory in inner.iter().filter(|it| it.parent().unwrap().exists()) {
        rootfs::directory(directory);
        if let Ok(cpus) = fs::read_to_string(directory.join("../cpuset.cpus")) {
            let mems = fs::read_to_string(directory.join("../cpuset.mems")).unwrap();
            let _ = fs::write(directory.join("cpuset.cpus"), cpus);
            let _ = fs::write(directory.join("cpuset.mems"), mems);
        }
        fs::write(directory.join("cgroup.procs"), child.to_string())
            .unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    }
    assert_eq!(pids(&container), expected);
    assert!(ps(&container, &[], &[]).ok().stdout.contains(&format!(" {child} ")));
}

#[test]
fn of_a_created_container_it_is_init() {
    let container = Bundle::new().create();
    assert_eq!(pids(&container), [container.pid]);
}

#[test]
fn of_a_stopped_container_it_is_the_header() {
    let container = Bundle::new().start();
    container.wait();
    let output = ps(&container, &[], &[]).ok().no_stderr();
    assert_eq!(output.stdout.lines().count(), 1, "{output:#?}");
    assert!(output.stdout.starts_with("UID "), "{output:#?}");
}

#[test]
fn of_a_stopped_container_the_array_is_empty() {
    differs!(Runc, "it is null");
    let container = Bundle::new().start();
    container.wait();
    assert_eq!(ps(&container, &["--format", "json"], &[]).ok().no_stderr().stdout, "[]\n");
}

#[test]
fn without_pids_it_is_refused() {
    let container = Bundle::idle().start();
    container.refuses("ps", &["-e", "-o", "user"]).says("couldn't find PID field in ps output");
}

#[test]
fn what_ps_objects_to_is_said() {
    let container = Bundle::idle().start();
    container.refuses("ps", &["--nonsense"]).says("exit status").because("unknown gnu long option");
}

#[test]
fn a_machine_without_ps() {
    let container = Bundle::idle().start();
    let output = container.runtime("ps").arg(&container.id).env("PATH", "/nonexistent").output();
    crate::support::refusal::Refusal::from_output("ps", output)
        .because("exec \"ps\" from $PATH: no such file or directory");
}

/// They could not be told from others.
#[test]
fn without_a_cgroup_processes_are_not_looked_for() {
    differs!(Runc, "has no such flag");
    differs!(Crun, "asks the pid namespace");
    let container = Bundle::idle().remove("/linux/cgroupsPath").global("--cgroup-manager=disabled").start();
    container.refuses("ps", &[]).because("it has no cgroup of its own");
    container.refuses("events", &["--stats"]).because("it has no cgroup of its own");
}

#[test]
fn another_format_is_refused() {
    let container = Bundle::idle().start();
    let output = ps(&container, &["--format", "xml"], &[]);
    crate::support::refusal::Refusal::from_output("ps", output).says("invalid format option");
}
