//! exec: a further process in a container.

use std::fs;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};

use crate::phrases;
use crate::support::cgroup::{self, View};
use crate::support::peer::is_corten;
use crate::support::pty::{ConsoleSocket, Pty};
use crate::support::refusal::Refusal;
use crate::support::run::{Output, Run};
use crate::support::wait::{has_ended, until};
use crate::support::{Bundle, Container, differs, requires};

/// `exec OPTIONS ID ARGS`.
fn exec(container: &Container, options: &[&str], args: &[&str]) -> Run {
    container.runtime("exec").args(options).arg(&container.id).args(args)
}

fn prints(container: &Container, options: &[&str], args: &[&str]) -> String {
    exec(container, options, args).output().ok().no_stderr().stdout
}

fn sh(container: &Container, script: &str) -> String {
    prints(container, &[], &["sh", "-c", script])
}

/// `exec --detach`ed: our child, which we are the one to reap, or its pid namespace never ends.
struct Detached(i32);

impl Detached {
    fn new(container: &Container, options: &[&str], args: &[&str]) -> Self {
        let file = container.path("pid");
        let null = || fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let options = [&["-d", "--pid-file", file.to_str().unwrap()], options].concat();
        exec(container, &options, args).stdout_to(null()).stderr_to(null()).output().ok();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
        Self(text.parse().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0).unwrap()
    }

    /// Its exit status.
    fn wait(&self) -> Option<i32> {
        waitpid(Some(self.pid()), WaitOptions::empty()).unwrap().unwrap().1.exit_status()
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = kill_process(self.pid(), Signal::KILL);
        let _ = waitpid(Some(self.pid()), WaitOptions::empty());
    }
}

/// `exec --process FILE ID`, with the container's own process changed by `change`.
fn exec_process(container: &Container, options: &[&str], change: impl FnOnce(&mut Value)) -> Output {
    let mut process = container.made_from.config["process"].clone();
    change(&mut process);
    let file = container.path("process.json");
    fs::write(&file, process.to_string()).unwrap();
    let options = [options, &["--process", file.to_str().unwrap()]].concat();
    exec(container, &options, &[]).output()
}

fn ours() -> impl Fn(&str) -> String {
    |name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_string_lossy().into_owned()
}

#[test]
fn it_is_in_every_namespace_of_the_container() {
    let bundle = Bundle::idle().namespace("cgroup", None).user_namespace(100_000);
    let container = bundle.start();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time"] {
        let inside = prints(&container, &[], &["readlink", &format!("/proc/self/ns/{name}")]);
        assert_eq!(inside.trim_end(), container.namespace(name), "{name}");
    }
    assert_ne!(container.namespace("pid"), ours()("pid"));
}

#[test]
fn it_sees_the_containers_root_and_processes() {
    let container = Bundle::idle().file("marker", "here\n").start();
    assert_eq!(sh(&container, "cat /marker; readlink /proc/1/exe; pwd"), "here\n/bin/busybox\n/\n");
}

#[test]
fn without_namespaces_of_its_own_it_still_has_the_containers_root() {
    differs!(Runc | Crun, "refuses a container without a mount namespace, or has other ideas");
    let bundle = Bundle::idle().set("/linux/namespaces", json!([])).set("/mounts", json!([]));
    let bundle = bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([])).remove("/hostname");
    let container = bundle.file("marker", "here\n").start();
    assert_eq!(prints(&container, &[], &["cat", "/marker"]), "here\n");
}

#[test]
fn it_is_in_the_containers_cgroups() {
    let container = Bundle::idle().start();
    let of_init = cgroup::of_process(container.pid);
    let script = "cat /proc/self/cgroup";
    let of_exec = cgroup::parse(&sh(&container, script));
    let shown = |of: &std::collections::BTreeMap<String, String>| {
        cgroup::mounted_keys().iter().map(|key| of.get(key).cloned()).collect::<Vec<_>>()
    };
    // From inside they are relative to a namespace, so a long-running one is looked at from outside.
    let detached = Detached::new(&container, &[], &["sleep", "1000"]);
    assert_eq!(shown(&cgroup::of_process(detached.0)), shown(&of_init));
    assert!(!of_exec.is_empty());
}

#[test]
fn sub_cgroups() {
    differs!(Runc | Crun, "1.1 has other words, crun other paths");
    let container = Bundle::idle().start();
    let directories = cgroup::directories(&container.cgroup);
    let made: Vec<_> = directories.iter().map(|it| it.join("below")).filter(|it| fs::create_dir(it).is_ok()).collect();
    // A new cpuset of v1 takes nobody before it has CPUs.
    for directory in &made {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let parent = directory.parent().unwrap().join(file);
            if cgroup::view() == View::Hybrid && parent.exists() {
                fs::write(directory.join(file), fs::read_to_string(parent).unwrap().trim()).unwrap();
            }
        }
    }
    let detached = Detached::new(&container, &["--cgroup", "below"], &["sleep", "1000"]);
    let pid = detached.0.to_string();
    for directory in &made {
        let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        assert!(members.lines().any(|line| line == pid), "{directory:?}");
    }
    let refused = |path: &str| {
        let output = exec(&container, &["--cgroup", path], &["true"]).output();
        Refusal::from_output("exec", output)
    };
    refused("../x").says("bad sub cgroup path");
    refused("nothing").says("no such file or directory");
    refused("bogus:below").says("unknown controller ");
}

#[test]
fn a_container_that_hands_controllers_down() {
    requires!(cgroup::view() == View::Unified, "cgroup v2");
    let script = "cd /sys/fs/cgroup && mkdir init && echo $$ > init/cgroup.procs && \
        for c in $(cat cgroup.controllers); do echo +$c; done > cgroup.subtree_control; echo done; \
        trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let bundle = Bundle::sh(script).mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw"]).namespace("cgroup", None);
    let container = bundle.start();
    until("the script", || container.stdout().contains("done").then_some(()));
    assert_eq!(sh(&container, "grep ^0: /proc/self/cgroup"), "0::/init\n");
}

#[test]
fn user_groups_environment_and_directory() {
    let container = Bundle::idle().directory("work").start();
    let options = ["-u", "5:6", "-g", "7", "-g", "8", "-e", "A=1", "-e", "B=two words", "--cwd", "/work"];
    let script = "id -u; id -g; id -G; echo $A; echo $B; pwd; echo $PATH";
    let path = container.made_from.config["process"]["env"][0].as_str().unwrap().trim_start_matches("PATH=").to_owned();
    let expected = format!("5\n6\n6 7 8\n1\ntwo words\n/work\n{path}\n");
    assert_eq!(prints(&container, &options, &["sh", "-c", script]), expected);
}

#[test]
fn names_and_bad_numbers_are_no_users() {
    let container = Bundle::idle().start();
    for (flag, value) in [("--user", "root"), ("--user", "1:"), ("--user", "-1")] {
        let output = exec(&container, &[flag, value], &["true"]).output();
        Refusal::from_output("exec", output).names(flag);
    }
}

#[test]
fn capabilities_can_be_added() {
    differs!(Crun, "sets other sets");
    let bundle = Bundle::idle();
    let none = json!({"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []});
    let container = bundle.set("/process/capabilities", none).start();
    let sets = |options: &[&str]| prints(&container, options, &["grep", "Cap", "/proc/self/status"]);
    assert!(sets(&[]).contains("CapEff:\t0000000000000000"));
    let added = sets(&["--cap", "CAP_KILL", "--cap", "CAP_CHOWN"]);
    for set in ["CapBnd", "CapEff", "CapPrm"] {
        assert!(added.contains(&format!("{set}:\t0000000000000021")), "{added}");
    }
    assert!(added.contains("CapInh:\t0000000000000000") && added.contains("CapAmb:\t0000000000000000"), "{added}");
}

#[test]
fn no_new_privileges() {
    let container = Bundle::idle().set("/process/noNewPrivileges", false).start();
    let line = |options: &[&str]| prints(&container, options, &["grep", "NoNewPrivs", "/proc/self/status"]);
    assert_eq!(line(&[]), "NoNewPrivs:\t0\n");
    assert_eq!(line(&["--no-new-privs"]), "NoNewPrivs:\t1\n");
}

#[test]
fn the_containers_filter_is_over_it_too() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    });
    let container = Bundle::idle().set("/linux/seccomp", profile).start();
    differs!(Runc, "reads the bundle once more");
    // The bundle is the caller's, and may say something else by now.
    fs::remove_file(container.bundle().join("config.json")).unwrap();
    let output = exec(&container, &[], &["mkdir", "/tmp/x"]).output();
    assert!(output.stderr.contains("Function not implemented"), "{output:#?}");
    assert_eq!(prints(&container, &[], &["grep", "Seccomp:", "/proc/self/status"]), "Seccomp:\t2\n");
}

#[test]
fn a_whole_process() {
    differs!(Runc, "1.1 does not set oomScoreAdj and umask");
    let container = Bundle::idle().start();
    let output = exec_process(&container, &[], |process| {
        process["args"] = json!(["sh", "-c", "echo $X; id -u; ulimit -n; cat /proc/self/oom_score_adj; umask"]);
        process["env"] = json!(["X=y", "PATH=/bin"]);
        process["user"] = json!({"uid": 9, "gid": 9, "umask": 0o77});
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}]);
        process["oomScoreAdj"] = json!(321);
        process["terminal"] = json!(false);
    });
    assert_eq!(output.ok().stdout, "y\n9\n77\n321\n0077\n");
}

#[test]
fn a_process_with_what_nobody_knows_and_with_what_is_wrong() {
    let container = Bundle::idle().start();
    let echo = json!(["echo", "hello"]);
    let output = exec_process(&container, &[], |process| {
        process["args"] = echo.clone();
        process["news"] = json!({"of": ["a later version"]});
    });
    assert_eq!(output.ok().stdout, "hello\n");
    let output = exec_process(&container, &[], |process| {
        process["args"] = echo.clone();
        process["cwd"] = json!(7);
    });
    let refusal = Refusal::from_output("exec", output);
    if is_corten() {
        refusal.says("cwd");
    }
    assert_eq!(container.status(), "running");
}

#[test]
fn what_a_process_leaves_out_is_as_in_the_container() {
    differs!(Runc | Crun, "takes fewer things over");
    let kill = json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]});
    let rlimits = json!([{"type": "RLIMIT_NOFILE", "soft": 55, "hard": 55}]);
    let container = Bundle::idle().set("/process/capabilities", kill).set("/process/rlimits", rlimits).start();
    let output = exec_process(&container, &[], |process| {
        process["args"] = json!(["sh", "-c", "grep CapEff /proc/self/status; ulimit -n"]);
        process.as_object_mut().unwrap().remove("capabilities");
        process.as_object_mut().unwrap().remove("rlimits");
    });
    assert_eq!(output.ok().stdout, "CapEff:\t0000000000000020\n55\n");
}

#[test]
fn exit_statuses() {
    let container = Bundle::idle().start();
    for (script, status) in [("true", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        exec(&container, &[], &["sh", "-c", script]).output().exits(status);
    }
}

#[test]
fn failures_of_ours_are_255() {
    let container = Bundle::idle().directory("directory").file("file", "").start();
    for (args, cause) in [
        (&["nothing"][..], phrases::NOT_IN_PATH),
        (&["/nothing"], "no such file or directory"),
        (&["/directory"], "permission denied"),
        (&["/file"], "permission denied"),
    ] {
        container.refuses("exec", args).says(cause);
    }
    let output = exec(&container, &["--cwd", "/nothing"], &["true"]).output();
    Refusal::from_output("exec", output).says("no such file or directory");
    assert_eq!(container.status(), "running");
}

#[test]
fn a_stopped_or_unknown_container_has_no_further_processes() {
    let container = Bundle::new().start();
    container.wait();
    container.becomes("stopped");
    container.refuses("exec", &["true"]).says(phrases::EXEC_STOPPED);
    container.delete();
    container.refuses("exec", &["true"]).says("does not exist");
}

#[test]
fn a_created_container_can_have_further_processes() {
    let container = Bundle::new().create();
    assert_eq!(sh(&container, "echo $$ > /dev/null; echo before"), "before\n");
    assert_eq!(container.status(), "created");
    container.finish();
}

#[test]
fn detached_it_is_the_callers_child_and_the_pid_file_is_true() {
    let container = Bundle::idle().start();
    let detached = Detached::new(&container, &[], &["sh", "-c", "sleep 0.2; exit 9"]);
    let stat = fs::read_to_string(format!("/proc/{}/stat", detached.0)).unwrap();
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    assert_eq!(parent, std::process::id().to_string(), "it is inherited by the subreaper");
    assert_eq!(detached.wait(), Some(9));
}

#[test]
fn no_pid_file_when_nothing_was_executed() {
    let container = Bundle::idle().start();
    let file = container.path("pid");
    for options in [&["-d"][..], &[]] {
        let options = [options, &["--pid-file", file.to_str().unwrap()]].concat();
        exec(&container, &options, &["nothing"]).output().exits(255);
        assert!(!file.exists());
    }
}

#[test]
fn a_terminal_for_the_engine() {
    let container = Bundle::idle().start();
    let path = container.path("console.sock");
    let socket = ConsoleSocket::listen(&path);
    let options = ["-t", "--console-socket", path.to_str().unwrap()];
    let _detached = Detached::new(&container, &options, &["sh", "-c", "tty; test -t 0 && test -t 2 && echo yes"]);
    let printed = socket.receive().read_to_end().replace("\r\n", "\n");
    assert_eq!(printed, "/dev/pts/0\nyes\n");
}

#[test]
fn a_terminal_that_is_relayed() {
    let container = Bundle::idle().start();
    let (mut pty, slave) = Pty::open();
    pty.resize(33, 99);
    let running = exec(&container, &["-t"], &["sh", "-c", "tty; stty size; read x; echo got $x"]).stdio(&slave).spawn();
    drop(slave);
    pty.reads("33 99");
    pty.write("hello\n");
    pty.reads("got hello");
    running.wait().exits(0);
}

#[test]
fn a_detached_terminal_needs_a_socket_and_a_socket_a_terminal() {
    let container = Bundle::idle().start();
    let refused = |options: &[&str]| Refusal::from_output("exec", exec(&container, options, &["true"]).output());
    refused(&["-d", "-t"]).says(phrases::TERMINAL_NEEDS_SOCKET);
    let path = container.path("console.sock");
    let _socket = ConsoleSocket::listen(&path);
    refused(&["-d", "--console-socket", path.to_str().unwrap()]).says(phrases::SOCKET_NEEDS_TERMINAL);
}

#[test]
fn pipes_are_relayed_and_signals_handed_on() {
    let container = Bundle::idle().start();
    let output = exec(&container, &[], &["sh", "-c", "cat; echo end >&2"]).stdin("in\n").output().exits(0);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("in\n", "end\n"));
    let script = "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.05; done";
    let mut running = exec(&container, &[], &["sh", "-c", script]).spawn();
    running.read_until("ready");
    running.signal(Signal::USR1);
    running.wait().exits(5);
}

#[test]
fn preserved_descriptors() {
    let container = Bundle::idle().start();
    let command = format!(
        "exec 3<<<three 4<<<four 5<<<five; exec {:?} --root {:?} exec --preserve-fds 2 {} sh -c 'ls /proc/$$/fd; cat <&3'",
        crate::support::peer::program(),
        container.state_root(),
        container.id
    );
    let output = Run::new("bash").args(["-c", &command]).output().ok();
    assert_eq!(output.stdout, "0\n1\n2\n3\n4\nthree\n");
}

#[test]
fn nothing_of_the_host_is_open_or_reachable() {
    let container = Bundle::idle().start();
    assert_eq!(sh(&container, "ls /proc/$$/fd; true"), "0\n1\n2\n");
    let output = exec(&container, &["--cwd", "/proc/self/fd/7/../.."], &["pwd"]).output();
    assert!(!output.status.success(), "{output:#?}");
}

#[test]
fn it_is_killed_with_the_container() {
    let container = Bundle::idle().start();
    let detached = Detached::new(&container, &[], &["sleep", "1000"]);
    container.kill("KILL");
    until("the end of the process", || has_ended(detached.0).then_some(()));
}

#[test]
fn an_empty_command_is_refused() {
    let container = Bundle::idle().start();
    container.refuses("exec", &[]).because("process args cannot be empty");
}
