//! Containers that outlive dockerd (`live-restore`).

use std::process::Command;

use serde_json::json;

use super::{BOX, Docker};
use crate::support::case::{Case, cases};
use crate::support::engine::Engine;

pub fn cases() -> Vec<Case<Docker>> {
    cases![containers_survive]
}

fn containers_survive(_: &Docker) {
    let mut command = Command::new("unshare");
    command.args(["--net", "dockerd"]);
    let mut docker = Docker::with(command, &json!({ "live-restore": true }));
    let container = |docker: &Docker, field: &str| {
        docker.call(&format!("inspect --format {{{{.State.{field}}}}} survivor")).ok().line().to_owned()
    };
    let script = "trap 'exit 7' TERM; while :; do sleep 0.1; done";
    docker.command(&format!("run --detach --name survivor --network none {BOX} sh -c")).arg(script).output().ok();
    let pid = container(&docker, "Pid");
    docker.crash();
    assert_eq!((container(&docker, "Status"), container(&docker, "Pid")), ("running".to_owned(), pid));
    assert_eq!(docker.call("exec survivor echo hello").ok().stdout, "hello\n");
    docker.call("stop survivor").ok();
    assert_eq!(container(&docker, "ExitCode"), "7");
    docker.call("rm survivor").ok();
    assert_eq!(docker.stop(), <[String; 0]>::default());
}
