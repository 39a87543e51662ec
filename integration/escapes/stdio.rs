//! The three streams that a program inherits.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::host::{self, Host};
use super::without_mounts_at_dev;
use crate::support::Bundle;
use crate::support::run::Run;
use crate::support::wait::until;

/// A null device of the host, which is the program's stdin.
fn null_as_stdin(bundle: &Bundle) -> PathBuf {
    let null = bundle.path("stdin");
    Run::new("mknod").args(["-m", "666"]).arg(&null).args(["c", "1", "3"]).output().ok();
    null
}

/// What crun's 2026-88265 comes from: engines start containers on the *host's* `/dev/null`, and whoever has a file open as
/// its owner may change its mode: `chmod 0 /dev/stdin` in a container of root's made the host's null device unusable for
/// everybody. So runtimes open the container's own in its place.
#[test]
fn the_hosts_null_device_is_not_in_the_containers_hands() {
    const ATTACK: &str = "chmod 0 /proc/self/fd/0; chown 5:5 /proc/self/fd/0; echo attacked";
    let mut bundle = Bundle::sh(&format!("{ATTACK}; exec sleep 1000"));
    for set in ["bounding", "effective", "permitted"] {
        bundle = bundle.push(&format!("/process/capabilities/{set}"), "CAP_CHOWN");
    }
    let null = null_as_stdin(&bundle);
    let before = host::describe(&null);
    let container = bundle.start();
    let sleeps = || container.proc("cmdline").starts_with("sleep").then_some(());
    until("the end of the attack", sleeps);
    assert_eq!(host::describe(&null), before);
    let exec = container.runtime("exec").stdin_from(File::open(&null).unwrap()).arg(&container.id);
    assert_eq!(exec.args(["sh", "-c", ATTACK]).output().stdout, "attacked\n");
    assert_eq!(host::describe(&null), before);
}

/// crun before 1.30: when nothing is mounted at `/dev`, its reopening of null streams followed the image's `/dev/null`, a
/// symlink to a file that is mounted from the host, gave the program a descriptor for writing it, and the file to the
/// program's user.
#[test]
fn cve_2026_88265_dev_null_is_a_symlink_to_a_host_file() {
    for dev_is_a_volume in [false, true] {
        let bundle = without_mounts_at_dev(Bundle::sh("echo overwritten >&0; echo overwritten > /proc/self/fd/0"));
        let host = Host::beside(&bundle);
        let null = null_as_stdin(&bundle);
        // The user may not write to it: only the runtime could open it so.
        let bundle = bundle.bind(host.path("secret"), "/mnt/secret", &[]).set("/process/user/uid", 1000);
        let bundle = if dev_is_a_volume {
            let volume = bundle.host_directory("volume");
            symlink("/mnt/secret", volume.join("null")).unwrap();
            bundle.bind(volume, "/dev", &[])
        } else {
            bundle.link("dev/null", "/mnt/secret")
        };
        bundle.write();
        bundle.command("run").stdin_from(File::options().read(true).write(true).open(null).unwrap()).output();
        host.is_as_it_was();
    }
}
