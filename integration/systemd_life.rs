//! Every command on a container whose cgroup systemd made, and whatever way it ends: no unit is left.
//!
//! The same as root, as a user under his own service manager, and as one in a session beside it, where only systemd can move
//! a process into a unit.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde_json::json;

use crate::support::cgroup::{self, View};
use crate::support::run::{Output, Run};
use crate::support::systemd::{
    daemon_reload, default_slice, in_default_slice, in_own_slice, in_scope, is_a_users, is_beside, is_here, property,
    scope_of, slice_of, systemctl, units,
};
use crate::support::wait::until;
use crate::support::{Bundle, Container, differs, requires, strace};

fn cgroup_of_init(container: &Container) -> String {
    let key = if cgroup::view() == View::Unified { "" } else { "name=systemd" };
    cgroup::of_process(container.pid)[key].clone()
}

/// A file of its v2 group, or of that of the v1 controller.
#[track_caller]
fn read(container: &Container, controller: &str, v1: &str, v2: &str) -> String {
    let file = cgroup::file(controller, &container.cgroup, v1, v2);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}")).trim().to_owned()
}

fn call(container: &Container, command: &str, flags: &[&str], arguments: &[&str]) -> Output {
    container.runtime(command).args(flags).arg(&container.id).args(arguments).output()
}

#[test]
fn every_command() {
    requires!(is_here() && cgroup::has("pids"), "systemd and the pids controller");
    let bundle = in_default_slice(Bundle::sh("sleep 600 & echo ready; trap 'exit 0' TERM; wait"));
    let scope = scope_of(&bundle);
    let container = bundle.set("/linux/resources/pids/limit", 30).create();
    assert_eq!(container.status(), "created");
    assert_eq!(property(&scope, "Slice"), default_slice());
    assert_eq!(cgroup_of_init(&container), container.cgroup);
    container.start();
    container.says("ready");

    let printed = call(&container, "exec", &[], &["cat", "/proc/self/cgroup"]).ok().no_stderr().stdout;
    for key in cgroup::mounted_keys() {
        assert_eq!(cgroup::parse(&printed)[&key], container.cgroup, "hierarchy {key:?}");
    }
    let pids = call(&container, "ps", &["--format", "json"], &[]).ok().no_stderr().stdout;
    let pids: Vec<i32> = serde_json::from_str(&pids).unwrap();
    assert!(pids.len() == 2 && pids.contains(&container.pid), "{pids:?}");

    call(&container, "update", &["--pids-limit", "20"], &[]).ok().silent();
    assert_eq!(
        (read(&container, "pids", "pids.max", "pids.max"), property(&scope, "TasksMax")),
        ("20".into(), "20".into())
    );
    let stats = call(&container, "events", &["--stats"], &[]).ok().no_stderr().stdout;
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["data"]["pids"], json!({"current": 2, "limit": 20}));

    container.call("pause").ok().silent();
    assert_eq!(container.status(), "paused");
    // systemd counts it as running, and a reload does not let it go on.
    daemon_reload();
    assert_eq!((container.status(), property(&scope, "ActiveState")), ("paused".into(), "active".into()));
    call(&container, "update", &["--pids-limit", "21"], &[]).ok().silent();
    assert_eq!(container.status(), "paused");
    container.call("resume").ok().silent();
    assert_eq!(container.status(), "running");

    container.terminate();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.status(), "stopped");
    container.delete();
    assert_eq!(units(&scope), "");
}

#[test]
fn run_in_the_foreground() {
    requires!(is_here(), "systemd");
    let bundle = in_default_slice(Bundle::sh("cat /proc/self/cgroup; exit 7"));
    let (scope, path) = (scope_of(&bundle), bundle.cgroup.clone());
    let output = bundle.run().exits(7).no_stderr();
    assert!(output.stdout.contains(&format!(":{path}\n")), "{output:#?}");
    assert_eq!(units(&scope), "");
}

#[test]
fn a_detached_process_of_exec_goes_with_the_unit() {
    requires!(is_here(), "systemd");
    let container = in_default_slice(Bundle::idle()).start();
    let pid_file = container.path("exec.pid");
    let flags = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    let exec = container.runtime("exec").args(flags).args([&container.id, "sleep", "600"]);
    exec.stdout_to(Stdio::null()).stderr_to(Stdio::null()).output().ok();
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let key = cgroup::mounted_keys()[0].clone();
    assert_eq!(cgroup::of_process(pid)[&key], container.cgroup);
    let deleting = container.runtime("delete").args(["--force", &container.id]).spawn();
    // As a shim does: its namespace waits until somebody has taken its exit status.
    let status = waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap().1;
    assert_eq!(status.terminating_signal(), Some(9));
    deleting.wait().ok().silent();
    assert_eq!(units(&scope_of(&container)), "");
}

#[test]
fn kill_all_reaches_everybody_in_the_unit() {
    requires!(is_here() && !is_a_users(), "root's systemd: others may not mount proc without a pid namespace");
    let bundle = Bundle::sh("sleep 600 & echo ready; exec sleep 600").without_namespace("pid");
    let container = in_default_slice(bundle).start();
    container.says("ready");
    let others: Vec<i32> = container.children();
    container.runtime("kill").args(["--all", &container.id, "KILL"]).output().ok().silent();
    assert_eq!(container.wait(), 128 + 9);
    let is_gone = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    until("the others to be gone", || others.iter().all(is_gone).then_some(()));
    container.delete();
    assert_eq!(units(&scope_of(&container)), "");
}

/// The kill is of somebody without whom the container goes on: systemd takes the group away with its counters when the last
/// one has died, possibly before they are read.
#[test]
fn events_follow_it_to_its_end() {
    requires!(is_here() && cgroup::has("memory"), "systemd and the memory controller");
    let script = "(echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero); sleep 600 & wait";
    let bundle = Bundle::sh(script).set("/linux/resources/memory/limit", 24 << 20);
    let container = in_default_slice(bundle).create();
    let mut events = container.runtime("events").args(["--interval", "200ms", &container.id]).spawn();
    let mut seen = events.read_until("\n");
    container.start();
    seen.push_str(&events.read_until("{\"type\":\"oom\""));
    seen.push_str(&events.read_until("{\"type\":\"stats\""));
    container.kill("KILL");
    assert_eq!(container.wait(), 128 + 9);
    seen.push_str(&events.wait().ok().no_stderr().stdout);
    assert_eq!(seen.matches("{\"type\":\"oom\"").count(), 1, "{seen}");
    container.delete();
    assert_eq!(units(&scope_of(&container)), "");
}

// ---- ways to end ----

/// Somebody stops the unit as he would any other.
#[test]
fn a_unit_that_somebody_stopped() {
    requires!(is_here(), "systemd");
    for (bundle, state) in [(Bundle::idle(), "inactive"), (Bundle::new().args(&["sleep", "600"]), "failed")] {
        // The second one hears no SIGTERM, as a first process without a trap: it stays in systemd's list, for people to see.
        let patience = json!({"org.systemd.property.TimeoutStopUSec": "uint64 500000"});
        let bundle = in_default_slice(bundle.set("/annotations", patience));
        let scope = scope_of(&bundle);
        let container = bundle.start();
        until("a trap, or none", || (container.catches(Signal::TERM) == (state == "inactive")).then_some(()));
        systemctl(&["stop", &scope]);
        assert_eq!(property(&scope, "ActiveState"), state);
        container.wait();
        assert_eq!(container.status(), "stopped");
        container.delete();
        assert_eq!(units(&scope), "");
    }
}

#[test]
fn a_container_that_ended_by_itself() {
    requires!(is_here(), "systemd");
    for flags in [&[][..], &["--force"]] {
        let bundle = in_default_slice(Bundle::sh("exit 3"));
        let scope = scope_of(&bundle);
        let container = bundle.start();
        assert_eq!(container.wait(), 3);
        until("the unit to be gone", || units(&scope).is_empty().then_some(()));
        assert_eq!(container.status(), "stopped");
        container.runtime("delete").args(flags).arg(&container.id).output().ok().silent();
        container.assert_nothing_left();
        assert_eq!(units(&scope), "");
    }
}

#[test]
fn a_slice_that_is_the_containers_own() {
    requires!(is_here() && cgroup::view() == View::Unified && cgroup::has("pids"), "systemd on cgroup v2 with pids");
    let bundle = in_own_slice(Bundle::sh("sleep 600 & echo ready; wait"));
    let slice = slice_of(&bundle);
    if is_beside() {
        let refusal = bundle.create_fails();
        refusal.because("process migration not available on non-delegated units");
        return assert_eq!(units(&slice), "");
    }
    let container = bundle.set("/linux/resources/pids/limit", 9).start();
    container.says("ready");
    assert_eq!((cgroup_of_init(&container), property(&slice, "TasksMax")), (container.cgroup.clone(), "9".into()));
    container.call("pause").ok().silent();
    assert_eq!(container.status(), "paused");
    container.call("resume").ok().silent();
    container.runtime("delete").args(["--force", &container.id]).output().ok().silent();
    container.assert_nothing_left();
    assert_eq!(units(&slice), "");
}

// ---- a create that fails ----

/// How long a create that fails may take where everything takes ten times as long.
const SOON: Duration = Duration::from_secs(10);

/// After the unit was started.
#[test]
fn a_create_that_fails_leaves_no_unit_and_does_not_wait() {
    requires!(is_here(), "systemd");
    let known = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let pids = if known.contains("pids") { "pids.nonsense" } else { "cgroup.nonsense" };
    let unified = |file: &str| Bundle::new().set("/linux/resources/unified", json!({file: "1"}));
    let in_unified = |file: &str| match cgroup::view() {
        View::Unified => format!("linux.resources.unified[{file:?}]"),
        View::Hybrid => "linux.resources.unified".to_owned(),
    };
    let pages = Bundle::new().set("/linux/resources/hugepageLimits", json!([{"pageSize": "3MB", "limit": 0}]));
    let failing = [
        (pages, "linux.resources.hugepageLimits[0]".to_owned()),
        (unified(pids), in_unified(pids)),
        (unified("cgroup.nonsense"), in_unified("cgroup.nonsense")),
        (Bundle::new().bind("/no/such/source", "/mnt", &[]), "mounts[6]".to_owned()),
        (Bundle::new().args(&["/no/such/program"]), "process.args[0]".to_owned()),
        (Bundle::new().hook("createRuntime", json!({"path": "/bin/false"})), "hooks.createRuntime[0]".to_owned()),
    ];
    for (bundle, property) in failing {
        let bundle = in_default_slice(bundle);
        let scope = scope_of(&bundle);
        let began = Instant::now();
        bundle.create_fails().names(&property);
        assert!(began.elapsed() < SOON, "{property}: {:?}", began.elapsed());
        assert_eq!(units(&scope), "", "{property}");
    }
}

#[test]
fn a_cgroup_in_use_is_refused_and_left_alone() {
    differs!(Runc | Crun, "joins it");
    // On v1 systemd takes away the groups in which nobody is.
    requires!(is_here() && !is_a_users() && cgroup::view() == View::Unified, "root's systemd on cgroup v2");
    let bundle = in_default_slice(Bundle::new());
    bundle.write();
    let occupied = cgroup::Occupied::new(&bundle.cgroup).by_process_in(0);
    let output = bundle.command("create").output();
    let refusal = crate::support::refusal::Refusal::from_output("create", output);
    refusal.names("linux.cgroupsPath: ").says("container's cgroup is not empty: 1 process(es) found");
    assert!(occupied.is_as_it_was());
    assert_eq!(units(&scope_of(&bundle)), "");
}

#[test]
fn below_a_frozen_slice_it_is_refused_soon() {
    differs!(Runc | Crun, "waits, or goes on");
    requires!(is_here() && !is_a_users(), "root's systemd");
    let bundle = Bundle::new();
    let slice = format!("t{}.slice", bundle.id.replace('-', ""));
    let parent = format!("/{slice}");
    let bundle = in_scope(bundle, &slice, &parent);
    bundle.write();
    let _occupied = cgroup::Occupied::new(&parent);
    let frozen = cgroup::Frozen::new(&parent);
    let began = Instant::now();
    let refusal = bundle.refuses("create");
    refusal.names("linux.cgroupsPath: ").because("frozen");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(frozen.is_frozen());
    drop(frozen);
    assert_eq!(units(&scope_of(&bundle)), "");
    systemctl(&["stop", &slice]);
}

// ---- which manager ----

/// Most of Podman's calls pass nothing but XDG_RUNTIME_DIR; later ones need not even that.
#[test]
fn the_users_manager_is_found_and_remembered() {
    requires!(is_a_users(), "a user with a service manager of his own");
    let bundle = in_default_slice(Bundle::idle());
    bundle.write();
    let scope = scope_of(&bundle);
    let runtime_dir = std::env::var("XDG_RUNTIME_DIR").unwrap();
    let program = crate::support::peer::program().to_str().unwrap();
    let (root, directory) = (bundle.state_root(), bundle.bundle());
    let create = |environment: &str| {
        let script = format!("exec env -i PATH=/usr/sbin:/usr/bin {environment} \"$@\" >/dev/null");
        let run = Run::host_sh(&script).args(["_", program, "--systemd-cgroup", "--root"]).arg(&root);
        run.args(["create", "--bundle"]).arg(&directory).arg(&bundle.id).stderr_to(Stdio::null()).output()
    };
    assert!(!create("").status.success());
    bundle.assert_nothing_left();
    create(&format!("XDG_RUNTIME_DIR={runtime_dir}")).ok();
    assert_eq!(property(&scope, "ActiveState"), "active");
    let script = "exec env -i PATH=/usr/sbin:/usr/bin \"$@\"";
    let delete = Run::host_sh(script).args(["_", program, "--root"]).arg(&root).args(["delete", "--force", &bundle.id]);
    delete.output().ok().silent();
    bundle.assert_nothing_left();
    assert_eq!(units(&scope), "");
}

/// The runtime goes on a second after it has ended the placeholder. By then systemd has taken the group away, in which nobody is.
#[test]
fn a_first_process_that_fails_at_once() {
    differs!(Runc | Crun, "has no placeholder");
    requires!(is_here() && cgroup::has("pids"), "systemd and the pids controller");
    requires!(strace::can_poke(), "an strace that can delay calls");
    let delay = strace::injecting("waitid:delay_exit=1000000");
    let bundle = in_default_slice(Bundle::idle()).set("/linux/resources/pids/limit", 50);
    let bundle = bundle.mount("/nowhere", "no-such-filesystem", "none", &[]).through(delay);
    bundle.create_fails().says("no such device");
}
