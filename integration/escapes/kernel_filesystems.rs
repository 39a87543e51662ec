//! `/proc` and `/sys`: mounted somewhere else than where they are protected.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::host::Host;
use super::race::{Exchange, for_some_seconds};
use crate::support::container::detached;
use crate::support::{Bundle, rootfs};

/// `/proc/version` is masked and `/proc/sys` read-only. Tells whether a procfs can be found in which they are not; the host
/// name is the container's own, so this attack harms nobody.
fn attack(directories: &str) -> Bundle {
    let script = format!(
        "for it in {directories}; do
            test -s $it/version && echo unmasked $it
            echo attacked > $it/sys/kernel/hostname && echo written $it
        done 2> /dev/null; echo ran"
    );
    let bundle = Bundle::sh(&script).set("/linux/maskedPaths", json!(["/proc/version"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys"]))
}

/// Runs it again and again while two names change places: how often the container was made.
#[track_caller]
fn attack_while(bundle: &Bundle, one: &Path, other: &Path) -> usize {
    let host = Host::beside(bundle);
    bundle.write();
    let exchange = Exchange::of(one, other);
    let mut made = 0;
    for_some_seconds(|| {
        let output = bundle.command("run").output();
        assert!(["", "ran\n"].contains(&&*output.stdout), "the masks were bypassed: {output:#?}");
        made += usize::from(output.status.success());
    });
    drop(exchange);
    host.is_as_it_was();
    made
}

/// runc before 1.0-rc10: the image's `/proc` was a symlink into a volume, and a second container exchanged its target while
/// the first was made: procfs was mounted in one directory, and the masks were looked up in the other.
#[test]
fn cve_2019_19921_proc_is_a_symlink_into_a_volume() {
    race_in_volume(attack("/proc /evil/one /evil/other").link("proc", "/evil/one"));
}

/// With the volume at `/evil`, in which `one` and `other` change places.
#[track_caller]
fn race_in_volume(bundle: Bundle) {
    let volume = bundle.host_directory("volume");
    let (one, other) = (volume.join("one"), volume.join("other"));
    for directory in [&one, &other] {
        rootfs::directory(directory);
    }
    let mut bundle = bundle.bind(&volume, "/evil", &[]);
    // Engines sort by the depth of the destination, and volumes come first.
    bundle.config["mounts"].as_array_mut().unwrap().rotate_right(1);
    attack_while(&bundle, &one, &other);
}

/// The same without a symlink: whoever shares the root filesystem exchanges `/proc` itself, before and after the mount.
#[test]
fn cve_2019_19921_proc_is_exchanged() {
    let bundle = attack("/proc /other").directory("other");
    let (proc, other) = (bundle.rootfs().join("proc"), bundle.rootfs().join("other"));
    assert_ne!(attack_while(&bundle, &proc, &other), 0);
}

/// runc 1.0.0-rc95 to 1.1.4 had it again: what made sure that procfs goes to an ordinary directory was lost. youki before
/// 0.5.5 had never had it. The symlink leads to the host, where procfs would be mounted.
fn attack_with_symlink(name: &str) {
    for without_mount_namespace in [false, true] {
        let mut bundle = attack("/proc /sys /other /other/directory");
        let host = Host::beside(&bundle);
        if without_mount_namespace {
            bundle = bundle.without_namespace("mount").remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
        }
        for target in [&host.names()[..], &["/other".to_owned()]].concat() {
            let path = bundle.rootfs().join(name);
            let _ = std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path));
            symlink(format!("{target}/directory"), path).unwrap();
            rootfs::directory(&bundle.rootfs().join("other/directory"));
            bundle.write();
            let output = detached(&bundle, "create").output();
            host.is_as_it_was();
            assert!(!output.status.success(), "{target}: {output:#?}");
        }
    }
}

#[test]
fn cve_2025_54867_proc_and_sys_are_symlinks() {
    attack_with_symlink("proc");
    attack_with_symlink("sys");
}

/// The volume is mounted behind `/proc`, over the procfs that the symlink led there: the container's `/proc` is a directory
/// of the attacker's, and takes what the runtime writes to procfs (AppArmor labels).
#[test]
fn cve_2023_28642_a_volume_is_proc_by_a_symlink() {
    let bundle = Bundle::sh("cat /proc/file; echo ran").directory("fake").link("proc", "fake");
    let volume = bundle.host_directory("volume");
    let output = bundle.bind(volume, "/fake", &[]).run();
    assert_eq!(output.stdout, "", "{output:#?}");
}

/// runc before 1.1.5: 2019-19921 once more, by a regression.
#[test]
fn cve_2023_27561_sys_is_a_symlink_into_a_volume() {
    let script =
        "for it in /sys /evil/one /evil/other; do test -e $it/kernel/notes && echo unmasked $it; done; echo ran";
    let bundle = Bundle::sh(script).link("sys", "/evil/one").set("/linux/maskedPaths", json!(["/sys/kernel"]));
    race_in_volume(bundle);
}

/// runc before 1.0.0-rc9: an image could declare a volume at `/proc`, in which the files were that the runtime wrote labels
/// to, and the container looked at.
#[test]
fn cve_2019_16884_a_volume_is_mounted_over_proc() {
    let destinations =
        ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys", "/proc/1", "/link", "/link/self", "/up/../proc"];
    for destination in destinations {
        let script = "for it in /proc /proc/self /proc/self/attr /proc/sys /proc/1; do cat $it/file; done 2> /dev/null";
        let bundle = Bundle::sh(script).link("link", "proc").directory("up");
        let volume = bundle.host_directory("volume");
        for directory in ["self/attr/apparmor", "sys", "1"] {
            rootfs::directory(&volume.join(directory));
        }
        let output = bundle.bind(&volume, destination, &[]).run();
        assert_eq!(output.stdout, "", "{destination}: {output:#?}");
        assert!(!output.status.success(), "{destination}: {output:#?}");
    }
}
