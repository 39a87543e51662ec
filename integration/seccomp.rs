//! `linux.seccomp`: what a program finds that is blocked, and who is asked about what is not decided.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use serde_json::{Value, json};

use crate::phrases;
use crate::support::agent::{Agent, Answer};
use crate::support::refusal::Refusal;
use crate::support::{Bundle, differs, probe, requires};

/// One rule.
fn rule(names: &[&str], action: &str) -> Value {
    json!({"names": names, "action": format!("SCMP_ACT_{action}")})
}

fn with(mut rule: Value, key: &str, value: impl Into<Value>) -> Value {
    rule[key] = value.into();
    rule
}

/// A rule that holds for one argument. `two` is for `MASKED_EQ`.
fn when(rule: Value, conditions: &[(u32, &str, u64, u64)]) -> Value {
    let condition = |(index, operator, value, two): &(u32, &str, u64, u64)| json!({"index": index, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{operator}")});
    with(rule, "args", conditions.iter().map(condition).collect::<Vec<_>>())
}

/// A bundle whose profile allows what no rule is about.
fn allowing(bundle: Bundle, rules: impl Into<Value>) -> Bundle {
    bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules.into()}))
}

// ---- what a program finds ----

/// A call as the probe's words, and what comes of it.
type Row = (String, &'static str);

fn call(number: i64, arguments: &str, expected: &'static str) -> Row {
    (format!("{number} {arguments}"), expected)
}

/// Calls that no program of ours makes, each with another action.
fn of_every_action() -> (Value, Vec<Row>) {
    let errno = |name: &str, errno: i32| with(rule(&[name], "ERRNO"), "errnoRet", errno);
    let rules = json!([
        errno("acct", 5),
        rule(&["swapoff", "no_such_call", "socketcall"], "ERRNO"),
        rule(&["vhangup"], "KILL"),
        rule(&["quotactl"], "KILL_THREAD"),
        rule(&["settimeofday"], "KILL_PROCESS"),
        rule(&["pivot_root"], "TRAP"),
        with(rule(&["swapon"], "TRACE"), "errnoRet", 7),
        rule(&["sysinfo"], "LOG"),
        // Two conditions on one argument: each is enough.
        when(errno("getpriority", 77), &[(0, "EQ", 1, 0), (0, "EQ", 2, 0)]),
        // On two: both must hold.
        when(errno("mincore", 78), &[(0, "EQ", 1, 0), (1, "NE", 2, 0)]),
        when(errno("personality", 79), &[(0, "MASKED_EQ", 0xff, 0x08)]),
        when(errno("getpgid", 80), &[(0, "GT", 1000, 0)]),
        when(errno("getsid", 81), &[(0, "GE", 1000, 0)]),
        when(errno("sched_get_priority_max", 82), &[(0, "LT", 2, 0)]),
        when(errno("sched_get_priority_min", 83), &[(0, "LE", 1, 0)]),
        // All 64 bits are looked at.
        when(errno("alarm", 84), &[(0, "EQ", 1 << 40, 0)]),
    ]);
    let rows = vec![
        call(libc::SYS_acct, "0", "errno 5"),
        call(libc::SYS_swapoff, "0", "errno 1"),
        call(libc::SYS_vhangup, "", "signal 31"),
        call(libc::SYS_quotactl, "0 0 0 0", "signal 31"),
        call(libc::SYS_settimeofday, "0 0", "signal 31"),
        call(libc::SYS_pivot_root, "0 0", "signal 31"),
        // Nobody traces.
        call(libc::SYS_swapon, "0", "errno 38"),
        // Carried out, and told to the log: EFAULT is the call's own answer.
        call(libc::SYS_sysinfo, "0", "errno 14"),
        call(libc::SYS_getpriority, "0 0", "ok"),
        call(libc::SYS_getpriority, "1 0", "errno 77"),
        call(libc::SYS_getpriority, "2 0", "errno 77"),
        call(libc::SYS_mincore, "1 1 0", "errno 78"),
        call(libc::SYS_mincore, "1 2 0", "errno 22"),
        call(libc::SYS_mincore, "0 1 0", "errno 12"),
        call(libc::SYS_personality, "0xffff08", "errno 79"),
        call(libc::SYS_personality, "0", "ok"),
        call(libc::SYS_getpgid, "1000", "errno 3"),
        call(libc::SYS_getpgid, "1001", "errno 80"),
        call(libc::SYS_getsid, "999", "errno 3"),
        call(libc::SYS_getsid, "1000", "errno 81"),
        call(libc::SYS_sched_get_priority_max, "1", "errno 82"),
        call(libc::SYS_sched_get_priority_max, "2", "ok"),
        call(libc::SYS_sched_get_priority_min, "1", "errno 83"),
        call(libc::SYS_sched_get_priority_min, "2", "ok"),
        call(libc::SYS_alarm, "0", "ok"),
        call(libc::SYS_alarm, "0x10000000000", "errno 84"),
    ];
    (rules, rows)
}

fn script(rows: &[Row]) -> String {
    rows.iter().map(|(call, _)| format!("probe {call}\n")).collect()
}

#[track_caller]
fn assert_found(rows: &[Row], printed: &str) {
    let printed: Vec<_> = printed.lines().collect();
    assert_eq!(printed.len(), rows.len(), "{printed:?}");
    for ((call, expected), printed) in rows.iter().zip(printed) {
        assert_eq!(printed, *expected, "{call}");
    }
}

#[test]
fn every_action_and_comparison_shows_inside() {
    requires!(probe::exists(), "gcc");
    let (rules, rows) = of_every_action();
    // The filter is loaded at another point without it.
    for no_new_privileges in [true, false] {
        let bundle = allowing(Bundle::sh(&script(&rows)), rules.clone());
        let bundle = probe::put_into(bundle).set("/process/noNewPrivileges", no_new_privileges);
        assert_found(&rows, &bundle.prints());
    }
}

#[test]
fn a_further_process_has_the_same_filter() {
    requires!(probe::exists(), "gcc");
    let (rules, rows) = of_every_action();
    let container = probe::put_into(allowing(Bundle::idle(), rules)).start();
    let exec = container.runtime("exec").arg(&container.id).args(["sh", "-c", &script(&rows)]).output();
    assert_found(&rows, &exec.ok().no_stderr().stdout);
}

#[test]
fn there_is_one_filter_and_no_way_around_it() {
    let script = "grep Seccomp /proc/self/status";
    let printed = allowing(Bundle::sh(script), json!([rule(&["acct"], "ERRNO")])).prints();
    assert_eq!(printed, "Seccomp:\t2\nSeccomp_filters:\t1\n");
    assert_eq!(Bundle::sh(script).prints(), "Seccomp:\t0\nSeccomp_filters:\t0\n");
}

/// Docker's own profile, with another answer to what it does not name.
#[test]
fn a_profile_that_lists_what_is_allowed() {
    differs!(Crun, "newer calls get the default action");
    requires!(probe::exists(), "gcc");
    let docker: Value = serde_json::from_str(include_str!("../src/config/testdata/docker.json")).unwrap();
    let rows = vec![
        call(libc::SYS_getppid, "", "ok"),
        call(libc::SYS_acct, "0", "errno 99"),
        call(libc::SYS_clone3, "0 0", "errno 38"),
        call(libc::SYS_socket, "1 1 0", "ok"),
        call(libc::SYS_socket, "40 1 0", "errno 99"),
        call(libc::SYS_personality, "8", "ok"),
        call(libc::SYS_personality, "9", "errno 99"),
        // Newer than anything that the profile names: for a C library it does not exist.
        call(1000, "", "errno 38"),
    ];
    let bundle = Bundle::sh(&script(&rows)).set("/linux/seccomp", docker["linux"]["seccomp"].clone());
    let bundle = probe::put_into(bundle).set("/linux/seccomp/defaultErrnoRet", 99);
    assert_found(&rows, &bundle.prints());
}

#[test]
fn other_architectures_are_killed_unless_they_are_listed() {
    requires!(probe::exists(), "gcc");
    requires!(cfg!(target_arch = "x86_64"), "x86_64");
    let x32 = "0x40000027";
    // getpid of i386 is 20. Where the kernel has no such programs, that cannot be seen.
    let rows = |i386: bool, of_i386, of_x32| {
        let mut rows = vec![(x32.to_owned(), of_x32)];
        rows.extend(i386.then(|| ("32 20".to_owned(), of_i386)));
        rows
    };
    let i386 = probe::says(&["32", "20"]) == "ok";
    let found = |architectures: &[&str], rows: &[Row]| {
        let bundle = allowing(Bundle::sh(&script(rows)), json!([rule(&["acct"], "ERRNO")]));
        let bundle = probe::put_into(bundle).set("/linux/seccomp/architectures", json!(architectures));
        assert_found(rows, &bundle.prints());
    };
    found(&["SCMP_ARCH_X86_64"], &rows(i386, "signal 31", "signal 31"));
    let of_kernel = if probe::says(&[x32]) == "ok" { "ok" } else { "errno 38" };
    found(&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], &rows(i386, "ok", of_kernel));
    // Of another kind of machine: nobody here can make its calls.
    found(&["SCMP_ARCH_AARCH64"], &rows(i386, "signal 31", "signal 31"));
}

#[test]
fn flags_are_taken() {
    differs!(Runc, "1.1.5 knows no flags");
    for flags in [json!([]), json!(["SECCOMP_FILTER_FLAG_LOG"]), json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])] {
        let bundle = allowing(Bundle::sh("echo ok"), json!([rule(&["acct"], "ERRNO")]));
        assert_eq!(bundle.set("/linux/seccomp/flags", flags).prints(), "ok\n");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    differs!(Runc | Crun, "ignores it, or has other words");
    let errno = with(rule(&["acct"], "KILL"), "errnoRet", 1);
    let rows = [
        (json!([errno]), "linux.seccomp.syscalls[0].errnoRet", "SCMP_ACT_KILL takes no errno"),
        (json!([rule(&["acct"], "NOTIFY")]), "linux.seccomp.listenerPath", "required by the action SCMP_ACT_NOTIFY"),
        (json!([rule(&[], "LOG")]), "linux.seccomp.syscalls[0].names", "is empty"),
        (json!([when(rule(&["acct"], "LOG"), &[(6, "EQ", 0, 0)])]), "syscalls[0].args[0].index", "out of range"),
    ];
    for (rules, property, cause) in rows {
        allowing(Bundle::new(), rules).create_fails().names(property).because(cause);
    }
}

/// Calls that are needed until the program runs.
#[test]
fn a_filter_that_leaves_nothing_to_say_is_named() {
    differs!(Runc | Crun, "have other words, or none");
    for action in ["ERRNO", "KILL_PROCESS", "TRAP"] {
        let refusal = allowing(Bundle::new(), json!([rule(&["write"], action)])).create_fails();
        refusal.because("linux.seccomp must allow write, read and execve");
    }
    let container = allowing(Bundle::new(), json!([rule(&["execve"], "ERRNO")])).create();
    container.refuses("start", &[]).names("process.args[0]").ends("operation not permitted");
}

// ---- SCMP_ACT_NOTIFY ----

/// A bundle whose filter asks an agent.
fn notifying(bundle: Bundle, names: &[&str]) -> Bundle {
    let path = bundle.path("agent.sock");
    let bundle = allowing(bundle, json!([rule(names, "NOTIFY")]));
    bundle.set("/linux/seccomp/listenerPath", path.to_str().unwrap())
}

fn agent(bundle: &Bundle, answers: fn(i64) -> Answer) -> Agent {
    Agent::listen(&bundle.path("agent.sock"), answers)
}

#[test]
fn an_agent_answers_for_the_kernel() {
    differs!(Crun, "connects before there is anything to send, and once more");
    let bundle = notifying(Bundle::sh("mkdir /tmp/dir; echo $?"), &["mkdir"]);
    let bundle = bundle.set("/linux/seccomp/listenerMetadata", "to be passed on");
    let bundle = bundle.set("/annotations", json!({"org.example": "value"}));
    let agent = agent(&bundle, |_| Answer::Errno(libc::ENOMEDIUM));
    let container = bundle.create();
    let mut message = agent.messages(1).remove(0);
    assert!(message.as_object_mut().unwrap().remove("ociVersion").unwrap().is_string(), "{message}");
    assert!(message["state"].as_object_mut().unwrap().remove("ociVersion").unwrap().is_string(), "{message}");
    let state = json!({"id": container.id, "status": "creating", "pid": container.pid, "bundle": container.bundle(),
                       "annotations": {"org.example": "value"}});
    let expected = json!({"fds": ["seccompFd"], "pid": container.pid, "metadata": "to be passed on", "state": state});
    assert_eq!(message, expected);
    container.start();
    container.wait();
    assert_eq!(container.stdout(), "1\n");
    assert_eq!(container.stderr(), "mkdir: can't create directory '/tmp/dir': No medium found\n");
    assert_eq!((agent.calls(), agent.messages(1).len()), (vec![libc::SYS_mkdir], 1));
}

#[test]
fn a_further_process_has_a_listener_of_its_own() {
    differs!(Runc | Crun, "does not come back");
    let bundle = notifying(Bundle::idle(), &["mkdir"]);
    let agent = agent(&bundle, |_| Answer::Errno(libc::ENOMEDIUM));
    let container = bundle.start();
    let exec = || container.runtime("exec").arg(&container.id).args(["mkdir", "/tmp/dir"]).output().exits(1);
    for count in 2..4 {
        assert!(exec().stderr.contains("No medium found"));
        let message = agent.messages(count).pop().unwrap();
        let state = &message["state"];
        assert_eq!((&state["status"], &state["pid"]), (&json!("running"), &json!(container.pid)));
        assert!(message["pid"].is_i64() && message["pid"] != json!(container.pid), "{message}");
        assert_eq!(message.get("metadata"), None);
    }
    assert_eq!(agent.messages(3).len(), 3);
}

/// A user may not take a descriptor from a process that came to his container from outside: it has to be passed.
#[test]
fn a_further_process_of_a_users_has_a_listener_of_its_own() {
    differs!(Runc | Crun, "does not come back");
    let bundle = notifying(Bundle::idle().without_privileges(), &["mkdir"]);
    let agent = agent(&bundle, |_| Answer::Errno(libc::ENOMEDIUM));
    fs::set_permissions(bundle.path("agent.sock"), Permissions::from_mode(0o666)).unwrap();
    let container = bundle.start();
    let output = container.runtime("exec").arg(&container.id).args(["mkdir", "/tmp/dir"]).output().exits(1);
    assert!(output.stderr.contains("No medium found"), "{output:#?}");
    assert_eq!(agent.messages(2).len(), 2);
}

/// Whatever is called between the filter and the program: also by means of which a listener could be passed on.
#[test]
fn the_agent_may_be_asked_about_nearly_everything() {
    differs!(Runc | Crun, "needs more calls of its own than these between the filter and the agent");
    let calls = [
        "sendmsg",
        "sendto",
        "recvmsg",
        "read",
        "close",
        "close_range",
        "dup",
        "fcntl",
        "capset",
        "capget",
        "prctl",
        "brk",
        "mmap",
        "munmap",
        "futex",
        "execve",
        "exit_group",
        "rt_sigprocmask",
        "pidfd_getfd",
        "openat",
    ];
    for no_new_privileges in [true, false] {
        let bundle = notifying(Bundle::sh("echo ok"), &calls).set("/process/noNewPrivileges", no_new_privileges);
        let agent = agent(&bundle, |_| Answer::Continue);
        let container = bundle.create();
        container.start();
        container.wait();
        assert_eq!((container.stdout().as_str(), container.stderr().as_str()), ("ok\n", ""));
        assert!(agent.calls().contains(&libc::SYS_execve), "{:?}", agent.calls());
    }
}

#[test]
fn in_a_user_namespace_and_without_privileges() {
    differs!(Crun, "its listener does not get out of a user namespace");
    let check = |bundle: Bundle| {
        let agent = agent(&bundle, |_| Answer::Errno(libc::ENOMEDIUM));
        let container = bundle.start();
        assert_eq!(container.wait(), 1);
        assert!(container.stderr().contains("No medium found"));
        assert_eq!(agent.messages(1).len(), 1);
    };
    check(notifying(Bundle::new().args(&["mkdir", "/tmp/dir"]).user_namespace(100_000), &["mkdir"]));
    check(notifying(Bundle::new().args(&["mkdir", "/tmp/dir"]).without_privileges(), &["mkdir"]));
}

#[test]
fn all_flags_are_taken_together() {
    differs!(Runc | Crun, "does not know all of the flags");
    let bundle = notifying(Bundle::new().args(&["mkdir", "/tmp/dir"]), &["mkdir"]);
    let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"].map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
    let bundle = bundle.set("/linux/seccomp/flags", json!(flags));
    let _agent = agent(&bundle, |_| Answer::Errno(libc::ENOMEDIUM));
    assert!(bundle.run().exits(1).stderr.contains("No medium found"));
}

#[test]
fn nobody_listens() {
    let bundle = notifying(Bundle::new(), &["mkdir"]);
    bundle.create_fails().names("linux.seccomp.listenerPath").says(phrases::NO_AGENT).ends("no such file or directory");
    let bundle = notifying(Bundle::new(), &["mkdir"]);
    drop(UnixListener::bind(bundle.path("agent.sock")).unwrap());
    bundle.create_fails().names("linux.seccomp.listenerPath").says(phrases::NO_AGENT).ends("connection refused");
}

/// `exec` in a container whose agent has gone: the container is as it was.
#[test]
fn nobody_listens_any_more() {
    let bundle = notifying(Bundle::idle(), &["mkdir"]);
    let agent = agent(&bundle, |_| Answer::Continue);
    let container = bundle.start();
    drop(agent);
    fs::remove_file(container.path("agent.sock")).unwrap();
    let exec = container.runtime("exec").arg(&container.id).arg("true").output();
    Refusal::from_output("exec", exec).names("linux.seccomp.listenerPath").says(phrases::NO_AGENT);
    assert_eq!(container.status(), "running");
}

#[test]
fn nobody_accepts() {
    differs!(Runc | Crun, "waits for ever");
    let bundle = notifying(Bundle::new(), &["mkdir"]);
    let path = bundle.path("agent.sock");
    let waiting = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&waiting, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&waiting, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    bundle.create_fails().names("linux.seccomp.listenerPath").ends("connection timed out");
}

#[test]
fn nobody_answers() {
    differs!(Runc | Crun, "waits for ever");
    // Changed behind the filter, because that needs a right.
    let bundle = notifying(Bundle::new(), &["capset"]).set("/process/noNewPrivileges", false);
    let _agent = agent(&bundle, |_| Answer::Silence);
    bundle.create_fails().names("linux.seccomp.listenerPath").because("did not answer in time (does the agent at");
}

#[test]
fn the_call_that_tells_of_the_listener_cannot_wait_for_it() {
    let words = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
    notifying(Bundle::new(), &["mkdir", "write"]).create_fails().names("linux.seccomp.syscalls[0]").says(words);
    let bundle = notifying(Bundle::new(), &["mkdir"]).set("/linux/seccomp/defaultAction", "SCMP_ACT_NOTIFY");
    bundle.create_fails().says("SCMP_ACT_NOTIFY cannot be used as default action");
}

#[test]
fn a_listener_path_without_notifications_is_ignored() {
    differs!(Crun, "connects to it all the same");
    let bundle = allowing(Bundle::sh("echo ok"), json!([rule(&["acct"], "ERRNO")]));
    assert_eq!(bundle.set("/linux/seccomp/listenerPath", "/nowhere").prints(), "ok\n");
}
