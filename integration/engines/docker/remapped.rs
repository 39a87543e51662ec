//! Docker with `userns-remap`: root inside is somebody else outside.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::json;

use super::{BOX, Docker};
use crate::support::case::{Case, cases};
use crate::support::daemon::Daemon;
use crate::support::engine::Engine;

/// Root's id outside.
const FIRST: u32 = 200_000;

/// A second dockerd: the setting is for all of its containers.
pub struct Remapped(Docker);

impl Engine for Remapped {
    fn cases() -> Vec<Case<Self>> {
        cases![ids, limits, exec, volume, network, of_the_host, refused]
    }

    fn start() -> Self {
        // Ranges for a user whom every Debian has.
        for file in ["/etc/subuid", "/etc/subgid"] {
            fs::write(file, format!("daemon:{FIRST}:65536\n")).unwrap();
        }
        // In a network of its own: the bridge here has an owner.
        let mut command = Command::new("unshare");
        command.args(["--net", "dockerd"]);
        Self(Docker::with(command, &json!({ "userns-remap": "daemon" })))
    }

    fn daemon(&self) -> &Daemon {
        self.0.daemon()
    }

    fn stop(self) -> Vec<String> {
        self.0.stop()
    }
}

fn ids(Remapped(docker): &Remapped) {
    let container = docker.asleep("");
    let map = container.sh("cat /proc/self/uid_map /proc/self/gid_map; id -u");
    let map: Vec<_> = map.split_whitespace().collect();
    let first = FIRST.to_string();
    assert_eq!(map, ["0", &first, "65536", "0", &first, "65536", "0"]);
    assert_eq!(fs::metadata(format!("/proc/{}", container.pid())).unwrap().uid(), FIRST);
    // Root of the image is root here.
    assert_eq!(container.sh("stat -c %u:%g /bin /etc/passwd; touch /new; stat -c %u /new"), "0:0\n0:0\n0\n");
}

fn limits(Remapped(docker): &Remapped) {
    let container = docker.asleep("--memory 64m --pids-limit 20 --cpus 0.5");
    assert_eq!(container.cgroup_file("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(container.cgroup_file("pids", "pids.max"), "20");
    assert_eq!(container.cgroup_file("cpu", "cpu.cfs_quota_us"), "50000");
    container.call("update --memory 32m NAME").ok();
    assert_eq!(container.cgroup_file("memory", "memory.limit_in_bytes"), "33554432");
}

fn exec(Remapped(docker): &Remapped) {
    let container = docker.asleep("--user user");
    let id = |options: &str| container.call(&format!("exec {options} NAME id -u")).ok().stdout;
    assert_eq!((id(""), id("--user root"), id("--user 7")), ("1000\n".into(), "0\n".into(), "7\n".into()));
    container.call("exec NAME sh -c exit").ok();
    container.call("exec NAME nothing").exits(126);
}

fn volume(Remapped(docker): &Remapped) {
    let directory = docker.directory("volume");
    std::os::unix::fs::chown(&directory, Some(FIRST + 1000), Some(FIRST + 1000)).unwrap();
    docker.sh(&format!("--user user --volume {directory}:/data"), "echo hello >/data/new").ok().silent();
    assert_eq!(fs::metadata(format!("{directory}/new")).unwrap().uid(), FIRST + 1000);
}

/// A network namespace belongs to the user namespace: root inside may set it up.
fn network(Remapped(docker): &Remapped) {
    let output = docker
        .sh(
            "--sysctl net.ipv4.ip_default_ttl=33 --cap-add NET_ADMIN",
            "ip link set lo down; cat /proc/sys/net/ipv4/ip_default_ttl",
        )
        .ok();
    assert_eq!(output.stdout, "33\n");
}

fn of_the_host(Remapped(docker): &Remapped) {
    let output = docker.sh("--userns host", "cat /proc/self/uid_map").ok();
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"]);
}

fn refused(Remapped(docker): &Remapped) {
    let output = docker.call(&format!("run --rm {BOX} nothing")).exits(127);
    assert!(output.stderr.contains("executable file not found in $PATH"), "{}", output.stderr);
    docker.call(&format!("run --rm {BOX} /etc/passwd")).exits(126);
}
