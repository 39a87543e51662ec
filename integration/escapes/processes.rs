//! Processes of ours that the container can see.

use std::fs;

use super::race::for_some_seconds;
use crate::support::Bundle;
use crate::support::wait::until;

/// Looks into every process whose program is not the container's own: `-e` follows a link of /proc/PID, which the kernel
/// allows to whoever might attach to the process. It is asked before and after, because a process at its end has no program.
/// Only what the shell does itself is fast enough.
const LOOK: &str = "
    for process in /proc/[0-9]*; do
        exe=$process/exe
        [ -e $exe ] && ! [ $exe -ef /bin/busybox ] && [ -e $exe ] && echo $process $process/fd/* >> /seen
    done 2> /dev/null";

/// runc before 1.0.0-rc3: a process on its way into the container could be traced by those that were there already, and it
/// had directories of the host open: through /proc/PID/fd the container's root was in the host's files.
#[test]
fn cve_2016_9962_processes_of_the_runtime_can_be_looked_into() {
    let container = Bundle::sh(&format!("trap exit TERM; touch /ready; while :; do {LOOK}\ndone")).start();
    let (seen, ready) = (container.rootfs().join("seen"), container.rootfs().join("ready"));
    until("the attack", || ready.exists().then_some(()));
    for_some_seconds(|| drop(container.runtime("exec").args([&container.id, "true"]).output().ok()));
    assert!(!seen.exists(), "looked into: {}", fs::read_to_string(seen).unwrap());
}

/// The same with a first process that waits for `start`, which it may do for ever.
#[test]
fn cve_2016_9962_a_created_container_can_be_looked_into() {
    let container = Bundle::idle().create();
    let output = container.runtime("exec").args([&container.id, "sh", "-c", LOOK]).output();
    let seen = fs::read_to_string(container.rootfs().join("seen")).unwrap_or_default();
    assert!(seen.is_empty(), "looked into {seen}: {output:#?}");
    let open = container.runtime("exec").args([&container.id, "sh", "-c", "ls /proc/1/fd"]).output().stdout;
    let targets = open.split_whitespace().map(|fd| fs::read_link(format!("/proc/{}/fd/{fd}", container.pid)).unwrap());
    let of_host: Vec<_> = targets.filter(|it| it.is_dir()).collect();
    assert!(of_host.is_empty(), "directories are open: {of_host:?}");
}
