//! Readiness: what the program says of it (sd_notify(3)), and what the service manager hears.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::support::manager::{Manager, service};
use crate::support::run::Running;
use crate::support::wait::until;
use crate::support::{Bundle, Container, differs, probe, requires};

/// Time for something that is not to happen.
const A_MOMENT: Duration = Duration::from_millis(300);

const STAY: &str = "trap 'exit 0' TERM; sleep 600 & wait";

/// A bundle that runs a script in which `go` waits for a file, the file, and the manager that starts it.
fn waiting(script: &str) -> (Bundle, Manager, PathBuf) {
    let bundle = service(&format!("go() {{ until [ -e /m/go ]; do sleep 0.05; done; }}; {script}; {STAY}"));
    let directory = bundle.host_directory("m");
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (bundle, manager) = Manager::of(bundle.bind(&directory, "/m", &[]));
    (bundle, manager, directory.join("go"))
}

/// The manager hears that the program `pid` is ready, and the command is there until it has read that.
#[track_caller]
fn outlasts_the_news(command: &Running, manager: &Manager, pid: i32) {
    let barrier = manager.hears_ready(pid);
    assert!(barrier.is_none() || !command.ends_within(A_MOMENT), "the manager has not read it yet");
}

/// A container that says at once that it is ready.
#[track_caller]
fn is_heard(bundle: Bundle) -> Container {
    let (bundle, manager) = Manager::of(bundle);
    let container = bundle.create();
    let start = manager.starts(&container).spawn();
    drop(manager.hears_ready(container.pid));
    start.wait().ok().silent();
    container
}

#[test]
fn start_waits_until_the_program_is_ready_and_the_manager_knows() {
    requires!(probe::exists(), "gcc");
    differs!(Crun, "sends other messages");
    let (bundle, manager, go) = waiting("echo $NOTIFY_SOCKET; go; notify READY=1");
    let container = bundle.create();
    let start = manager.starts(&container).spawn();
    container.says("/run/notify/notify.sock\n");
    assert_eq!(container.status(), "running");
    assert!(!manager.is_told_within(A_MOMENT), "told before the program is ready");
    fs::write(go, "").unwrap();
    outlasts_the_news(&start, &manager, container.pid);
    start.wait().ok().silent();
    container.terminate();
    assert_eq!(container.wait(), 0);
    container.delete();
}

#[test]
fn a_detached_run_waits_too() {
    requires!(probe::exists(), "gcc");
    differs!(Crun, "sends other messages");
    let (bundle, manager, go) = waiting("go; notify READY=1");
    bundle.write();
    let bundle = bundle.option("--detach");
    let file = fs::File::create_new(bundle.path("output")).unwrap();
    let run = bundle.command("run").stdio(&file).spawn();
    assert!(!manager.is_told_within(A_MOMENT), "told before the program is ready");
    fs::write(go, "").unwrap();
    let state: serde_json::Value = serde_json::from_str(&bundle.call("state").ok().stdout).unwrap();
    outlasts_the_news(&run, &manager, state["pid"].as_i64().unwrap().try_into().unwrap());
    run.wait().ok();
    bundle.runtime("delete").args(["--force", &bundle.id]).output().ok();
}

/// It stays, and is what the manager has started.
#[test]
fn a_run_in_the_foreground_is_the_main_process() {
    requires!(probe::exists(), "gcc");
    differs!(Crun, "sends other messages");
    let (bundle, manager, go) = waiting("echo up; go; notify READY=1; exit 7");
    bundle.write();
    let mut run = bundle.command("run").spawn();
    // Its output is relayed meanwhile.
    run.read_until("up\n");
    fs::write(go, "").unwrap();
    let main = format!("MAINPID={}", run.pid());
    assert_eq!(manager.hears_until(&main).0, ["READY=1", &main]);
    run.wait().exits(7);
}

#[test]
fn a_run_in_the_foreground_ends_with_a_program_that_is_never_ready() {
    differs!(Runc | Crun, "wait for ever, or fail");
    let (bundle, manager) = Manager::of(Bundle::sh("exit 7"));
    bundle.run().exits(7).silent();
    assert!(!manager.is_told_within(Duration::ZERO));
}

#[test]
fn start_ends_with_a_program_that_is_never_ready() {
    differs!(Runc | Crun, "takes one that is to be reaped for alive, or fails");
    let (bundle, manager) = Manager::of(Bundle::sh("sleep 0.3; exit 7"));
    let container = bundle.create();
    manager.starts(&container).output().ok().silent();
    assert!(!manager.is_told_within(Duration::ZERO));
    assert_eq!(container.wait(), 7);
    container.delete();
}

/// The manager trusts the runtime, not the container: it could stop being watched, hand over descriptors, or name a process of others
/// as its own.
#[test]
fn nothing_but_readiness_is_passed_on() {
    requires!(probe::exists(), "gcc");
    differs!(Runc | Crun, "passes on lines that it does not know");
    let (bundle, manager, go) = waiting(
        "
        notify READY=0 READY=12 XREADY=1 'READY=1 ' STATUS=READY=1 MAINPID=1 WATCHDOG=trigger STOPPING=1 BARRIER=1 ''
        notify \"$(yes x | head -c 5000; echo; echo READY=1)\"
        echo said; go
        notify \"$(printf 'STATUS=up\\nMAINPID=1\\nREADY=1\\nFDSTORE=1')\"",
    );
    let container = bundle.create();
    let start = manager.starts(&container).spawn();
    container.says("said");
    assert!(!manager.is_told_within(A_MOMENT), "told before the program is ready");
    fs::write(go, "").unwrap();
    drop(manager.hears_ready(container.pid));
    start.wait().ok().silent();
}

#[test]
fn any_user_of_the_container_says_it() {
    requires!(probe::exists(), "gcc");
    differs!(Runc | Crun, "the directory suffers from the caller's umask");
    let script = format!("umask; notify READY=1; {STAY}");
    is_heard(service(&script).set("/process/user", json!({"uid": 1000, "gid": 1000})).after_host_sh("umask 077"));
}

#[test]
fn in_a_user_namespace() {
    requires!(probe::exists(), "gcc");
    differs!(Crun, "sends other messages");
    is_heard(service(&format!("notify READY=1; {STAY}")).user_namespace(100_000));
}

#[test]
fn without_privileges() {
    requires!(probe::exists(), "gcc");
    differs!(Crun, "sends other messages");
    is_heard(service(&format!("notify READY=1; {STAY}")).without_privileges());
}

#[test]
fn the_container_cannot_change_the_directory() {
    differs!(Runc | Crun, "takes one that is to be reaped for alive, or makes it otherwise");
    let script =
        "touch /run/notify/x; rm /run/notify/notify.sock; ls /run/notify; grep ' /run/notify ' /proc/self/mounts";
    let (bundle, manager) = Manager::of(Bundle::sh(script));
    let container = bundle.create();
    manager.starts(&container).output().ok();
    assert_eq!(container.wait(), 0);
    let said = container.stdout();
    let (listed, mounted) = said.split_once('\n').unwrap();
    assert_eq!(listed, "notify.sock");
    assert!(mounted.contains(" ro,nosuid,nodev,noexec"), "{mounted}");
    assert_eq!(container.stderr().matches("Read-only file system").count(), 2);
}

/// One that may can make it writable.
#[test]
fn what_a_privileged_container_leaves_there_goes_with_it() {
    differs!(Runc | Crun, "as above");
    let script = "mount -o remount,bind,rw /run/notify && cd /run/notify && rm notify.sock && mkdir -p notify.sock/a/b && \
        ln -s /etc link && ls";
    let bundle = Bundle::sh(script);
    let all = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]);
    let bundle = ["bounding", "effective", "permitted"]
        .iter()
        .fold(bundle, |bundle, set| bundle.set(&format!("/process/capabilities/{set}"), all.clone()));
    let (bundle, manager) = Manager::of(bundle);
    let container = bundle.create();
    manager.starts(&container).output().ok();
    assert_eq!(container.wait(), 0, "{}", container.stderr());
    assert_eq!(container.stdout(), "link\nnotify.sock\n");
    container.delete();
    assert!(fs::exists("/etc/passwd").unwrap());
}

/// The image says where `/run` is.
#[test]
fn a_symlink_in_the_image_stays_in_the_image() {
    requires!(probe::exists(), "gcc");
    differs!(Crun, "sends other messages");
    let bundle = service(&format!("notify READY=1; {STAY}"));
    let outside = bundle.host_directory("outside");
    let target = outside.to_str().unwrap().to_owned();
    let inside = target.trim_start_matches('/').to_owned();
    let container = is_heard(bundle.directory(&inside).link("run", &target));
    let there: Vec<_> = fs::read_dir(&outside).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(there, ["file"]);
    assert!(container.rootfs().join(inside).join("notify").is_dir());
}

/// What a start that was killed left, and what somebody else could have put there.
#[test]
fn what_is_in_the_sockets_place_is_replaced() {
    requires!(probe::exists(), "gcc");
    differs!(Runc | Crun, "refuse it");
    let (bundle, manager) = Manager::of(service(&format!("notify READY=1; {STAY}")));
    let victim = bundle.path("victim");
    fs::write(&victim, "").unwrap();
    fs::set_permissions(&victim, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let container = bundle.create();
    symlink(&victim, container.state_root().join(&container.id).join("notify/notify.sock")).unwrap();
    let start = manager.starts(&container).spawn();
    drop(manager.hears_ready(container.pid));
    start.wait().ok().silent();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&victim).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

/// An engine may drop the variable at one of its calls.
#[test]
fn start_does_not_wait_for_who_was_not_told() {
    differs!(Runc | Crun, "fail");
    let container = Bundle::sh(&format!("echo \"${{NOTIFY_SOCKET-none}}\"; ls /run; {STAY}")).create();
    container.runtime("start").arg(&container.id).env("NOTIFY_SOCKET", "/nowhere").output().ok().silent();
    container.says("none\n");
}

#[test]
fn a_manager_that_is_not_there_is_a_warning() {
    differs!(Runc | Crun, "fail, with the program running, or say nothing");
    let bundle = Bundle::idle().through(["env", "NOTIFY_SOCKET=/nowhere"]);
    let container = bundle.create();
    let start = container.runtime("start").arg(&container.id).env("NOTIFY_SOCKET", "/nowhere").output().ok();
    assert!(start.stderr.contains("level=warning") && start.stderr.contains("NOTIFY_SOCKET: connect("), "{start:?}");
    assert_eq!(container.status(), "running");
}

#[test]
fn further_programs_are_not_asked() {
    requires!(probe::exists(), "gcc");
    differs!(Crun, "sends other messages");
    let container = is_heard(service(&format!("notify READY=1; {STAY}")));
    let exec = container.runtime("exec").args([&container.id, "sh", "-c", "echo ${NOTIFY_SOCKET-none}"]).output().ok();
    assert_eq!(exec.stdout, "none\n");
}

/// Nobody else is locked out while it waits.
#[test]
fn a_container_that_is_not_ready_can_be_killed_and_deleted() {
    differs!(Runc | Crun, "takes one that is to be reaped for alive, or fails");
    let (bundle, manager) = Manager::of(Bundle::idle());
    let container = bundle.create();
    let start = manager.starts(&container).spawn();
    until("the program", || (container.status() == "running").then_some(()));
    container.runtime("pause").arg(&container.id).output().ok();
    container.runtime("resume").arg(&container.id).output().ok();
    container.runtime("delete").args(["--force", &container.id]).output().ok();
    start.wait().ok().silent();
    assert!(!manager.is_told_within(Duration::ZERO));
    container.assert_nothing_left();
}
