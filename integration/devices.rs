//! Default device nodes and links, and the configured ones.

use std::fs;

use serde_json::{Value, json};

use crate::support::bundle::Bundle;
use crate::support::differs;
use crate::support::run::Run;

fn device(kind: &str, path: &str, major: u32, minor: u32) -> Value {
    json!({"type": kind, "path": path, "major": major, "minor": minor})
}

/// Kind, numbers (hexadecimal), mode and owner.
const STAT: &str = "stat -c '%n %F %t:%T %a %u:%g'";

#[test]
fn default_nodes() {
    let printed = Bundle::sh(&format!("cd /dev; {STAT} null zero full random urandom tty")).prints();
    let expected = ["null 1:3", "zero 1:5", "full 1:7", "random 1:8", "urandom 1:9", "tty 5:0"].map(|node| {
        let (name, numbers) = node.split_once(' ').unwrap();
        format!("{name} character special file {numbers} 666 0:0\n")
    });
    assert_eq!(printed, expected.concat());
}

#[test]
fn default_links() {
    let printed = Bundle::sh("cd /dev; for name in fd stdin stdout stderr ptmx; do readlink $name; done").prints();
    assert_eq!(printed, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n");
}

#[test]
fn nothing_else_is_in_dev() {
    let printed = Bundle::sh("ls /dev").prints();
    let names: Vec<_> = printed.lines().filter(|name| *name != "core").collect();
    let expected = ["fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"];
    assert_eq!(names, [&expected[..], &["urandom", "zero"]].concat());
}

const USE_THEM: &str = "echo x > /dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c
    head -c 8 /dev/random | wc -c; echo x > /dev/full";
const USED: (&str, &str) = (" 00 00 00 00\n8\n8\n", "sh: write error: No space left on device\n");

#[track_caller]
fn assert_usable(bundle: Bundle) {
    let output = bundle.args(&["sh", "-c", USE_THEM]).run().exits(1);
    assert_eq!((&*output.stdout, &*output.stderr), USED);
}

#[test]
fn default_nodes_work() {
    assert_usable(Bundle::new());
}

#[test]
fn default_nodes_work_for_a_user() {
    assert_usable(Bundle::new().set("/process/user", json!({"uid": 1000, "gid": 1000})));
}

#[test]
fn default_nodes_work_though_all_devices_are_denied() {
    differs!(Crun, "needs CAP_SYS_RESOURCE");
    assert_usable(Bundle::new().set("/linux/resources/devices", json!([{"allow": false, "access": "rwm"}])));
}

#[test]
fn default_nodes_work_in_a_user_namespace() {
    assert_usable(Bundle::new().user_namespace(100_000));
}

#[test]
fn default_nodes_work_in_a_plain_directory() {
    assert_usable(Bundle::new().set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}])));
}

#[test]
fn nodes_of_every_kind_with_mode_and_owner() {
    let with = |mut device: Value, mode: u32| {
        device["fileMode"] = mode.into();
        device["uid"] = 12.into();
        device["gid"] = 34.into();
        device
    };
    let bundle = Bundle::sh(&format!("{STAT} /dev/c /dev/b /dev/u /dev/p"))
        .push("/linux/devices", with(device("c", "/dev/c", 1, 5), 0o640))
        .push("/linux/devices", with(device("b", "/dev/b", 7, 0), 0o600))
        .push("/linux/devices", with(device("u", "/dev/u", 1, 3), 0o222))
        .push("/linux/devices", with(json!({"type": "p", "path": "/dev/p"}), 0o777));
    let expected = "/dev/c character special file 1:5 640 12:34\n/dev/b block special file 7:0 600 12:34\n\
                    /dev/u character special file 1:3 222 12:34\n/dev/p fifo 0:0 777 12:34\n";
    assert_eq!(bundle.prints(), expected);
}

#[test]
fn mode_and_owner_unset() {
    let bundle = Bundle::sh(&format!("{STAT} /dev/c")).push("/linux/devices", device("c", "/dev/c", 1, 3));
    assert_eq!(bundle.prints(), "/dev/c character special file 1:3 666 0:0\n");
}

#[test]
fn mode_does_not_suffer_from_the_callers_umask() {
    let bundle = Bundle::sh(&format!("{STAT} /dev/c")).push("/linux/devices", device("c", "/dev/c", 1, 3));
    let bundle = bundle.set("/linux/devices/0/fileMode", 0o777).after_host_sh("umask 077");
    assert_eq!(bundle.prints(), "/dev/c character special file 1:3 777 0:0\n");
}

#[test]
fn a_path_outside_dev_with_new_directories() {
    let bundle =
        Bundle::sh(&format!("{STAT} /opt/nodes/null")).push("/linux/devices", device("c", "/opt/nodes/null", 1, 3));
    assert_eq!(bundle.prints(), "/opt/nodes/null character special file 1:3 666 0:0\n");
}

#[test]
fn large_numbers() {
    let bundle = Bundle::sh(&format!("{STAT} /dev/b")).push("/linux/devices", device("b", "/dev/b", 4095, 1_048_575));
    assert_eq!(bundle.prints(), "/dev/b block special file fff:fffff 666 0:0\n");
}

#[test]
fn engines_list_default_nodes_too() {
    differs!(Runc, "denies it unless resources allow it");
    let mut null = device("c", "/dev/null", 1, 3);
    null["fileMode"] = 0o666.into();
    let bundle = Bundle::sh(&format!("{STAT} /dev/null")).push("/linux/devices", null);
    assert_eq!(bundle.prints(), "/dev/null character special file 1:3 666 0:0\n");
}

#[test]
fn a_node_that_is_there_and_fits() {
    let bundle = Bundle::sh(&format!("{STAT} /opt/null")).directory("opt");
    Run::new("mknod").args(["-m", "666"]).arg(bundle.rootfs().join("opt/null")).args(["c", "1", "3"]).output().ok();
    let bundle = bundle.push("/linux/devices", device("c", "/opt/null", 1, 3));
    assert_eq!(bundle.prints(), "/opt/null character special file 1:3 666 0:0\n");
}

#[test]
fn something_that_is_there_and_does_not_fit() {
    differs!(Runc | Crun, "is content with any file");
    for (kind, major) in [("c", 2), ("b", 1)] {
        let bundle = Bundle::new().directory("opt");
        Run::new("mknod").arg(bundle.rootfs().join("opt/null")).args(["c", "1", "3"]).output().ok();
        let refusal = bundle.push("/linux/devices", device(kind, "/opt/null", major, 3)).create_fails();
        refusal.names("linux.devices[0]");
    }
    let bundle = Bundle::new().file("opt/null", "a file").push("/linux/devices", device("c", "/opt/null", 1, 3));
    bundle.create_fails().names("linux.devices[0]");
}

#[test]
fn a_symlink_is_not_followed_out_of_the_root() {
    let bundle = Bundle::new().link("escape", "/../../../../../../../../tmp");
    let name = format!("node-of-{}", bundle.id);
    let bundle = bundle.push("/linux/devices", device("c", &format!("/escape/{name}"), 1, 3));
    bundle.run();
    assert!(!fs::exists(std::path::Path::new("/tmp").join(name)).unwrap());
}

#[test]
fn devices_that_mean_nothing() {
    differs!(Crun, "does not look");
    let no_numbers = json!({"type": "c", "path": "/dev/x"});
    for (device, property) in [
        (device("x", "/dev/x", 1, 3), "linux.devices[0].type"),
        (device("", "/dev/x", 1, 3), "linux.devices[0].type"),
        (json!({"path": "/dev/x"}), "linux.devices[0]"),
    ] {
        Bundle::new().push("/linux/devices", device).create_fails().names(property);
    }
    differs!(Runc | Crun, "reads missing numbers as 0, and takes relative paths and any mode");
    Bundle::new().push("/linux/devices", no_numbers).create_fails().names("linux.devices[0]");
    Bundle::new().push("/linux/devices", device("c", "dev/x", 1, 3)).create_fails().names("linux.devices[0].path");
    let mut mode = device("c", "/dev/x", 1, 3);
    mode["fileMode"] = 0o10000.into();
    Bundle::new().push("/linux/devices", mode).create_fails().names("linux.devices[0].fileMode");
}
