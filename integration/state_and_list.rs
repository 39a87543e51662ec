//! What `state` and `list` print, which engines parse.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::refusal::Refusal;
use crate::support::{Bundle, Container, differs};

/// The members that engines read, with their values where these are known.
#[track_caller]
fn assert_shape(state: &Value, container: &Container, status: &str, pid: i32) {
    assert_eq!(state["id"], container.id.as_str());
    assert_eq!(state["status"], status);
    assert_eq!(state["pid"], pid);
    assert_eq!(state["bundle"], container.bundle().to_str().unwrap());
    assert_eq!(state["rootfs"], container.rootfs().to_str().unwrap());
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    assert_is_rfc3339(state["created"].as_str().unwrap());
}

#[track_caller]
fn assert_is_rfc3339(time: &str) {
    let shape: String = time.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect();
    assert!(shape.starts_with("0000-00-00T00:00:00"), "{time}");
    let zone = shape[19..].trim_start_matches('.').trim_start_matches('0');
    assert!(["Z", "+00:00", "-00:00"].contains(&zone), "{time}");
}

#[test]
fn state_has_runcs_shape_in_every_status() {
    differs!(Crun, "has a relative rootfs");
    let container = Bundle::idle().set("/annotations", json!({"a.b": "c", "empty": ""})).create();
    for status in ["created", "running"] {
        let state = container.state();
        assert_shape(&state, &container, status, container.pid);
        assert_eq!(state["annotations"], json!({"a.b": "c", "empty": ""}));
        if status == "created" {
            container.start();
        }
    }
    container.kill("KILL");
    container.wait();
    let state = container.state();
    assert_shape(&state, &container, "stopped", 0);
    assert_eq!(state["annotations"], json!({"a.b": "c", "empty": ""}));
}

#[test]
fn state_is_indented_json() {
    differs!(Crun, "indents by four");
    let container = Bundle::new().create();
    let printed = container.call("state").ok().stdout;
    assert!(printed.starts_with("{\n  \"ociVersion\": "), "{printed}");
}

/// CRI-O reads the object into a structure that has these members too, with another meaning.
#[test]
fn state_has_none_of_cri_os_own_members() {
    let container = Bundle::new().create();
    let state = container.state();
    for member in [
        "started",
        "finished",
        "exitCode",
        "oomKilled",
        "seccompKilled",
        "error",
        "initPid",
        "initStartTime",
        "checkpointedTime",
        "containerMonitorProcess",
    ] {
        assert_eq!(state.get(member), None);
    }
}

#[test]
fn state_without_annotations() {
    let container = Bundle::new().create();
    let annotations = container.state().get("annotations").cloned().unwrap_or(json!({}));
    assert_eq!(annotations, json!({}));
}

fn list(bundle: &Container, flags: &[&str]) -> String {
    let output = bundle.runtime("list").args(flags).output().ok();
    assert_eq!(output.stderr, "");
    output.stdout
}

#[test]
fn list_as_a_table() {
    differs!(Crun, "has other columns");
    let container = Bundle::idle().start();
    let table = list(&container, &[]);
    let [header, row] = table.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {table}") };
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(columns(header), ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row = columns(row);
    assert_eq!(row[..2], [container.id.clone(), container.pid.to_string()]);
    // CRI-O's tests read the bundle from the fourth column.
    assert_eq!(row[2..4], ["running".to_owned(), container.bundle().to_str().unwrap().to_owned()]);
    assert_is_rfc3339(&row[4]);
    assert_eq!(row[5], "root");
}

#[test]
fn list_as_json() {
    differs!(Crun, "has other members, and no -f=json");
    let container = Bundle::idle().start();
    for flags in [["--format", "json"].as_slice(), &["--format=json"], &["-f", "json"], &["-f=json"]] {
        let printed: Value = serde_json::from_str(&list(&container, flags)).unwrap();
        assert_eq!(printed.as_array().unwrap().len(), 1);
        assert_shape(&printed[0], &container, "running", container.pid);
        assert_eq!(printed[0]["owner"], "root");
    }
}

#[test]
fn list_quietly() {
    let container = Bundle::new().create();
    for flag in ["--quiet", "-q"] {
        assert_eq!(list(&container, &[flag]), format!("{}\n", container.id));
    }
}

#[test]
fn list_of_nothing() {
    let container = Bundle::new().create();
    container.delete();
    assert_eq!(list(&container, &["-q"]), "");
    let printed: Value = serde_json::from_str(&list(&container, &["-f", "json"])).unwrap();
    assert!(printed.is_null() || printed == json!([]), "{printed}");
}

#[test]
fn list_knows_two_formats() {
    let bundle = Bundle::new();
    Refusal::from_output("list", bundle.runtime("list").args(["--format", "yaml"]).output()).because("yaml");
}

#[test]
fn several_containers_are_listed_by_id() {
    differs!(Crun, "lists them unsorted");
    let first = Bundle::new().create();
    let mut config = first.made_from.config.clone();
    config["linux"]["cgroupsPath"] = format!("{}-second", first.cgroup).into();
    fs::write(first.bundle().join("config.json"), config.to_string()).unwrap();
    let create = first.runtime("create").arg("--bundle").arg(first.bundle()).arg("a-second");
    create.stdout_to(Stdio::null()).stderr_to(Stdio::null()).output().ok();
    assert_eq!(list(&first, &["-q"]), format!("a-second\n{}\n", first.id));
    first.runtime("delete").arg("a-second").output().ok();
}

/// Docker, containerd and CRI-O let different runtimes share one state root.
#[test]
fn foreign_directories_below_the_state_root_are_tolerated() {
    let container = Bundle::new().create();
    let root = container.state_root();
    crate::support::rootfs::directory(&root.join("empty"));
    crate::support::rootfs::directory(&root.join("foreign"));
    fs::write(root.join("foreign/state.json"), "{\"not\": \"ours\"}").unwrap();
    fs::write(root.join("a-file"), "").unwrap();
    let listed = container.runtime("list").arg("-q").output().ok().stdout;
    assert!(listed.contains(&container.id), "{listed}");
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.wait(), 0);
    container.runtime("delete").arg(&container.id).output().ok().silent();
    assert!(root.join("foreign/state.json").exists() && root.join("empty").exists() && root.join("a-file").exists());
    fs::remove_dir_all(root).unwrap();
}
