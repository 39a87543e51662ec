//! What `ctr tasks` does to a container that runs.

use std::fs;

use super::{Containerd, runtime, unhurried};
use crate::support::case::{Case, cases};
use crate::support::cgroup;
use crate::support::image::BOX;
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![
        start_again,
        pause,
        kill,
        kill_of_a_paused_one,
        kill_of_all,
        kill_of_a_stopped_one,
        delete,
        processes,
        metrics,
        many
    ]
}

fn start_again(containerd: &Containerd) {
    let container = containerd.detached("", "exit 4");
    until("its end", || (container.task()?.1 == "STOPPED").then_some(()));
    let output = container.call("tasks delete ID").ok();
    assert!(output.stderr.contains("exit with non-zero exit code 4"), "{}", output.stderr);
    container.call("tasks start ID").exits(4);
}

fn pause(containerd: &Containerd) {
    let container = containerd.asleep("");
    container.call("tasks pause ID").ok().silent();
    assert_eq!(container.task().unwrap().1, "PAUSED");
    assert_eq!(container.cgroup_file("freezer", "freezer.state"), cgroup::frozen(true));
    let output = container.call("tasks exec --exec-id x ID true").exits(1);
    assert!(output.stderr.contains("cannot exec in a paused state"), "{}", output.stderr);
    container.call("tasks resume ID").ok().silent();
    assert_eq!(container.task().unwrap().1, "RUNNING");
    assert_eq!(container.cgroup_file("freezer", "freezer.state"), cgroup::frozen(false));
    let output = container.call("tasks resume ID").exits(1);
    assert!(output.stderr.contains("cannot resume a running"), "{}", output.stderr);
}

fn kill(containerd: &Containerd) {
    let container = containerd.container();
    let words = format!("run {} {BOX} ID sh -c", runtime());
    let listens = "trap 'echo end; exit 7' TERM; trap 'echo hup' HUP; echo ready; while :; do sleep 0.1; done";
    let mut running = container.command(&words).arg(listens).spawn();
    running.read_until("ready\n");
    container.call("tasks kill --signal SIGHUP ID").ok().silent();
    running.read_until("hup\n");
    // The default is SIGTERM.
    container.call("tasks kill ID").ok().silent();
    running.read_until("end\n");
    running.wait().exits(7);
    let output = container.call("tasks kill --signal NOTHING ID").exits(1);
    assert!(output.stderr.contains("invalid signal: NOTHING"), "{}", output.stderr);
}

fn kill_of_a_paused_one(containerd: &Containerd) {
    let container = containerd.asleep("");
    let (pid, _) = container.task().unwrap();
    container.call("tasks pause ID").ok();
    container.call("tasks kill --signal SIGKILL ID").ok();
    until("its end", || (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(()));
    until("its end as containerd sees it", || (container.task()?.1 == "STOPPED").then_some(()));
}

/// Without a pid namespace nobody ends with the first process.
fn kill_of_all(containerd: &Containerd) {
    let pid = fs::read_link("/proc/self/ns/pid").unwrap();
    let shared = "--with-ns pid:/proc/self/ns/pid";
    let script = "sleep 600 & sleep 600 & readlink /proc/self/ns/pid >/dev/null; wait";
    let container = containerd.detached(shared, script);
    let group = cgroup::directory("pids", &cgroup::of_process(container.task().unwrap().0, "pids"));
    let procs = || fs::read_to_string(group.join("cgroup.procs")).unwrap().lines().count();
    until("three processes", || (procs() == 3).then_some(()));
    let (first, _) = container.task().unwrap();
    assert_eq!(fs::read_link(format!("/proc/{first}/ns/pid")).unwrap(), pid);
    container.call("tasks kill --all --signal SIGKILL ID").ok();
    until("its end", || (container.task()?.1 == "STOPPED").then_some(()));
    until("that of the others", || (procs() == 0).then_some(()));
}

fn kill_of_a_stopped_one(containerd: &Containerd) {
    let container = containerd.detached("", "exit 0");
    until("its end", || (container.task()?.1 == "STOPPED").then_some(()));
    let output = container.call("tasks kill ID").exits(1);
    assert!(output.stderr.contains("process already finished: not found"), "{}", output.stderr);
}

fn delete(containerd: &Containerd) {
    let container = containerd.asleep("");
    let (pid, _) = container.task().unwrap();
    let output = container.call("tasks delete ID").exits(1);
    assert!(
        output.stderr.contains("task must be stopped before deletion: running: failed precondition"),
        "{}",
        output.stderr
    );
    let output = container.call("tasks delete --force ID").ok();
    assert!(output.stderr.contains("exit with non-zero exit code 137"), "{}", output.stderr);
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    for directory in cgroup::directories(&format!("{}/{}", containerd.cgroup_parent(), container.id)) {
        assert!(!directory.exists(), "{directory:?}");
    }
    assert_eq!(container.task(), None);
}

fn processes(containerd: &Containerd) {
    let container = containerd.detached("", "sleep 600 & wait");
    let (pid, _) = container.task().unwrap();
    let listed = || container.call("tasks ps ID").ok().stdout;
    until("two processes", || (listed().lines().count() == 3).then_some(()));
    let of_first = |line: &str| line.split_whitespace().next() == Some(&pid.to_string());
    assert_eq!(listed().lines().filter(|line| of_first(line)).count(), 1, "{}", listed());
}

fn metrics(containerd: &Containerd) {
    let container = containerd.asleep("--memory-limit 67108864");
    container.sh("dd if=/dev/zero of=/dev/shm/file bs=1M count=8 2>/dev/null");
    let metrics = container.call("tasks metrics ID").ok().stdout;
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    let [usage, limit, cpu] = match cgroup::is_v2() {
        true => ["memory.usage ", "memory.usage_limit", "cpu.usage_usec"],
        false => ["memory.usage_in_bytes", "memory.limit_in_bytes", "cpuacct.usage"],
    };
    assert!(value(usage) > 8 << 20);
    assert_eq!(value(limit), 64 << 20);
    assert!(value(cpu) > 0);
    assert_eq!(value("pids.current"), 1);
}

fn many(containerd: &Containerd) {
    let scripts = (0..6).map(|status| (status, unhurried(&format!("echo {status}; exit {status}"))));
    let running: Vec<_> = scripts
        .map(|(status, script)| {
            let words = format!("run --rm {} {BOX} {} sh -c", runtime(), containerd.name());
            (status, containerd.command(&words).arg(script).spawn())
        })
        .collect();
    for (status, run) in running {
        assert_eq!(run.wait().exits(status).stdout, format!("{status}\n"));
    }
}
