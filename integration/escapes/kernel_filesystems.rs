//! `/proc` and `/sys`: mounted somewhere else than where they are protected.

use std::path::Path;

use serde_json::json;

use super::host::Host;
use super::race::{Exchange, for_some_seconds};
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
    let bundle = attack("/proc /evil/one /evil/other").link("proc", "/evil/one");
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
