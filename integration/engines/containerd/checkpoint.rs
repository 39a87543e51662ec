//! `ctr tasks checkpoint`, as far as this machine goes: it has no CRIU.

use super::Containerd;
use crate::support::case::{Case, cases};

pub fn cases() -> Vec<Case<Containerd>> {
    cases![leaves_the_container_as_it_was]
}

/// containerd pauses the container, and resumes it whatever came of it.
fn leaves_the_container_as_it_was(containerd: &Containerd) {
    let container = containerd.asleep("");
    let output = container.call("tasks checkpoint --exit ID").exits(1);
    assert!(output.stderr.contains("criu"), "{}", output.stderr);
    assert_eq!(container.task().unwrap().1, "RUNNING");
    container.sh("true");
}
