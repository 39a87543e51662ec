//! Where mounts land, and what is made for them.

use std::fs;
use std::os::unix::fs::symlink;

use super::host::{Host, SECRET};
use super::race::{Exchange, until_one_is_made};
use crate::support::{Bundle, rootfs};

/// runc before 1.0.0-rc95: a mount point was checked as a path and then used as a path. A container that shares a volume put
/// a symlink there in between, so that another volume was mounted over a directory of the *host*, from which the next
/// mount's source came: a symlink of that volume to wherever the attacker liked.
#[test]
fn cve_2021_30465_a_mount_point_is_exchanged_with_a_symlink() {
    let bundle = Bundle::sh("cat /one/last/secret /one/*/*/secret; test -L /one/last/two && echo ran");
    let host = Host::beside(&bundle);
    // As kubelet has it: volumes side by side, the second one's content the attacker's.
    let volumes = bundle.path("volumes");
    for directory in ["one/real", "one/last", "two"] {
        rootfs::directory(&volumes.join(directory));
    }
    symlink(host.path(""), volumes.join("two/two")).unwrap();
    symlink(&volumes, volumes.join("one/link")).unwrap();
    let bundle = bundle.bind(volumes.join("one"), "/one", &[]);
    let bundle = (0..3).fold(bundle, |it, _| it.bind(volumes.join("two"), "/one/real", &[]));
    let bundle = bundle.bind(volumes.join("two"), "/one/last", &[]);
    bundle.write();
    let exchange = Exchange::of(&volumes.join("one/real"), &volumes.join("one/link"));
    until_one_is_made(|| {
        let output = bundle.command("run").output();
        assert!(!output.stdout.contains(SECRET), "a directory of the host was mounted: {output:#?}");
        output.stdout.contains("ran")
    });
    drop(exchange);
    host.is_as_it_was();
}

/// runc before 1.1.14: missing mount points were made by path, so that exchanging a directory of a volume with a symlink made
/// empty files and directories on the host.
#[test]
fn cve_2024_45310_mount_points_are_made_on_the_host() {
    let bundle = Bundle::new();
    let host = Host::beside(&bundle);
    let volume = bundle.path("volume");
    rootfs::directory(&volume.join("place"));
    symlink(host.path(""), volume.join("link")).unwrap();
    fs::write(bundle.path("source"), "").unwrap();
    let mut bundle = bundle.bind(&volume, "/volume", &[]);
    let exchange = Exchange::of(&volume.join("place"), &volume.join("link"));
    let (mounts, mut number) = (bundle.config["mounts"].clone(), 0);
    until_one_is_made(|| {
        // New names each time: what is there need not be made.
        number += 1;
        bundle.config["mounts"] = mounts.clone();
        let source = bundle.path("source").to_str().unwrap().to_owned();
        for (kind, source, name) in [("bind", &*source, "file"), ("tmpfs", "tmpfs", "a/b/directory")] {
            let destination = format!("/volume/place/{name}-{number}");
            let options = if kind == "bind" { vec!["bind"] } else { vec![] };
            let mount =
                serde_json::json!({"destination": destination, "type": kind, "source": source, "options": options});
            bundle.config["mounts"].as_array_mut().unwrap().push(mount);
        }
        bundle.write();
        bundle.command("run").output().status.success()
    });
    drop(exchange);
    host.is_as_it_was();
}
