//! A container's life: create, start, stop, and what comes between.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Docker;
use crate::support::case::{Case, cases};
use crate::support::cgroup;
use crate::support::image::BOX;
use crate::support::requires;
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Docker>> {
    cases![
        create_and_start,
        start_attached,
        start_again,
        stop,
        stop_of_one_that_does_not_listen,
        restart,
        kill,
        kill_with_signals,
        kill_of_a_stopped_one,
        pause,
        kill_of_a_paused_one,
        attach,
        wait,
        remove,
        restart_on_failure,
        restart_always,
        update_limits,
        update_refused,
        rename,
    ]
}

/// Says when it is ready, and ends with 7 when it is told to.
const LISTENS: &str = "trap 'echo end; exit 7' TERM; echo ready; while :; do sleep 0.1; done";

fn create_and_start(docker: &Docker) {
    let container = docker.container();
    let id = container.call(&format!("create --name NAME {BOX} sleep 600")).ok();
    assert_eq!(id.line().len(), 64);
    assert_eq!((container.inspect(".State.Status"), container.pid()), ("created".to_owned(), 0));
    let output = container.call("start NAME").ok();
    assert_eq!((output.line(), output.stderr.as_str()), (container.name.as_str(), ""));
    assert_eq!(container.inspect(".State.Status"), "running");
    // Once more is no error.
    container.call("start NAME").ok();
}

fn start_attached(docker: &Docker) {
    let container = docker.container();
    container.call(&format!("create --interactive --name NAME {BOX} sh")).ok();
    let output = container.command("start --attach --interactive NAME").stdin("echo hello; exit 5\n").output().exits(5);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("hello\n", ""));
}

fn start_again(docker: &Docker) {
    let container = docker.container();
    let words = format!("run --name NAME {BOX} sh -c");
    container.command(&words).arg("echo x >>/file; exit $(wc -l </file)").output().exits(1);
    container.call("start --attach NAME").exits(2);
    container.call("start --attach NAME").exits(3);
}

fn stop(docker: &Docker) {
    let container = docker.detached("", LISTENS);
    container.says("ready");
    let output = container.call("stop NAME").ok();
    assert_eq!(output.line(), container.name);
    assert_eq!(container.log(), "ready\nend\n");
    let state = |field: &str| container.inspect(&format!(".State.{field}"));
    assert_eq!((state("Status"), state("ExitCode"), state("Pid")), ("exited".into(), "7".into(), "0".into()));
    // Once more is no error.
    container.call("stop NAME").ok();
}

fn stop_of_one_that_does_not_listen(docker: &Docker) {
    let container = docker.detached("", "trap '' TERM; sleep 600");
    let begin = Instant::now();
    container.call("stop --time 1 NAME").ok();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(container.inspect(".State.ExitCode"), "137");
}

fn restart(docker: &Docker) {
    let container = docker.detached("", LISTENS);
    container.says("ready");
    let before = container.pid();
    container.call("restart NAME").ok();
    until("both starts and one end", || (container.log() == "ready\nend\nready\n").then_some(()));
    assert_ne!(container.pid(), before);
    assert_eq!(container.inspect(".State.Status"), "running");
}

fn kill(docker: &Docker) {
    let container = docker.asleep("");
    let pid = container.pid();
    container.call("kill NAME").ok();
    assert_eq!(container.call("wait NAME").ok().line(), "137");
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
}

fn kill_with_signals(docker: &Docker) {
    let container = docker.detached(
        "",
        "for it in HUP USR1 USR2; do trap \"echo $it\" $it; done; echo ready; while :; do sleep 0.1; done",
    );
    container.says("ready");
    for signal in ["HUP", "SIGUSR1", "12"] {
        container.call(&format!("kill --signal {signal} NAME")).ok();
    }
    until("three signals", || (container.log().lines().count() == 4).then_some(()));
    let log = container.log();
    let mut seen: Vec<_> = log.lines().skip(1).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["HUP", "USR1", "USR2"]);
    let output = container.call("kill --signal NOTHING NAME").exits(1);
    assert!(output.stderr.contains("nvalid signal: NOTHING"), "{}", output.stderr);
}

fn kill_of_a_stopped_one(docker: &Docker) {
    let container = docker.detached("", "exit 0");
    container.call("wait NAME").ok();
    let output = container.call("kill NAME").exits(1);
    assert!(output.stderr.contains("is not running"), "{}", output.stderr);
}

fn pause(docker: &Docker) {
    let container = docker.asleep("");
    container.call("pause NAME").ok();
    assert_eq!(container.cgroup_file("freezer", "freezer.state"), cgroup::frozen(true));
    let shown = docker.call(&format!("ps --format {{{{.Status}}}} --filter name={}", container.name)).ok();
    assert!(shown.line().ends_with("(Paused)"), "{}", shown.stdout);
    let output = container.call("exec NAME true").exits(1);
    assert!(output.stderr.contains("is paused, unpause the container before exec"), "{}", output.stderr);
    let output = container.call("pause NAME").exits(1);
    assert!(output.stderr.contains("is already paused"), "{}", output.stderr);
    container.call("unpause NAME").ok();
    assert_eq!(container.cgroup_file("freezer", "freezer.state"), cgroup::frozen(false));
    container.call("exec NAME true").ok();
    let output = container.call("unpause NAME").exits(1);
    assert!(output.stderr.contains("is not paused"), "{}", output.stderr);
}

fn kill_of_a_paused_one(docker: &Docker) {
    let container = docker.asleep("");
    container.call("pause NAME").ok();
    container.call("kill NAME").ok();
    assert_eq!(container.call("wait NAME").ok().line(), "137");
    let second = docker.asleep("");
    second.call("pause NAME").ok();
    second.call("rm --force NAME").ok();
}

fn attach(docker: &Docker) {
    let container = docker.detached("--interactive", "for i in 1 2; do read line; echo \"got $line\"; done; exit 9");
    // Docker detaches who has no more to say.
    let (stdin, mut input) = std::io::pipe().unwrap();
    let mut attached = container.command("attach NAME").stdin_from(stdin).spawn();
    input.write_all(b"one\ntwo\n").unwrap();
    attached.read_until("got one\ngot two\n");
    attached.wait().exits(9);
}

fn wait(docker: &Docker) {
    let container = docker.detached("", "sleep 0.5; exit 11");
    assert_eq!(container.call("wait NAME").ok().line(), "11");
    assert_eq!(container.call("wait NAME").ok().line(), "11");
}

fn remove(docker: &Docker) {
    let container = docker.asleep("");
    let (pid, cgroup) = (container.pid(), docker.cgroup_path(&container.inspect(".Id")));
    let output = container.call("rm NAME").exits(1);
    // Docker's words, older and newer ones.
    let reasons = ["You cannot remove a running container", "container is running: stop the container before removing"];
    assert!(reasons.iter().any(|it| output.stderr.contains(it)), "{}", output.stderr);
    container.call("rm --force NAME").ok();
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    for directory in cgroup::directories(&cgroup) {
        assert!(!directory.exists(), "{directory:?}");
    }
}

fn restart_on_failure(docker: &Docker) {
    let container = docker.detached("--restart on-failure:2", "echo x; exit 3");
    until("its last end", || (container.inspect(".State.Status") == "exited").then_some(()));
    assert_eq!((container.inspect(".RestartCount"), container.log()), ("2".into(), "x\nx\nx\n".into()));
}

fn restart_always(docker: &Docker) {
    let container = docker.detached("--restart always", "echo x; sleep 600");
    container.says("x");
    kill_process(Pid::from_raw(container.pid()).unwrap(), Signal::KILL).unwrap();
    until("a second start", || (container.log() == "x\nx\n").then_some(()));
    assert_eq!(container.inspect(".RestartCount"), "1");
    // Whom the user stops stays so.
    container.call("kill NAME").ok();
    assert_eq!(container.inspect(".State.Status"), "exited");
}

fn update_limits(docker: &Docker) {
    let container = docker.asleep("--memory 64m --memory-swap 64m");
    let (file, ours) = (|controller: &str, name: &str| container.cgroup_file(controller, name), &container);
    ours.call(
        "update --memory 32m --memory-swap 48m --cpu-shares 300 --cpus 0.25 --cpuset-cpus 1 --pids-limit 77 NAME",
    )
    .ok();
    assert_eq!(file("memory", "memory.limit_in_bytes"), "33554432");
    match cgroup::is_v2() {
        true => assert_eq!(file("memory", "memory.swap.max"), "16777216"),
        false => assert_eq!(file("memory", "memory.memsw.limit_in_bytes"), "50331648"),
    }
    assert_eq!(file("cpu", "cpu.shares"), cgroup::shares(300));
    assert_eq!(file("cpu", "cpu.cfs_quota_us"), "25000");
    assert_eq!(file("cpuset", "cpuset.cpus"), "1");
    assert_eq!(file("pids", "pids.max"), "77");
    ours.call("update --pids-limit -1 NAME").ok();
    assert_eq!((file("pids", "pids.max"), file("cpu", "cpu.shares")), ("max".into(), cgroup::shares(300)));
}

/// What is in use cannot be taken away, and nothing changes.
fn update_refused(docker: &Docker) {
    requires!(!cgroup::is_v2(), "cgroup v1: v2 takes memory away by killing");
    let container = docker.asleep("--memory 64m --cpu-shares 300");
    container.sh("dd if=/dev/zero of=/dev/shm/file bs=1M count=20 2>/dev/null");
    let output = container.call("update --memory 8m --cpu-shares 400 NAME").exits(1);
    let reasons = ["unable to set memory limit to 8388608", "memory.limit_in_bytes"];
    assert!(reasons.iter().any(|it| output.stderr.contains(it)), "{}", output.stderr);
    assert_eq!(container.cgroup_file("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(container.cgroup_file("cpu", "cpu.shares"), cgroup::shares(300));
}

fn rename(docker: &Docker) {
    let mut container = docker.asleep("");
    let new = docker.name();
    container.call(&format!("rename NAME {new}")).ok();
    container.name = new;
    assert_eq!(container.sh("echo hello"), "hello\n");
}
