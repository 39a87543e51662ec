//! Which commands are disturbed: on what they act, and what may come of it.

use std::ffi::OsString;

use serde_json::json;

use crate::support::run::Run;
use crate::support::{Bundle, cgroup, criu, systemd};

/// A status that `state` tells; empty: it knows no such container.
pub type Status = &'static str;

/// A command. A further one is a row in [`COMMANDS`].
pub struct Row {
    /// In the table: the command, and behind a dash what is special about it.
    pub name: &'static str,
    /// Whether this machine has what it needs.
    pub applies: fn() -> bool,
    pub bundle: fn() -> Bundle,
    /// Commands that bring the container to where this one begins.
    pub before: &'static [&'static str],
    pub command: fn(&Bundle) -> Run,
    /// The first process has its part in it, and is disturbed as well.
    pub disturbs_init: bool,
    /// Where the container is when it says that it did it, and when it says that it did not.
    pub done: &'static [Status],
    pub refused: &'static [Status],
    /// Whether it has changed or printed what it should; `None`: that cannot be seen.
    pub effect: fn(&Bundle, output: &str) -> Option<bool>,
    /// When it says that it did not do it, there is none.
    pub takes_back: bool,
}

/// What the program of `exec` says.
pub const EXECUTED: &str = "it-was-executed";

const ROW: Row = Row {
    name: "",
    applies: || true,
    bundle: plain,
    before: &[],
    command: |bundle| bundle.command("create"),
    disturbs_init: false,
    done: &["running"],
    refused: &["running"],
    effect: |_, _| None,
    takes_back: false,
};

pub const COMMANDS: &[Row] = &[
    Row { name: "create", done: &["created"], refused: &[""], ..ROW },
    Row { name: "create-user", bundle: in_user_namespace, done: &["created"], refused: &[""], ..ROW },
    Row { name: "create-hooks", bundle: with_hooks, done: &["created"], refused: &[""], ..ROW },
    Row {
        name: "start",
        before: &["create"],
        command: |bundle| on(bundle, "start", &[]),
        disturbs_init: true,
        // Lifecycle 7-9: what cannot be started is destroyed, unless nothing was tried yet.
        refused: &["", "created", "stopped"],
        ..ROW
    },
    Row {
        name: "run",
        bundle: || plain().args(&["true"]),
        command: |bundle| bundle.command("run"),
        done: &[""],
        // When it cannot be deleted.
        refused: &["", "stopped"],
        ..ROW
    },
    Row { name: "run-detach", command: |bundle| bundle.command("run").arg("--detach"), refused: &[""], ..ROW },
    Row {
        name: "exec",
        before: &["create", "start"],
        command: |bundle| on(bundle, "exec", &["echo", EXECUTED]),
        effect: |_, output| Some(output.contains(EXECUTED)),
        ..ROW
    },
    Row {
        name: "update",
        before: &["create", "start"],
        command: |bundle| match cgroup::has("pids") {
            true => on(bundle, "update", &[]).args(["--pids-limit", "77"]),
            false => on(bundle, "update", &[]).args(["--cpu-share", "0"]),
        },
        effect: |bundle, _| {
            let file = cgroup::has("pids").then(|| cgroup::file("pids", &bundle.cgroup, "pids.max", "pids.max"))?;
            Some(std::fs::read_to_string(file).is_ok_and(|limit| limit.trim() == "77"))
        },
        takes_back: true,
        ..ROW
    },
    Row {
        name: "pause",
        before: &["create", "start"],
        command: |bundle| on(bundle, "pause", &[]),
        done: &["paused"],
        ..ROW
    },
    Row {
        name: "resume",
        before: &["create", "start", "pause"],
        command: |bundle| on(bundle, "resume", &[]),
        refused: &["paused", "running"],
        ..ROW
    },
    Row {
        name: "kill",
        before: &["create", "start"],
        command: |bundle| on(bundle, "kill", &["KILL"]),
        done: &["stopped"],
        refused: &["running", "stopped"],
        ..ROW
    },
    Row {
        name: "delete",
        before: &["create", "start", "kill"],
        command: |bundle| on(bundle, "delete", &[]),
        done: &[""],
        refused: &["stopped", ""],
        ..ROW
    },
    Row {
        name: "delete-force",
        before: &["create", "start"],
        command: |bundle| bundle.runtime("delete").args(["--force", &bundle.id]),
        done: &[""],
        refused: &["running", "stopped", ""],
        ..ROW
    },
    Row {
        name: "checkpoint",
        applies: criu::is_here,
        bundle: || with_streams_of_its_own(plain()),
        before: &["create", "start"],
        command: |bundle| {
            let images = bundle.path("images");
            let _ = std::fs::remove_dir_all(&images);
            bundle.runtime("checkpoint").arg("--image-path").arg(images).arg(&bundle.id)
        },
        done: &[""],
        // When it cannot be deleted.
        refused: &["running", "stopped", ""],
        ..ROW
    },
    Row {
        name: "create-systemd",
        applies: systemd::is_here,
        bundle: in_scope,
        done: &["created"],
        refused: &[""],
        ..ROW
    },
    Row {
        name: "run-systemd",
        applies: systemd::is_here,
        bundle: || in_scope().args(&["true"]),
        command: |bundle| bundle.command("run"),
        done: &[""],
        refused: &["", "stopped"],
        ..ROW
    },
    Row {
        name: "delete-systemd",
        applies: systemd::is_here,
        bundle: in_scope,
        before: &["create", "start"],
        command: |bundle| bundle.runtime("delete").args(["--force", &bundle.id]),
        done: &[""],
        refused: &["running", "stopped", ""],
        ..ROW
    },
];

fn on(bundle: &Bundle, command: &str, arguments: &[&str]) -> Run {
    bundle.runtime(command).arg(&bundle.id).args(arguments)
}

/// One of the commands that go before.
pub fn plainly(bundle: &Bundle, command: &str) -> Vec<OsString> {
    match command {
        "create" => bundle.command("create").words(),
        "kill" => on(bundle, "kill", &["KILL"]).words(),
        other => on(bundle, other, &[]).words(),
    }
}

/// With what most containers have: limits, a filter, masks, a pid file.
fn plain() -> Bundle {
    let bundle = Bundle::sh("sleep 600");
    let pid_file = format!("--pid-file={}", bundle.path("pid").display());
    let bundle = bundle
        .option(pid_file)
        .namespace("cgroup", None)
        .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512}]))
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}))
        .set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/interrupts", "/proc/tty"]))
        .set("/linux/readonlyPaths", json!(["/proc/fs", "/proc/sys"]))
        .set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["keyctl", "add_key"], "action": "SCMP_ACT_ERRNO"}],
            }),
        )
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"])
        .set("/linux/resources/devices", json!([{"allow": false, "access": "rwm"}]));
    let bundle = if cgroup::has("pids") { bundle.set("/linux/resources/pids/limit", 50) } else { bundle };
    if cgroup::has("memory") { bundle.set("/linux/resources/memory/limit", 100_000_000) } else { bundle }
}

fn in_user_namespace() -> Bundle {
    plain().user_namespace(100_000).remove("/linux/resources/devices")
}

/// CRIU does not take files of the host's along.
fn with_streams_of_its_own(bundle: Bundle) -> Bundle {
    bundle.through(["sh", "-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "_"])
}

fn in_scope() -> Bundle {
    systemd::in_default_slice(plain())
}

fn with_hooks() -> Bundle {
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    kinds.iter().fold(plain(), |bundle, kind| bundle.hook(kind, json!({"path": "/bin/true", "timeout": 5})))
}
