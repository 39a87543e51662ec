//! A machine that is short of something, and many containers at once. What is refused is said, and nothing is left;
//! `integration/faults` has each system call refused by itself.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use serde_json::json;

use crate::support::cgroup::{self, View};
use crate::support::run::{Output, Running};
use crate::support::wait::until;
use crate::support::{Bundle, Container, differs, requires, strace};

/// A filesystem of its own for the state, for as long as this lives.
struct StateRoot<'a>(&'a Path);

impl<'a> StateRoot<'a> {
    fn of(path: &'a Path, options: &str) -> Self {
        let options = std::ffi::CString::new(options).unwrap();
        mount("corten-it-state", path, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        Self(path)
    }

    fn fill(&self) {
        let filler = vec![0_u8; 1 << 20];
        assert!(fs::write(self.0.join(".filler"), filler).is_err(), "it is full");
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join(".filler")).unwrap();
    }
}

impl Drop for StateRoot<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

fn create_quietly(bundle: &Bundle) -> (bool, String) {
    let said = bundle.path("said");
    let _ = fs::remove_file(&said);
    let file = || fs::File::create_new(&said).unwrap();
    let output = bundle.command("create").stdout_to(Stdio::null()).stderr_to(file()).output();
    (output.status.success(), fs::read_to_string(&said).unwrap())
}

/// Create succeeds, or says why not and leaves nothing.
fn creates_or_says(bundle: &Bundle, why: &str) -> bool {
    let (is_created, said) = create_quietly(bundle);
    if is_created {
        bundle.runtime("delete").args(["--force", &bundle.id]).output().ok().silent();
    } else {
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(fs::read_dir(bundle.state_root()).unwrap().count(), 0, "{said}");
    is_created
}

#[test]
fn a_state_directory_that_is_full_at_whatever_file() {
    differs!(Runc | Crun, "leaves half of its state");
    requires!(rustix::process::geteuid().is_root(), "root, who mounts");
    let bundle = Bundle::idle();
    bundle.write();
    let path = bundle.state_root();
    let outcomes: Vec<bool> = (1..12)
        .map(|files| {
            let state = StateRoot::of(&path, &format!("nr_inodes={files}"));
            let is_created = creates_or_says(&bundle, "no space left on device");
            drop(state);
            bundle.assert_nothing_left();
            is_created
        })
        .collect();
    assert!(!outcomes[0] && outcomes[10], "{outcomes:?}");
}

#[test]
fn a_full_state_directory_keeps_nobody_from_ending_what_there_is() {
    requires!(rustix::process::geteuid().is_root(), "root, who mounts");
    let bundle = Bundle::idle();
    let path = bundle.state_root();
    let state = StateRoot::of(&path, "size=128k");
    let container = bundle.create();
    state.fill();
    container.start();
    container.runtime("exec").args([&container.id, "true"]).output().ok().silent();
    container.kill("KILL");
    container.wait();
    container.call("delete").ok().silent();
    state.make_room();
    drop(state);
    container.assert_nothing_left();
}

#[test]
fn a_read_only_state_directory() {
    differs!(Runc | Crun, "has other words");
    requires!(rustix::process::geteuid().is_root(), "root, who mounts");
    let bundle = Bundle::idle();
    let path = bundle.state_root();
    let state = StateRoot::of(&path, "size=1m");
    let container = bundle.start();
    mount_remount(&path, MountFlags::RDONLY, "").unwrap();
    assert_eq!(container.status(), "running");
    container.runtime("list").output().ok();
    container.runtime("exec").args([&container.id, "true"]).output().ok().silent();
    container.refuses("delete", &["--force"]).because("read-only file system");
    container.becomes("stopped");
    let other = Bundle::idle();
    other.write();
    let create =
        container.program().arg("--root").arg(&path).arg("create").arg("--bundle").arg(other.bundle()).arg("other");
    let refused = create.output().exits(1).stderr;
    assert!(refused.contains("read-only file system"), "{refused}");
    mount_remount(&path, MountFlags::empty(), "").unwrap();
    container.runtime("delete").args(["--force", &container.id]).output().ok().silent();
    drop(state);
    container.assert_nothing_left();
}

/// From too few descriptors to begin with to enough.
#[test]
fn few_descriptors() {
    differs!(Runc | Crun, "needs more, or does not say what it lacks");
    let outcome = |limit: u32| {
        let bundle = Bundle::idle().through(["prlimit".to_owned(), format!("--nofile={limit}")]);
        bundle.write();
        let is_created = creates_or_says(&bundle, "too many open files");
        bundle.assert_nothing_left();
        is_created
    };
    let outcomes: Vec<_> = (4..40).step_by(2).map(outcome).collect();
    assert!(!outcomes[0], "{outcomes:?}");
    let enough = if cgroup::view() == View::Unified { 32 } else { 64 };
    assert!(outcome(enough));
}

#[test]
fn without_proc_sys() {
    differs!(Runc | Crun, "is not what this is about");
    requires!(rustix::process::geteuid().is_root(), "root, who mounts");
    let bundle = Bundle::sh("echo runs").after_host_mounts("mount -t tmpfs none /proc/sys");
    assert_eq!(bundle.prints(), "runs\n");
}

/// How many times as much: `make faults` asks for more.
fn many(usual: usize) -> usize {
    usual * std::env::var("CORTEN_TIMES").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn a_program_that_ends_at_once_never_hangs_its_run() {
    let bundle = Bundle::new();
    bundle.write();
    for _ in 0..many(100) {
        bundle.command("run").output().ok().silent();
    }
}

#[test]
fn many_containers_from_eight_workers() {
    differs!(Runc | Crun, "is not what this is about");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..many(10).div_ceil(2) {
                    let container = Bundle::idle().start();
                    let echo = container.runtime("exec").args([&container.id, "echo", "hello"]);
                    assert_eq!(echo.output().ok().stdout, "hello\n");
                    container.runtime("delete").args(["--force", &container.id]).output().ok().silent();
                    container.assert_nothing_left();
                }
            });
        }
    });
}

/// Several times, one after the other.
fn joins(container: &Container) -> [Output; 5] {
    [(); 5].map(|()| container.runtime("exec").args([&container.id, "true"]).output())
}

fn is_deleted_by_force(container: &Container) {
    let delete = container.runtime("delete").args(["--force", &container.id]).spawn();
    while !delete.ends_within(std::time::Duration::from_millis(50)) {
        container.reap_orphans();
    }
    delete.wait().ok().silent();
    container.assert_nothing_left();
}

#[test]
fn a_fork_bomb_is_joined_and_deleted() {
    requires!(cgroup::has("pids") || cgroup::view() == View::Unified, "pids, or cgroup.kill");
    // A shell that cannot fork ends, and must not be the first process.
    let bundle = Bundle::sh("(while true; do sleep 5 & done) 2>/dev/null & exec sleep 600");
    let limited = if cgroup::has("pids") { bundle.set("/linux/resources/pids/limit", 60) } else { bundle };
    let bomb = if cgroup::has("pids") {
        limited
    } else {
        limited.args(&["sh", "-c", "for i in $(seq 300); do sleep 600 & done; wait"])
    };
    let container = bomb.start();
    for output in joins(&container) {
        // There may be room for it or not; it says which.
        assert!(
            output.status.success() || output.stderr.lines().count() == 1 || output.status.code() == Some(2),
            "{output:#?}"
        );
    }
    is_deleted_by_force(&container);
}

#[test]
fn a_container_that_is_out_of_memory_is_joined_and_deleted() {
    requires!(cgroup::has("memory"), "the memory controller");
    // The killer takes who asks for it, and not the first process.
    let hog = "echo 1000 >/proc/self/oom_score_adj; while :; do tail /dev/zero; done";
    let bundle = Bundle::sh(&format!("({hog}) 2>/dev/null & exec sleep 600"));
    let limit = json!({"limit": 16 << 20, "swap": 16 << 20});
    let container = bundle.set("/linux/resources/memory", limit).start();
    let events = cgroup::file("memory", &container.cgroup, "memory.oom_control", "memory.events");
    let kills = || -> u64 {
        let text = fs::read_to_string(&events).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().trim().parse().unwrap()
    };
    until("the first kill", || Some(kills()).filter(|kills| *kills > 0));
    let before = kills();
    for output in joins(&container) {
        // Whoever is killed for it, it is no fault of the others.
        let is_said = output.stderr.lines().count() == 1 && output.stderr.contains("lack of memory");
        assert!(output.status.success() || output.status.code() == Some(128 + 9) || is_said, "{output:#?}");
    }
    until("a further kill: it goes on", || (kills() > before).then_some(()));
    is_deleted_by_force(&container);
}

/// As where files are on a server far away: whatever the runtime does with a file or a descriptor begins 10 ms later.
#[test]
fn slow_storage() {
    differs!(Runc | Crun, "is not what this is about");
    requires!(strace::can_poke(), "an strace that can delay calls");
    let delay = strace::injecting("%file,%desc:delay_enter=10000");
    let bundle = Bundle::idle().all_through(delay);
    bundle.write();
    let create = || bundle.command("create").stdout_to(Stdio::null()).stderr_to(Stdio::null()).spawn();
    let won = [create(), create()].into_iter().map(Running::wait).filter(|output| output.status.success()).count();
    assert_eq!(won, 1);
    let exec = |word: &str| bundle.runtime("exec").args([&bundle.id, "echo", word]).output().ok().stdout;
    assert_eq!(exec("created"), "created\n");
    for command in ["start", "pause", "resume"] {
        bundle.call(command).ok().silent();
    }
    assert_eq!(exec("running"), "running\n");
    let deletes = [(); 2].map(|()| bundle.runtime("delete").args(["--force", &bundle.id]).spawn());
    for delete in deletes {
        delete.wait().ok();
    }
    bundle.assert_nothing_left();
}

#[test]
fn a_first_process_that_is_stopped_or_frozen_is_deleted() {
    for how in ["STOP", "pause"] {
        let container = Bundle::idle().start();
        match how {
            "pause" => drop(container.call("pause").ok()),
            signal => container.kill(signal),
        }
        is_deleted_by_force(&container);
    }
    let container = Bundle::idle().start();
    container.call("pause").ok();
    container.kill("KILL");
    container.becomes("stopped");
    container.delete();
}

#[test]
fn a_first_process_that_is_traced_is_deleted() {
    let container = Bundle::idle().start();
    let pid = nix::unistd::Pid::from_raw(container.pid);
    nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty()).unwrap();
    nix::sys::ptrace::interrupt(pid).unwrap();
    is_deleted_by_force(&container);
}
