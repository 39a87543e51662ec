//! `process.scheduler`, `process.ioPriority`, `process.execCPUAffinity`, `linux.memoryPolicy` and `linux.personality`: how the
//! kernel runs the program, as it sees it and as the program does.

use std::fs;

use corten::sys::schedule::set_memory_policy;
use serde_json::{Value, json};

use crate::support::run::{Output, Run};
use crate::support::{Bundle, Container, differs, requires};
use crate::support::{cgroup, rootfs};

/// nice, static priority and policy of a process, from the fields 19, 40 and 41 of proc_pid_stat(5).
fn scheduling(stat: &str) -> (i32, u32, u32) {
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let field = |number: usize| fields[number - 3];
    (field(19).parse().unwrap(), field(40).parse().unwrap(), field(41).parse().unwrap())
}

fn exec(container: &Container, script: &str) -> String {
    container.runtime("exec").arg(&container.id).args(["sh", "-c", script]).output().ok().no_stderr().stdout
}

/// `exec --process` with the container's own process changed.
fn exec_process(container: &Container, script: &str, change: impl FnOnce(&mut Value)) -> Output {
    let mut process = container.made_from.config["process"].clone();
    process["args"] = json!(["sh", "-c", script]);
    change(&mut process);
    let file = container.path("process.json");
    fs::write(&file, process.to_string()).unwrap();
    container.runtime("exec").arg("--process").arg(&file).arg(&container.id).output()
}

#[test]
fn policies_of_everybody() {
    differs!(Runc | Crun, "Debian's are older than the property");
    for (scheduler, expected) in [
        (json!({"policy": "SCHED_OTHER", "nice": 7}), (7, 0, 0)),
        (json!({"policy": "SCHED_OTHER", "nice": -7}), (-7, 0, 0)),
        (json!({"policy": "SCHED_BATCH", "nice": 3}), (3, 0, 3)),
        (json!({"policy": "SCHED_IDLE"}), (own_nice(), 0, 5)),
    ] {
        has_scheduler(Bundle::idle(), &scheduler, expected);
    }
}

/// It stays, where the policy has none.
fn own_nice() -> i32 {
    let (nice, _, policy) = scheduling(&fs::read_to_string("/proc/self/stat").unwrap());
    assert_eq!(policy, 0, "the tests themselves are not run with a special policy");
    nice
}

/// Also from a caller who has another one.
#[test]
fn the_ordinary_policy() {
    differs!(Runc | Crun, "Debian's are older than the property");
    for scheduler in [json!({"policy": "SCHED_OTHER"}), json!({"policy": "SCHED_OTHER", "nice": 0})] {
        has_scheduler(Bundle::idle().through(["chrt", "--idle", "0"]), &scheduler, (0, 0, 0));
    }
}

#[test]
fn realtime_policies() {
    differs!(Runc | Crun, "Debian's are older than the property");
    requires!(realtime_is_taken(), "CAP_SYS_NICE, and realtime for this cgroup");
    for (scheduler, expected) in [
        (json!({"policy": "SCHED_FIFO", "priority": 11}), (own_nice(), 11, 1)),
        (json!({"policy": "SCHED_RR", "priority": 99}), (own_nice(), 99, 2)),
    ] {
        has_scheduler(with_realtime(Bundle::idle()), &scheduler, expected);
    }
}

/// Seen from outside, and by a process of exec from inside.
#[track_caller]
fn has_scheduler(bundle: Bundle, scheduler: &Value, expected: (i32, u32, u32)) {
    let container = bundle.set("/process/scheduler", scheduler.clone()).start();
    assert_eq!(scheduling(&container.proc("stat")), expected, "{scheduler}");
    let inside = exec(&container, "cat /proc/self/stat");
    assert_eq!(scheduling(&inside), expected, "{scheduler}, exec");
}

fn realtime_is_taken() -> bool {
    Run::new("chrt").args(["--fifo", "1", "true"]).output().status.success()
}

/// Linux has reserved its number, and nothing else.
#[test]
fn the_policy_that_nobody_has() {
    differs!(Runc | Crun, "Debian's are older than the property");
    let bundle = Bundle::idle().set("/process/scheduler", json!({"policy": "SCHED_ISO"}));
    bundle.create_fails().names("process.scheduler.policy").because("SCHED_ISO");
}

/// A v1 group has as much realtime as its parent gives it, and that has nothing at first.
fn with_realtime(bundle: Bundle) -> Bundle {
    let Some(own) = cgroup::directory_of("cpu", &bundle.cgroup) else { return bundle };
    let parent = own.parent().unwrap();
    if !parent.parent().unwrap().join("cpu.rt_runtime_us").exists() {
        return bundle;
    }
    rootfs::directory(parent);
    fs::write(parent.join("cpu.rt_runtime_us"), "100000").unwrap();
    bundle.set("/linux/resources/cpu/realtimeRuntime", 10_000)
}

#[test]
fn the_deadline_policy() {
    differs!(Runc | Crun, "Debian's are older than the property");
    let scheduler = json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000, "period": 20_000_000,
        "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    requires!(deadlines_are_taken(), "CAP_SYS_NICE and a kernel that takes SCHED_DEADLINE from this cpuset");
    let container = Bundle::idle().set("/process/scheduler", scheduler).start();
    assert_eq!(scheduling(&container.proc("stat")).2, 6);
}

fn deadlines_are_taken() -> bool {
    let arguments = ["--deadline", "--sched-runtime", "1000000", "--sched-deadline", "10000000", "--sched-period"];
    Run::new("chrt").args(arguments).args(["20000000", "0", "true"]).output().status.success()
}

#[test]
fn children_start_anew() {
    differs!(Runc | Crun, "Debian's are older than the property");
    // sched(7): a nice value below 0 does not outlive a fork then.
    let scheduler = json!({"policy": "SCHED_OTHER", "nice": -5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    let bundle = Bundle::sh("cat /proc/$$/stat; cat /proc/self/stat; :").set("/process/scheduler", scheduler);
    let printed = bundle.prints();
    let nice: Vec<i32> = printed.lines().map(|line| scheduling(line).0).collect();
    assert_eq!(nice, [-5, 0]);
}

#[test]
fn a_scheduler_of_its_own_for_exec() {
    differs!(Runc | Crun, "Debian's are older than the property");
    let container = Bundle::idle().set("/process/scheduler/policy", "SCHED_BATCH").start();
    let output = exec_process(&container, "cat /proc/self/stat", |process| {
        process["scheduler"] = json!({"policy": "SCHED_IDLE"});
    });
    assert_eq!(scheduling(&output.ok().no_stderr().stdout).2, 5);
}

#[test]
fn a_scheduler_that_the_kernel_refuses() {
    differs!(Runc | Crun, "Debian's are older than the property");
    // The highest bit is the kernel's own.
    let patient = json!({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1_u64 << 63});
    let bundle = Bundle::idle().set("/process/scheduler", patient);
    bundle.create_fails().names("process.scheduler").says("sched_setattr(SCHED_DEADLINE)").ends("invalid argument");
}

#[test]
fn io_priorities() {
    differs!(Runc, "Debian's is older than the property");
    differs!(Crun, "Debian's does nothing with it");
    for (class, priority, expected) in [
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6\n"),
        ("IOPRIO_CLASS_BE", 0, "best-effort: prio 0\n"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let bundle = Bundle::idle().set("/process/ioPriority", json!({"class": class, "priority": priority}));
        let container = bundle.start();
        let outside =
            Run::new("busybox").args(["ionice", "-p", container.pid.to_string().as_str()]).output().ok().stdout;
        assert!(outside.starts_with(expected), "{class}: {outside:?}");
        let inside = exec(&container, "ionice -p $$");
        assert!(inside.starts_with(expected), "{class}, exec: {inside:?}");
    }
}

#[test]
fn exec_is_led_to_its_cpus() {
    differs!(Runc | Crun, "Debian's are older than the property");
    requires!(cpus() > 1, "two CPUs");
    let script = "grep Cpus_allowed_list /proc/self/status | cut -f 2";
    for (affinity, expected) in [
        (json!({"initial": "1"}), "1\n"),
        (json!({"initial": "0", "final": "1"}), "1\n"),
        (json!({"final": "0"}), "0\n"),
        (json!({"final": "1, 1"}), "1\n"),
        (json!({"initial": "1", "final": "0, 1"}), "0-1\n"),
    ] {
        let bundle = Bundle::idle().set("/process/execCPUAffinity", affinity.clone());
        let container = bundle.start();
        let first = container.proc("status");
        let all =
            fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus").unwrap_or_else(|_| format!("0-{}", cpus() - 1));
        assert!(first.contains(&format!("Cpus_allowed_list:\t{}\n", all.trim())), "not for the first process: {first}");
        assert_eq!(exec(&container, script), expected, "{affinity}");
        let own = exec_process(&container, script, |process| process["execCPUAffinity"] = json!({"final": "1"}));
        assert_eq!(own.ok().no_stderr().stdout, "1\n", "the process's own");
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

#[test]
fn exec_on_cpus_that_are_not_there() {
    differs!(Runc | Crun, "Debian's are older than the property");
    for (affinity, property) in [
        (json!({"initial": "4000"}), "process.execCPUAffinity.initial"),
        (json!({"final": "4000"}), "process.execCPUAffinity.final"),
    ] {
        let container = Bundle::idle().set("/process/execCPUAffinity", affinity).start();
        let output = container.runtime("exec").arg(&container.id).arg("true").output().exits(255);
        let text = format!("{property}: sched_setaffinity(\"4000\"): invalid argument");
        assert!(output.stderr.contains(&text), "{:?}", output.stderr);
        assert_eq!(container.status(), "running");
    }
}

#[test]
fn a_narrow_caller_does_not_narrow_the_program() {
    requires!(cpus() > 1, "two CPUs");
    differs!(Runc, "Debian's is older than that");
    let bundle = Bundle::sh("grep Cpus_allowed_list /proc/self/status").through(["taskset", "1"]);
    assert_ne!(bundle.prints(), "Cpus_allowed_list:\t0\n");
}

#[test]
fn memory_policies() {
    differs!(Runc | Crun, "Debian's are older than the property");
    requires!(fs::exists("/proc/self/numa_maps").unwrap(), "a kernel with memory nodes");
    for (policy, expected) in [
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "bind=static:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}), "interleave=relative:0"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), "prefer (many):0"),
    ] {
        has_memory_policy(&policy, expected);
    }
}

#[test]
fn memory_policies_of_later_kernels() {
    differs!(Runc | Crun, "Debian's are older than the property");
    requires!(weighted_interleaving_is_known(), "a kernel with memory nodes, 6.9 or later");
    has_memory_policy(&json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}), "weighted interleave:0");
    // That one is older, but was not shown.
    let balanced = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]});
    has_memory_policy(&balanced, "bind=balancing:0");
}

fn weighted_interleaving_is_known() -> bool {
    const WEIGHTED_INTERLEAVE: u32 = 6;
    std::thread::spawn(|| set_memory_policy(WEIGHTED_INTERLEAVE, &[1]).is_ok()).join().unwrap()
}

/// From a caller who has another one: of the program, and of one by exec.
#[track_caller]
fn has_memory_policy(policy: &Value, expected: &str) {
    let container = with_interleaved_memory(|| Bundle::idle().set("/linux/memoryPolicy", policy.clone()).start());
    let of_exec = with_interleaved_memory(|| exec(&container, "cat /proc/self/numa_maps"));
    for maps in [container.proc("numa_maps"), of_exec] {
        let line = maps.lines().find(|line| line.contains("stack") || line.contains("heap")).unwrap_or_default();
        assert!(line.split_once(' ').is_some_and(|(_, rest)| rest.starts_with(expected)), "{policy}: {maps}");
    }
}

/// A policy is a thread's, and those of its children.
fn with_interleaved_memory<T>(act: impl FnOnce() -> T) -> T {
    const DEFAULT: u32 = 0;
    const INTERLEAVE: u32 = 3;
    set_memory_policy(INTERLEAVE, &[1]).unwrap();
    let result = act();
    set_memory_policy(DEFAULT, &[]).unwrap();
    result
}

#[test]
fn a_memory_policy_that_is_not_given_is_the_callers() {
    requires!(fs::exists("/proc/self/numa_maps").unwrap(), "a kernel with memory nodes");
    let container = with_interleaved_memory(|| Bundle::idle().start());
    assert!(container.proc("numa_maps").contains(" interleave:0 "), "{}", container.proc("numa_maps"));
}

#[test]
fn a_memory_node_that_is_not_there() {
    differs!(Runc | Crun, "Debian's are older than the property");
    requires!(fs::exists("/proc/self/numa_maps").unwrap(), "a kernel with memory nodes");
    let bundle = Bundle::idle().set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "900"}));
    bundle.create_fails().names("linux.memoryPolicy").says("set_mempolicy(MPOL_BIND)").ends("invalid argument");
}

#[test]
fn a_32_bit_personality() {
    differs!(Runc, "Debian's is older than the property");
    let machine = Run::new("uname").arg("-m").output().ok().stdout;
    requires!(machine == "x86_64\n", "a machine whose 32-bit name is known here");
    let container = Bundle::idle().set("/linux/personality", json!({"domain": "LINUX32"})).start();
    assert_eq!(container.proc("personality").trim_end(), "00000008");
    differs!(Crun, "a process of exec has it not");
    assert_eq!(exec(&container, "uname -m"), "i686\n");
    let bundle = Bundle::sh("uname -m").set("/linux/personality", json!({"domain": "LINUX"}));
    assert_eq!(bundle.through(["setarch", "i686"]).prints(), "x86_64\n");
}
