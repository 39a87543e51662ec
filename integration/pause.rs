//! `pause` and `resume`: everybody stands still, everybody goes on, and nothing hangs in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::phrases::{DOES_NOT_EXIST, NOT_PAUSED, NOT_RUNNING};
use crate::support::cgroup::{self, View};
use crate::support::run::Run;
use crate::support::wait::{poll_fds, until};
use crate::support::{Bundle, Container, Sandbox, differs, requires, rootfs};

/// Writes a line every few milliseconds, from a process that is not the first one.
const COUNTS: &str = "i=0; (while :; do i=$((i + 1)); echo $i; sleep 0.01; done) & wait";

fn counting() -> Container {
    let container = Bundle::sh(COUNTS).start();
    container.says("3\n");
    container
}

#[track_caller]
fn goes_on(container: &Container) {
    let before = container.stdout().len();
    until("the program to go on", || (container.stdout().len() > before).then_some(()));
}

#[track_caller]
fn stands_still(container: &Container) {
    let before = container.stdout();
    poll_fds(&mut [], Duration::from_millis(100));
    assert_eq!(container.stdout(), before);
}

/// What the freezer of this view says of a cgroup: frozen by itself, and frozen in fact.
fn freezer(path: &str) -> (bool, bool) {
    let read = |v1: &str, v2: &str| {
        let file = match cgroup::view() {
            View::Hybrid => cgroup::directory_of("freezer", path).unwrap().join(v1),
            View::Unified => cgroup::directories(path)[0].join(v2),
        };
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"))
    };
    let by_itself = read("freezer.self_freezing", "cgroup.freeze").trim() == "1";
    let in_fact = read("freezer.state", "cgroup.events");
    (by_itself, in_fact.trim() == "FROZEN" || in_fact.contains("frozen 1"))
}

#[test]
fn everybody_stands_still_and_goes_on() {
    let container = counting();
    container.call("pause").ok().silent();
    assert_eq!(freezer(&container.cgroup), (true, true));
    assert_eq!(container.status(), "paused");
    let state = container.proc("status").lines().find_map(|line| line.strip_prefix("State:\t").map(str::to_owned));
    // Frozen ones look like sleepers: uninterruptible ones on v1.
    let expected = if cgroup::view() == View::Hybrid { "D (disk sleep)" } else { "S (sleeping)" };
    assert_eq!(state.as_deref(), Some(expected));
    stands_still(&container);
    container.call("resume").ok().silent();
    assert_eq!(freezer(&container.cgroup), (false, false));
    assert_eq!(container.status(), "running");
    goes_on(&container);
}

/// Engines on hybrid hosts look at the v1 controller.
#[test]
fn on_hybrid_hosts_the_unified_group_is_left_alone() {
    requires!(cgroup::view() == View::Hybrid, "a hybrid host");
    let container = counting();
    container.call("pause").ok();
    let unified = cgroup::directories(&container.cgroup).into_iter().find(|it| it.join("cgroup.freeze").exists());
    assert_eq!(fs::read_to_string(unified.unwrap().join("cgroup.freeze")).unwrap(), "0\n");
}

#[test]
fn again_and_again_while_it_forks() {
    let container =
        Bundle::sh("echo go; while :; do sleep 0; sleep 0 & (true); done").set("/linux/resources/pids/limit", 100);
    let container = if cgroup::has("pids") { container } else { container.remove("/linux/resources/pids") }.start();
    container.says("go");
    for round in 0..30 {
        container.call("pause").ok().silent();
        assert_eq!(freezer(&container.cgroup), (true, true), "round {round}");
        assert_eq!(container.status(), "paused", "round {round}");
        container.call("resume").ok().silent();
        assert_eq!(container.status(), "running", "round {round}");
    }
}

#[test]
fn groups_below_are_paused_too() {
    let container = counting();
    let below: Vec<_> = cgroup::directories(&container.cgroup).iter().map(|it| it.join("below")).collect();
    below.iter().for_each(|it| fs::create_dir(it).unwrap());
    let child = container.children()[0].to_string();
    for group in &below {
        // A new v1 cpuset has neither processors nor memory.
        if fs::read_to_string(group.join("cpuset.cpus")).is_ok_and(|cpus| cpus == "\n") {
            fs::write(group.join("cpuset.cpus"), "0").unwrap();
            fs::write(group.join("cpuset.mems"), "0").unwrap();
        }
        fs::write(group.join("cgroup.procs"), &child).unwrap();
    }
    container.call("pause").ok().silent();
    // Who was just being made comes to a stop last, and the kernel says so for a moment.
    let below = format!("{}/below", container.cgroup);
    until("the group below to be frozen", || (freezer(&below) == (false, true)).then_some(()));
    stands_still(&container);
    container.call("resume").ok().silent();
    goes_on(&container);
}

#[test]
fn a_created_container_is_paused_and_is_created_again() {
    let container = Bundle::sh("echo started").create();
    container.call("pause").ok().silent();
    assert_eq!(container.status(), "paused");
    assert_eq!(freezer(&container.cgroup), (true, true));
    container.refuses("start", &[]).says("cannot start").says("paused");
    container.call("resume").ok().silent();
    assert_eq!(container.status(), "created");
    assert_eq!(container.finish(), "started\n");
}

#[test]
fn only_what_runs_is_paused_and_only_what_is_paused_resumed() {
    let container = Bundle::idle().create();
    container.refuses("resume", &[]).says(NOT_PAUSED).because("it is created");
    container.start();
    container.refuses("resume", &[]).says(NOT_PAUSED).because("it is running");
    container.call("pause").ok();
    container.refuses("pause", &[]).says(NOT_RUNNING).because("it is paused");
    container.call("resume").ok();
    container.kill("KILL");
    container.wait();
    container.refuses("pause", &[]).says(NOT_RUNNING).because("it is stopped");
    container.refuses("resume", &[]).says(NOT_PAUSED).because("it is stopped");
    container.delete();
    container.refuses("pause", &[]).says(DOES_NOT_EXIST);
    container.refuses("resume", &[]).says(DOES_NOT_EXIST);
}

#[test]
fn sigkill_ends_a_paused_container() {
    for bundle in [Bundle::sh(COUNTS), Bundle::sh(COUNTS).without_namespace("pid")] {
        let container = bundle.start();
        container.says("3\n");
        container.call("pause").ok();
        container.kill("KILL");
        assert_eq!(container.wait(), 128 + 9);
        assert_eq!(container.status(), "stopped");
        container.delete();
    }
}

#[test]
fn other_signals_wait_for_resume() {
    // The kernel drops what a first process has no trap for yet.
    let container = Bundle::sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done").start();
    container.says("ready");
    container.call("pause").ok();
    container.kill("TERM");
    poll_fds(&mut [], Duration::from_millis(50));
    assert_eq!(container.status(), "paused");
    container.call("resume").ok();
    assert_eq!(container.wait(), 0);
}

#[test]
fn a_paused_container_is_only_deleted_by_force() {
    for container in [Bundle::idle().create(), Bundle::idle().start()] {
        container.call("pause").ok();
        container.refuses("delete", &[]).says("that is not stopped: paused");
        container.runtime("delete").args(["--force", &container.id]).output().ok().silent();
        container.assert_nothing_left();
    }
}

#[test]
fn below_a_frozen_cgroup_resume_says_so_at_once() {
    differs!(Runc | Crun, "thaws its own cgroup and says nothing");
    let bundle = Bundle::sh(COUNTS);
    let leaf = format!("{}/leaf", bundle.cgroup);
    let container = bundle.set("/linux/cgroupsPath", leaf).start();
    container.says("3\n");
    let frozen = cgroup::Frozen::new(&container.cgroup);
    container.becomes("paused");
    let begin = Instant::now();
    container.refuses("resume", &[]).because(&format!("{:?} above it is frozen", frozen.directory));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    container.refuses("pause", &[]).says(NOT_RUNNING).because("it is paused");
    drop(frozen);
    container.becomes("running");
    goes_on(&container);
}

/// A filesystem that can be frozen: who writes to it then waits, and no signal reaches him.
struct Filesystem(PathBuf);

impl Filesystem {
    fn new(sandbox: &Sandbox) -> Self {
        let (image, mount_point) = (sandbox.path("image"), sandbox.path("filesystem"));
        rootfs::directory(&mount_point);
        let script = "truncate -s 8M \"$1\"; mkfs.ext4 -q \"$1\"; mount -o loop \"$1\" \"$2\"";
        Run::host_sh(script).arg("_").arg(image).arg(&mount_point).output().ok();
        Self(mount_point)
    }

    fn fsfreeze(&self, flag: &str) {
        Run::new("fsfreeze").arg(flag).arg(&self.0).output().ok();
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        let _ = Run::host_sh("fsfreeze -u \"$1\" || :; umount -l \"$1\"").arg("_").arg(&self.0).output();
    }
}

fn state_of(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1[..1].to_owned())
}

#[test]
fn who_cannot_be_frozen_is_named_and_everybody_goes_on() {
    requires!(cgroup::view() == View::Unified, "cgroup v2: the freezer of v1 reaches such a writer");
    requires!(Path::new("/dev/loop-control").exists(), "loop devices");
    requires!(Run::host_sh("command -v mkfs.ext4 fsfreeze").output().status.success(), "mkfs.ext4 and fsfreeze");
    let bundle = Bundle::sh("(while :; do echo x; sleep 0.01; done) & read go </tmp/go; echo y >/mnt/file");
    let filesystem = Filesystem::new(&bundle);
    let fifo = bundle.path("go");
    Run::new("mkfifo").arg(&fifo).output().ok();
    let container = bundle.bind(&filesystem.0, "/mnt", &["rw"]).bind(&fifo, "/tmp/go", &["rw"]).start();
    // Dropped before the container, which cannot die before.
    let filesystem = filesystem;
    container.says("x\nx\n");
    filesystem.fsfreeze("-f");
    fs::write(&fifo, "go\n").unwrap();
    until("the writer to wait", || (state_of(container.pid)? == "D").then_some(()));
    let refusal = container.refuses("pause", &[]);
    let expected = format!("does not stop: thread {} (\"sh\"), which waits in ", container.pid);
    refusal.because(&expected);
    assert_eq!((freezer(&container.cgroup), &*container.status()), ((false, false), "running"));
    goes_on(&container);
}

#[test]
fn who_waits_for_memory_cannot_be_frozen_on_v1() {
    requires!(cgroup::view() == View::Hybrid && cgroup::has("memory"), "the memory controller of cgroup v1");
    // It takes memory by writing to it: a system call would just fail. Nobody else may: whoever ends wakes it up.
    let script = "sleep 600 & exec awk 'BEGIN { x = \"x\"; while (1) x = x x }'";
    let bundle = Bundle::sh(script).set("/linux/resources/memory/limit", 24 << 20);
    let container = bundle.set("/linux/resources/memory/disableOOMKiller", true).start();
    // While the kernel finds something to give, it only waits for a moment at a time.
    until("it to wait for memory", || {
        let before = container.proc("stat");
        poll_fds(&mut [], Duration::from_millis(300));
        (before == container.proc("stat") && container.proc("wchan").contains("mem_cgroup_oom")).then_some(())
    });
    let refusal = container.refuses("pause", &[]);
    refusal.because(&format!("does not stop: thread {} (\"awk\"), which waits in mem_cgroup", container.pid));
    assert_eq!((freezer(&container.cgroup), &*container.status()), ((false, false), "running"));
    assert_eq!(state_of(container.children()[0]).as_deref(), Some("S"));
    container.kill("KILL");
    assert_eq!(container.wait(), 128 + 9);
}
