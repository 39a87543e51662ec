//! `podman container checkpoint` and `restore`, where CRIU works.

use super::{Container, Podman, is_a_users};
use crate::support::case::{Case, cases};
use crate::support::machine::has_criu;
use crate::support::requires;
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Podman>> {
    cases![checkpoint_and_restore, checkpoint_that_is_moved]
}

const COUNTS: &str = "i=0; while :; do i=$((i+1)); echo $i >/n; sleep 0.2; done";

fn count(container: &Container<'_>) -> u64 {
    until("a number", || container.sh("cat /n").trim().parse().ok())
}

fn goes_on(container: &Container<'_>, before: u64) {
    let now = until("the next number", || Some(count(container)).filter(|now| *now > before));
    assert!(now < before + 100, "{before} {now}");
}

fn checkpoint_and_restore(podman: &Podman) {
    requires!(has_criu() && !is_a_users(), "CRIU, and a kernel and rights for it");
    let container = podman.detached("", COUNTS);
    let before = count(&container);
    container.call("container checkpoint NAME").ok();
    assert_eq!(container.inspect(".State.Status"), "exited");
    container.call("container restore NAME").ok();
    assert_eq!(container.inspect(".State.Status"), "running");
    goes_on(&container, before);
    let before = count(&container);
    container.call("container checkpoint --leave-running NAME").ok();
    goes_on(&container, before);
}

/// Into a file, with what has changed of the root filesystem, and into a container of another name.
fn checkpoint_that_is_moved(podman: &Podman) {
    requires!(has_criu() && !is_a_users(), "CRIU, and a kernel and rights for it");
    let container = podman.detached("", COUNTS);
    let before = count(&container);
    let file = format!("{}/checkpoint.tar.gz", podman.directory("export"));
    container.call(&format!("container checkpoint --compress gzip --export {file} NAME")).ok();
    container.call("rm NAME").ok();
    let other = podman.container();
    other.call(&format!("container restore --import {file} --name NAME")).ok();
    goes_on(&other, before);
}
