//! Hooks of all six kinds: order, place, what they are told, and what their failure means.

use std::fs;

use serde_json::{Value, json};

use crate::phrases::DOES_NOT_EXIST;
use crate::support::peer::{Peer, is_corten, peer};
use crate::support::run::Run;
use crate::support::{Bundle, Container, differs};

/// Kinds whose path is the host's.
const HOST: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
const ALL: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
const IN_CREATE: [&str; 3] = ["prestart", "createRuntime", "createContainer"];

fn sh(script: &str) -> Value {
    // crun dies of SIGPIPE when a hook ends without reading, so a wrapper reads for it.
    let script = match peer() {
        Peer::Crun => format!("state=$(cat); printf %s \"$state\" | {{ {script}; }}"),
        _ => script.to_owned(),
    };
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

/// A bundle with a directory that hooks and program share: `$D` is its path for hooks, /shared for the program and for
/// startContainer hooks.
fn shared(script: &str) -> Bundle {
    let bundle = Bundle::sh(script);
    let directory = bundle.path("shared");
    crate::support::rootfs::directory(&directory);
    bundle.bind(directory, "/shared", &[])
}

/// A hook of the given kind in which `$D` is the shared directory.
fn hook(bundle: &Bundle, kind: &str, script: &str) -> Value {
    let directory = if kind == "startContainer" { "/shared".into() } else { bundle.path("shared") };
    sh(&format!("D={}; {script}", directory.display()))
}

fn with_hook(bundle: Bundle, kind: &str, script: &str) -> Bundle {
    let hook = hook(&bundle, kind, script);
    bundle.hook(kind, hook)
}

fn read(container: &Container, name: &str) -> String {
    fs::read_to_string(container.path("shared").join(name)).unwrap_or_default()
}

#[test]
fn they_run_in_the_order_of_the_lifecycle() {
    differs!(Runc | Crun, "runs poststart hooks in create, or beside those of startContainer");
    let bundle = ALL.iter().fold(shared("echo program >> /shared/order; sleep 600"), |bundle, kind| {
        let bundle = with_hook(bundle, kind, &format!("echo {kind} 1 >> $D/order"));
        with_hook(bundle, kind, &format!("echo {kind} 2 >> $D/order"))
    });
    let container = bundle.create();
    let created = "prestart 1\nprestart 2\ncreateRuntime 1\ncreateRuntime 2\ncreateContainer 1\ncreateContainer 2\n";
    assert_eq!(read(&container, "order"), created);
    container.start();
    crate::support::wait::until("the program", || read(&container, "order").contains("program").then_some(()));
    let order = read(&container, "order");
    let started = order.strip_prefix(&format!("{created}startContainer 1\nstartContainer 2\n")).expect(&order);
    // The program runs beside the poststart hooks.
    assert!(started.contains("poststart 1\n") && started.contains("poststart 2\n"), "{order}");
    container.kill("KILL");
    container.wait();
    container.delete();
    assert!(read(&container, "order").ends_with("poststop 1\npoststop 2\n"));
}

#[test]
fn poststart_runs_before_start_returns_and_poststop_before_delete_does() {
    differs!(Runc, "1.1.5 runs poststart hooks in create");
    let bundle = with_hook(shared("sleep 600"), "poststart", "sleep 0.3; echo poststart > $D/poststart");
    let container = with_hook(bundle, "poststop", "sleep 0.3; echo poststop > $D/poststop").create();
    assert_eq!(read(&container, "poststart"), "");
    container.start();
    assert_eq!(read(&container, "poststart"), "poststart\n");
    container.kill("KILL");
    container.wait();
    assert_eq!(read(&container, "poststop"), "");
    container.delete();
    assert_eq!(read(&container, "poststop"), "poststop\n");
}

#[test]
fn start_container_hooks_run_before_the_program() {
    let bundle = shared("cat /shared/order");
    let container = with_hook(bundle, "startContainer", "sleep 0.3; echo hook > $D/order").create();
    assert_eq!(container.finish(), "hook\n");
}

/// The state that each kind of hook gets on stdin.
fn states() -> (Container, impl Fn(&str) -> Value) {
    let bundle = ALL.iter().fold(shared("true"), |bundle, kind| with_hook(bundle, kind, &format!("cat > $D/{kind}")));
    let container = bundle.set("/annotations", json!({"a": "b"})).create();
    container.start();
    container.wait();
    container.delete();
    let directory = container.path("shared");
    let of = move |kind: &str| {
        let text = fs::read_to_string(directory.join(kind)).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}: {text:?}"))
    };
    (container, of)
}

#[test]
fn they_get_the_state_on_stdin() {
    differs!(Crun, "says / as the bundle in startContainer");
    let (container, state) = states();
    for kind in ALL {
        let state = state(kind);
        assert_eq!(state["id"], container.id.as_str(), "{kind}");
        assert_eq!(state["bundle"], container.bundle().to_str().unwrap(), "{kind}");
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{kind}");
        assert_eq!(state["annotations"], json!({"a": "b"}), "{kind}");
    }
}

#[test]
fn the_state_has_the_status() {
    differs!(Runc | Crun, "has words of its own for startContainer, or is early with poststart");
    let (_container, state) = states();
    for (kind, statuses) in [
        // The specification says creating, runtime-tools' validation wants created.
        ("prestart", ["creating", "created"]),
        ("createRuntime", ["creating", "created"]),
        ("createContainer", ["creating", "created"]),
        ("startContainer", ["created", "created"]),
        ("poststart", ["running", "running"]),
        ("poststop", ["stopped", "stopped"]),
    ] {
        let status = &state(kind)["status"];
        assert!(statuses.iter().any(|it| status == it), "{kind}: {status}");
    }
}

#[test]
fn the_state_has_the_pid_as_the_runtime_sees_it() {
    let (container, state) = states();
    for kind in ["prestart", "createRuntime", "poststart"] {
        assert_eq!(state(kind)["pid"], container.pid, "{kind}");
    }
    let after = state("poststop");
    assert!(after.get("pid").is_none_or(|pid| *pid == 0), "{after}");
}

#[test]
fn the_state_has_the_pid_as_the_container_sees_it() {
    differs!(Crun, "says 0");
    let (_container, state) = states();
    for kind in ["createContainer", "startContainer"] {
        assert_eq!(state(kind)["pid"], 1, "{kind}");
    }
}

#[test]
fn runtime_hooks_run_in_the_runtimes_namespaces() {
    let script = "readlink /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/pid > $D/";
    let kinds = ["prestart", "createRuntime", "poststart", "poststop"];
    let bundle = kinds.iter().fold(shared("true"), |bundle, kind| with_hook(bundle, kind, &format!("{script}{kind}")));
    let container = bundle.create();
    container.start();
    container.wait();
    container.delete();
    let link =
        |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_string_lossy().into_owned() + "\n";
    for kind in kinds {
        assert_eq!(read(&container, kind), link("mnt") + &link("net") + &link("pid"), "{kind}");
    }
}

#[test]
fn create_container_hooks_run_in_the_containers_namespaces_with_the_hosts_files() {
    let script = "readlink /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/uts > $D/ns; test -x /usr/bin/unshare && echo host > $D/root";
    let container = with_hook(shared("true"), "createContainer", script).create();
    let links = ["mnt", "net", "uts"].map(|name| container.namespace(name) + "\n");
    assert_eq!(read(&container, "ns"), links.concat());
    assert_eq!(read(&container, "root"), "host\n");
}

#[test]
fn start_container_hooks_run_inside() {
    let script =
        "readlink /proc/self/ns/net > $D/ns; ls / > $D/root; test -e /usr/bin/unshare || echo absent >> $D/root";
    let container = with_hook(shared("true"), "startContainer", script).create();
    let net = container.namespace("net") + "\n";
    container.start();
    container.wait();
    assert_eq!(read(&container, "ns"), net);
    assert!(read(&container, "root").ends_with("absent\n") && read(&container, "root").contains("shared\n"));
}

/// Hooks that set up the network are why they exist.
#[test]
fn create_hooks_find_the_namespaces_made() {
    let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | tr -d '\\n'); nsenter --target $pid --net ip link set lo up && echo up > $D/up";
    let bundle = with_hook(shared("ip link show lo | head -n1"), "createRuntime", script);
    let container = bundle.create();
    assert_eq!(read(&container, "up"), "up\n");
    assert!(container.finish().contains(",UP"));
}

#[test]
fn mounts_are_made_when_create_hooks_run() {
    for kind in ["prestart", "createRuntime"] {
        let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | tr -d '\\n'); grep -c '/rootfs/m ' /proc/$pid/mountinfo > $D/seen";
        let container = with_hook(shared("true").tmpfs("/m", &[]), kind, script).create();
        assert_eq!(read(&container, "seen"), "1\n", "{kind}");
    }
}

#[test]
fn environment_is_the_configured_one() {
    for kind in HOST {
        let bundle = shared("true");
        let mut hook = hook(&bundle, kind, "env > $D/env");
        hook["env"] = json!(["A=1", "EMPTY="]);
        let container = bundle.hook(kind, hook).through(["env", "LEAK=from-the-runtime"]).start();
        container.wait();
        container.delete();
        let env = read(&container, "env");
        assert!(env.contains("A=1\n") && env.contains("EMPTY=\n") && !env.contains("LEAK"), "{kind}: {env}");
    }
}

#[test]
fn start_container_hooks_without_env_have_the_programs() {
    let bundle = with_hook(shared("true"), "startContainer", "env > $D/env").push("/process/env", "OF=process");
    let container = bundle.start();
    container.wait();
    assert!(read(&container, "env").contains("OF=process\n"));
}

#[test]
fn without_args_argv_is_the_path() {
    let bundle = shared("true");
    let script = bundle.path("hook.sh");
    fs::write(&script, format!("#!/bin/sh\necho \"$# $0\" > {}/shared/argv\n", bundle.path("").display())).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let container = bundle.hook("createRuntime", json!({"path": script})).create();
    assert_eq!(read(&container, "argv"), format!("0 {}\n", script.display()));
}

#[test]
fn argv_is_args_with_the_first() {
    let bundle = shared("true");
    let mut hook = hook(&bundle, "createRuntime", "echo $0 $1 > $D/argv");
    hook["args"].as_array_mut().unwrap().extend([json!("zero"), json!("one")]);
    let container = bundle.hook("createRuntime", hook).create();
    assert_eq!(read(&container, "argv"), "zero one\n");
}

#[test]
fn no_descriptors_leak_into_them() {
    differs!(Crun, "leaks descriptors into hooks");
    let bundle = ALL
        .iter()
        .fold(shared("true"), |bundle, kind| with_hook(bundle, kind, &format!("ls /proc/self/fd > $D/{kind}")));
    let container = bundle.through(["bash", "-c", "exec 7</etc/passwd 77</; exec \"$@\"", "_"]).create();
    container.start();
    container.wait();
    container.delete();
    for kind in ALL {
        let fds = read(&container, kind);
        differs!(Runc, "startContainer hooks hold the runtime's");
        // The last one is the directory that `ls` reads.
        assert_eq!(fds, "0\n1\n2\n3\n", "{kind}");
    }
}

#[test]
fn a_hook_need_not_read_a_large_state() {
    let annotations = json!({"large": "x".repeat(300_000)});
    let bundle = ALL.iter().fold(shared("echo alive"), |bundle, kind| with_hook(bundle, kind, "exit 0"));
    assert_eq!(bundle.set("/annotations", annotations).prints(), "alive\n");
}

#[test]
fn a_hook_may_read_a_large_state_late() {
    let annotations = json!({"large": "x".repeat(300_000)});
    let bundle = with_hook(shared("true"), "createRuntime", "sleep 0.2; wc -c > $D/size");
    let container = bundle.set("/annotations", annotations).create();
    assert!(read(&container, "size").trim().parse::<u32>().unwrap() > 300_000);
}

// ---- failures ----

#[test]
fn a_failing_create_hook_fails_create_and_poststop_runs() {
    for kind in IN_CREATE {
        let bundle = with_hook(shared("true"), kind, "echo from the hook >&2; exit 3");
        let bundle = with_hook(bundle, kind, "echo ran > $D/second");
        let bundle = with_hook(bundle, "poststop", "echo ran > $D/poststop");
        let directory = bundle.path("shared");
        bundle.write();
        bundle.refuses("create").because(&format!("error running {kind} hook #0")).because("exit status: 3");
        assert!(directory.exists() && !directory.join("second").exists(), "{kind}: the next hook must not run");
        if is_corten() {
            assert!(directory.join("poststop").exists(), "{kind}");
        }
    }
}

#[test]
fn a_failing_create_hook_is_named_by_its_place() {
    differs!(Crun, "has words of its own");
    for kind in IN_CREATE {
        let refusal = Bundle::new().hook(kind, sh("exit 0")).hook(kind, sh("echo why >&2; exit 1")).create_fails();
        refusal.because(&format!("error running {kind} hook #1:")).says("why");
    }
}

#[test]
fn a_hook_that_is_killed_has_failed() {
    Bundle::new().hook("createRuntime", sh("kill -9 $$")).create_fails().because("signal");
}

#[test]
fn a_hook_that_is_not_there_has_failed() {
    for kind in IN_CREATE {
        let refusal = Bundle::new().hook(kind, json!({"path": "/no/such/hook"})).create_fails();
        refusal.because(&format!("error running {kind} hook #0")).says("no such file or directory");
    }
}

/// The container goes, and the error is start's.
#[test]
fn a_failing_start_container_hook_fails_start() {
    differs!(Runc | Crun, "start may succeed nevertheless, and the rest is left to delete");
    let bundle = with_hook(shared("echo program > /shared/program"), "startContainer", "exit 4");
    let container = with_hook(bundle, "poststop", "echo ran > $D/poststop").create();
    container.refuses("start", &[]).because("error running startContainer hook #0").because("exit status: 4");
    assert_eq!(read(&container, "program"), "");
    assert_eq!(read(&container, "poststop"), "ran\n");
    container.refuses("state", &[]).says(DOES_NOT_EXIST);
    container.assert_nothing_left();
}

#[test]
fn a_failing_start_container_hook_keeps_the_program_from_running() {
    let bundle = with_hook(shared("echo program > /shared/program"), "startContainer", "exit 4");
    let container = bundle.create();
    container.call("start");
    container.wait();
    assert_eq!(read(&container, "program"), "");
}

#[test]
fn a_failing_poststart_hook_ends_the_container() {
    differs!(Runc | Crun, "leaves the rest to delete, or only warns as earlier specifications said");
    let bundle = with_hook(shared("sleep 600"), "poststart", "exit 5");
    let bundle = with_hook(bundle, "poststart", "echo ran > $D/second");
    let container = with_hook(bundle, "poststop", "echo ran > $D/poststop").create();
    container.refuses("start", &[]).because("error running poststart hook #0").because("exit status: 5");
    assert_eq!(container.wait(), 128 + 9);
    assert_eq!(read(&container, "second"), "");
    assert_eq!(read(&container, "poststop"), "ran\n");
    container.refuses("state", &[]).says(DOES_NOT_EXIST);
    container.assert_nothing_left();
}

#[test]
fn a_failing_poststop_hook_is_a_warning() {
    differs!(Runc, "stops at it and fails");
    let bundle = with_hook(shared("true"), "poststop", "exit 6");
    let container = with_hook(bundle, "poststop", "echo ran > $D/second").start();
    container.wait();
    let deleted = container.call("delete").ok();
    assert!(!is_corten() || deleted.stderr.contains("poststop hook #0"), "{deleted:#?}");
    container.assert_nothing_left();
    assert_eq!(read(&container, "second"), "ran\n");
}

#[test]
fn poststop_runs_after_the_state_is_gone() {
    let bundle = shared("true");
    let root = bundle.state_root();
    let container = with_hook(bundle, "poststop", &format!("ls {} > $D/state", root.display())).start();
    container.wait();
    container.delete();
    differs!(Crun, "removes it afterwards");
    assert!(container.path("shared/state").exists());
    assert_eq!(read(&container, "state"), "");
}

#[test]
fn poststop_runs_at_delete_force() {
    let container = with_hook(shared("true"), "poststop", "echo ran > $D/poststop").create();
    container.runtime("delete").args(["--force", &container.id]).output().ok();
    assert_eq!(read(&container, "poststop"), "ran\n");
}

#[test]
fn poststop_runs_before_run_returns() {
    let bundle = with_hook(shared("true"), "poststop", "echo ran > $D/poststop");
    bundle.write();
    bundle.command("run").output().ok();
    assert_eq!(fs::read_to_string(bundle.path("shared/poststop")).unwrap(), "ran\n");
}

#[test]
fn a_hook_over_its_time_is_killed_and_has_failed() {
    for kind in ["prestart", "createContainer"] {
        let bundle = Bundle::new();
        // It waits for a writer; the path on its command line lets the sandbox find it.
        let fifo = bundle.path("fifo");
        Run::new("mkfifo").arg(&fifo).output().ok();
        let script = format!("read line < {}", fifo.display());
        let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        hook["timeout"] = 1.into();
        bundle.hook(kind, hook).create_fails().because(&format!("error running {kind} hook #0")).because("timeout");
    }
}

#[test]
fn a_hook_within_its_time() {
    let mut hook = sh("exit 0");
    hook["timeout"] = 60.into();
    assert_eq!(Bundle::sh("echo ok").hook("createRuntime", hook).prints(), "ok\n");
}

#[test]
fn hooks_that_mean_nothing() {
    differs!(Runc | Crun, "does not look");
    for kind in ALL {
        let refusal = Bundle::new().hook(kind, json!({"path": "relative"})).create_fails();
        refusal.names(&format!("hooks.{kind}[0].path"));
        for timeout in [0, -1] {
            let refusal = Bundle::new().hook(kind, json!({"path": "/bin/true", "timeout": timeout})).create_fails();
            refusal.names(&format!("hooks.{kind}[0].timeout"));
        }
    }
    Bundle::new().hook("prestart", json!({"args": ["x"]})).create_fails().names("hooks.prestart[0]");
}

#[test]
fn unknown_kinds_are_ignored() {
    assert_eq!(Bundle::sh("echo ok").hook("noSuchHook", sh("exit 1")).prints(), "ok\n");
}
