//! What users look at, and take out.

use std::fs;

use serde_json::Value;

use super::Docker;
use crate::support::case::{Case, cases, in_one_of_five};
use crate::support::image::BOX;
use crate::support::run::Run;
use crate::support::wait::until;
use crate::support::{differs, peer};

pub fn cases() -> Vec<Case<Docker>> {
    cases![
        ps,
        logs,
        inspect,
        events,
        top,
        stats,
        diff,
        copy_in_and_out,
        export,
        import,
        commit,
        healthcheck,
        info_names_the_runtime
    ]
}

fn ps(docker: &Docker) {
    let container = docker.asleep("");
    let format = "{{.Status}}|{{.Command}}";
    let shown = |all: &str| {
        docker
            .command(&format!("ps {all} --no-trunc --filter name={} --format", container.name))
            .arg(format)
            .output()
            .ok()
    };
    let running = shown("");
    assert!(running.line().starts_with("Up ") && running.line().ends_with("|\"sleep 600\""), "{}", running.stdout);
    container.call("kill NAME").ok();
    container.call("wait NAME").ok();
    assert_eq!(shown("").stdout, "");
    assert!(shown("--all").line().starts_with("Exited (137) "));
}

fn logs(docker: &Docker) {
    let script = "echo err >&2; until test -e /go; do sleep 0.1; done; for i in 1 2 3; do echo $i; done; sleep 600";
    let container = docker.detached("", script);
    // The two streams come by ways of their own: what was said first need not be logged first.
    until("its errors", || (container.call("logs NAME").ok().stderr == "err\n").then_some(()));
    container.sh("touch /go");
    container.says("3");
    assert_eq!(container.log(), "1\n2\n3\n");
    assert_eq!(container.call("logs --tail 2 NAME").ok().stdout, "2\n3\n");
    let mut follows = container.command("logs --follow NAME").spawn();
    follows.read_until("3\n");
    container.call("kill NAME").ok();
    follows.wait().ok();
}

fn inspect(docker: &Docker) {
    let container = docker.asleep("");
    let all: Value = serde_json::from_str(&container.call("inspect NAME").ok().stdout).unwrap();
    let state = &all[0]["State"];
    assert_eq!((&state["Status"], &state["Running"], &state["ExitCode"]), (&"running".into(), &true.into(), &0.into()));
    // As the kernel has it.
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", state["Pid"])).unwrap();
    assert!(cgroup.contains(all[0]["Id"].as_str().unwrap()), "{cgroup}");
}

fn events(docker: &Docker) {
    in_one_of_five("all events", || all_events_are_there(docker));
}

fn all_events_are_there(docker: &Docker) -> bool {
    let container = docker.container();
    let since = Run::new("date").arg("+%s").output().ok();
    container.call(&format!("create --name NAME --memory 16m --memory-swap 16m {BOX} tail /dev/zero")).ok();
    container.call("start --attach NAME").exits(137);
    let events = |since: &str| {
        let until = Run::new("date").arg("+%s.%N").output().ok();
        let words =
            format!("events --since {since} --until {} --filter container={} --format", until.line(), container.name);
        docker.command(&words).arg("{{.Action}} {{.Actor.Attributes.exitCode}}").output().ok().stdout
    };
    let expected = ["create <no value>", "attach <no value>", "start <no value>", "die 137"];
    let seen = until("its events", || {
        let seen = events(since.line());
        seen.contains("die").then_some(seen)
    });
    for event in expected {
        assert!(seen.lines().any(|it| it == event), "{event}: {seen}");
    }
    seen.lines().any(|it| it == "oom <no value>")
}

fn top(docker: &Docker) {
    let container = docker.detached("", "sleep 601 & sleep 602 & echo started; wait");
    container.says("started");
    let output = container.call("top NAME -o pid,args").ok();
    let command = |line: &str| line.trim_start().split_once(' ').unwrap().1.trim().to_owned();
    let mut seen: Vec<_> = output.stdout.lines().map(command).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["COMMAND", "sh -c sleep 601 & sleep 602 & echo started; wait", "sleep 601", "sleep 602"]);
}

fn stats(docker: &Docker) {
    let container = docker.detached("--memory 64m --pids-limit 33", "while :; do :; done");
    let format = "{{.Name}}|{{.MemUsage}}|{{.CPUPerc}}|{{.PIDs}}";
    let output = container.command("stats --no-stream --format").arg(format).arg(&container.name).output().ok();
    let fields: Vec<_> = output.line().split('|').collect();
    assert_eq!((fields[0], fields[3]), (container.name.as_str(), "1"));
    assert!(fields[1].ends_with(" / 64MiB") && !fields[1].starts_with("0B"), "{}", fields[1]);
    let percent: f64 = fields[2].trim_end_matches('%').parse().unwrap();
    assert!(percent > 5.0, "{percent}");
}

fn diff(docker: &Docker) {
    let container = docker.detached("", "touch /new; rm /etc/group; sleep 600");
    until("its changes", || {
        (container.call("diff NAME").ok().stdout == "C /etc\nD /etc/group\nA /new\n").then_some(())
    });
}

fn copy_in_and_out(docker: &Docker) {
    let container = docker.detached("", "echo inside >/file; sleep 600");
    let file = docker.script("file", "outside\n");
    container.call(&format!("cp {file} NAME:/tmp/new")).ok();
    assert_eq!(container.sh("cat /tmp/new"), "outside\n");
    let copy = format!("{}/copy", docker.directory("copies"));
    until("the file", || container.call(&format!("cp NAME:/file {copy}")).status.success().then_some(()));
    assert_eq!(fs::read_to_string(copy).unwrap(), "inside\n");
}

fn export(docker: &Docker) {
    let container = docker.detached("", "echo hello >/new; sleep 600");
    container.sh("until test -s /new; do sleep 0.1; done");
    let archive = format!("{}/export.tar", docker.directory("exports"));
    container.call(&format!("export --output {archive} NAME")).ok();
    let output = Run::new("tar").args(["-xOf", &archive, "new"]).output().ok();
    assert_eq!(output.stdout, "hello\n");
}

fn import(docker: &Docker) {
    let image = docker.name();
    let layer = docker.path("image/layer.tar");
    docker.command("import --change").arg("CMD [\"echo\", \"imported\"]").arg(layer).arg(&image).output().ok();
    assert_eq!(docker.call(&format!("run --rm {image}")).ok().stdout, "imported\n");
    docker.call(&format!("rmi {image}")).ok();
}

fn commit(docker: &Docker) {
    let container = docker.container();
    let image = docker.name();
    container.command(&format!("run --name NAME {BOX} sh -c")).arg("echo hello >/new").output().ok();
    container.call(&format!("commit NAME {image}")).ok();
    assert_eq!(docker.call(&format!("run --rm {image} cat /new")).ok().stdout, "hello\n");
    docker.call(&format!("rmi {image}")).ok();
}

/// Docker executes the check again and again.
fn healthcheck(docker: &Docker) {
    let container = docker.container();
    let words = "run --detach --name NAME --health-interval 200ms --health-retries 1 --health-cmd";
    container.command(words).arg("test -e /tmp/well").args([BOX, "sleep", "600"]).output().ok();
    let becomes = |status: &str| until(status, || (container.inspect(".State.Health.Status") == status).then_some(()));
    becomes("unhealthy");
    container.sh("touch /tmp/well");
    becomes("healthy");
}

fn info_names_the_runtime(docker: &Docker) {
    let info: Value =
        serde_json::from_str(&docker.command("info --format").arg("{{json .}}").output().ok().stdout).unwrap();
    assert_eq!(info["DefaultRuntime"], "corten");
    let program = std::path::absolute(peer::program()).unwrap();
    assert_eq!(info["Runtimes"]["corten"]["path"], program.to_str().unwrap());
    differs!(Runc, "Debian's has no commit in its version");
    // Of the default runtime: `corten --version` was understood.
    let commit = info["RuncCommit"]["ID"].as_str().unwrap();
    let version = Run::new(program).arg("--version").output().ok().stdout;
    assert!(version.contains(&format!("commit: {commit}\n")) && !commit.is_empty(), "{commit:?}: {version}");
}
