//! `ctr tasks checkpoint`, and containers that are made from what it has written, where CRIU works.

use super::Containerd;
use crate::support::case::{Case, cases};
use crate::support::machine::has_criu;
use crate::support::requires;
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![checkpoint_without_criu, checkpoint_and_restore]
}

/// containerd pauses the container, and resumes it whatever came of it.
fn checkpoint_without_criu(containerd: &Containerd) {
    requires!(!has_criu(), "a machine without a CRIU that works");
    let container = containerd.asleep("");
    let output = container.call("tasks checkpoint --exit ID").exits(1);
    assert!(output.stderr.contains("criu"), "{}", output.stderr);
    assert_eq!(container.task().unwrap().1, "RUNNING");
    container.sh("true");
}

fn checkpoint_and_restore(containerd: &Containerd) {
    requires!(has_criu(), "CRIU, and a kernel for it");
    let container = containerd.detached("", "i=0; while :; do i=$((i+1)); echo $i >/n; sleep 0.2; done");
    let count = || until("a number", || container.sh("cat /n").trim().parse::<u64>().ok());
    let image = format!("local/{}:latest", containerd.name());
    let before = count();
    container.call(&format!("containers checkpoint --rw --image --task ID {image}")).ok();
    // It was paused, and goes on.
    until("the next number", || (count() > before).then_some(()));
    container.call("tasks kill --signal SIGKILL ID").ok();
    until("its end", || (container.task()?.1 == "STOPPED").then_some(()));
    container.call("tasks delete ID");
    container.call("containers delete ID").ok();
    container.call(&format!("containers restore --rw --live ID {image}")).ok();
    assert_eq!(container.task().unwrap().1, "RUNNING");
    let now = until("the next number", || Some(count()).filter(|now| *now > before));
    assert!(now < before + 100, "{before} {now}");
}
