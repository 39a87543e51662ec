//! A container's life under Podman: conmon is its parent, and Podman itself only runs when it is called.

use std::io::Write;

use super::Podman;
use crate::support::case::{Case, cases};
use crate::support::cgroup;
use crate::support::image::BOX;
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Podman>> {
    cases![
        create_and_start,
        stop,
        stop_of_one_that_does_not_listen,
        restart,
        kill,
        pause,
        attach,
        oom,
        restart_policy,
        healthcheck,
        left_processes
    ]
}

/// Says when it is ready, and ends with 7 when it is told to.
const LISTENS: &str = "trap 'echo end; exit 7' TERM; echo ready; while :; do sleep 0.1; done";

fn create_and_start(podman: &Podman) {
    let container = podman.container();
    let words = format!("create --interactive --name NAME {} {BOX} sh", podman.options());
    assert_eq!(container.call(&words).ok().no_stderr().line().len(), 64);
    assert_eq!(container.inspect(".State.Status"), "created");
    container.call("init NAME").ok().no_stderr();
    assert_eq!(container.inspect(".State.Status"), "initialized");
    let output = container.command("start --attach --interactive NAME").stdin("echo hello; exit 5\n").output().exits(5);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("hello\n", ""));
}

fn stop(podman: &Podman) {
    let container = podman.detached("", LISTENS);
    container.says("ready");
    container.call("stop NAME").ok().no_stderr();
    assert_eq!(container.log(), "ready\nend\n");
    assert_eq!(
        (container.inspect(".State.Status"), container.inspect(".State.ExitCode")),
        ("exited".into(), "7".into())
    );
    container.call("stop NAME").ok().no_stderr();
}

fn stop_of_one_that_does_not_listen(podman: &Podman) {
    let container = podman.detached("", "trap '' TERM; echo ready; sleep 600");
    container.says("ready");
    // Podman warns that it had to.
    container.call("stop --time 1 NAME").ok();
    assert_eq!(container.inspect(".State.ExitCode"), "137");
}

fn restart(podman: &Podman) {
    let container = podman.detached("", LISTENS);
    container.says("ready");
    container.call("restart NAME").ok().no_stderr();
    until("both starts", || (container.log() == "ready\nend\nready\n").then_some(()));
}

fn kill(podman: &Podman) {
    let container = podman.detached("", "trap 'echo got' USR1; echo ready; while :; do sleep 0.1; done");
    container.says("ready");
    container.call("kill --signal USR1 NAME").ok().no_stderr();
    container.says("got");
    container.call("kill NAME").ok().no_stderr();
    assert_eq!(container.call("wait NAME").ok().no_stderr().line(), "137");
}

fn pause(podman: &Podman) {
    let container = podman.asleep("");
    container.call("pause NAME").ok().no_stderr();
    assert_eq!(container.cgroup_file("freezer", "freezer.state"), cgroup::frozen(true));
    assert_eq!(container.inspect(".State.Status"), "paused");
    container.call("exec NAME true").exits(255);
    container.call("unpause NAME").ok().no_stderr();
    assert_eq!(container.cgroup_file("freezer", "freezer.state"), cgroup::frozen(false));
    container.call("exec NAME true").ok().silent();
}

fn attach(podman: &Podman) {
    let container = podman.detached("--interactive", "for i in 1 2; do read line; echo \"got $line\"; done; exit 9");
    let (stdin, mut input) = std::io::pipe().unwrap();
    let mut attached = container.command("attach NAME").stdin_from(stdin).spawn();
    input.write_all(b"one\ntwo\n").unwrap();
    attached.read_until("got one\ngot two\n");
    // The status of attach itself depends on who is faster.
    attached.wait();
    assert_eq!(container.call("wait NAME").ok().no_stderr().line(), "9");
}

fn oom(podman: &Podman) {
    let words = format!("run --rm {} --memory 16m --memory-swap 16m {BOX} tail /dev/zero", podman.options());
    podman.call(&words).exits(137);
}

fn restart_policy(podman: &Podman) {
    let container = podman.detached("--restart on-failure:2", "echo x; exit 3");
    until("its last end", || {
        (container.inspect(".State.Status") == "exited" && container.log() == "x\nx\nx\n").then_some(())
    });
}

fn healthcheck(podman: &Podman) {
    let container = podman.container();
    let words = format!(
        "run --detach --name NAME {} --health-interval disable --health-retries 1 --health-cmd",
        podman.options()
    );
    container.command(&words).arg("test -e /tmp/well").args([BOX, "sleep", "600"]).output().ok().no_stderr();
    let output = container.call("healthcheck run NAME").exits(1);
    assert_eq!((output.line(), container.inspect(".State.Health.Status")), ("unhealthy", "unhealthy".into()));
    container.sh("touch /tmp/well");
    container.call("healthcheck run NAME").ok().no_stderr();
    assert_eq!(container.inspect(".State.Health.Status"), "healthy");
}

/// Without a pid namespace nobody but the cgroup knows what the container has started.
fn left_processes(podman: &Podman) {
    let container = podman.detached("--pid host", "sleep 603 & echo started; sleep 600");
    container.says("started");
    container.call("kill NAME").ok().no_stderr();
    container.call("wait NAME").ok();
    let is_running = || {
        let commands =
            std::fs::read_dir("/proc").unwrap().filter_map(|it| std::fs::read(it.ok()?.path().join("cmdline")).ok());
        commands.into_iter().any(|it| it == b"sleep\x00603\0")
    };
    container.call("rm --force NAME").ok();
    until("the end of its processes", || (!is_running()).then_some(()));
}
