//! `root`, pivot_root, and life without it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::json;

use crate::support::mountinfo::Mountinfo;
use crate::support::{Bundle, differs};

const LS: &str = "bin\ndev\netc\nhome\nproc\nroot\nsys\ntmp\nvar\n";

#[test]
fn the_root_is_the_rootfs_and_nothing_else() {
    assert_eq!(Bundle::sh("ls -A /; cd /; cd ..; pwd; ls -A /..").prints(), format!("{LS}/\n{LS}"));
}

#[test]
fn path_may_be_absolute() {
    let bundle = Bundle::new().args(&["ls", "/"]);
    let rootfs = bundle.rootfs();
    assert_eq!(bundle.set("/root/path", rootfs.to_str().unwrap()).prints(), LS);
}

/// runtime-tools' bundles are their own root filesystem.
#[test]
fn path_may_be_the_bundle() {
    let bundle = Bundle::new().set("/root/path", ".").args(&["/rootfs/bin/busybox", "ls", "/"]);
    assert!(bundle.prints().contains("config.json\n"));
}

#[test]
fn paths_that_are_no_directory() {
    let refusal = Bundle::new().set("/root/path", "no-such-rootfs").create_fails();
    refusal.names("root.path").says("no such file or directory");
    let refusal = Bundle::new().set("/root/path", "config.json").create_fails();
    refusal.names("root.path").because("not a directory");
}

#[test]
fn root_is_required() {
    Bundle::new().remove("/root").create_fails().names("root");
    Bundle::new().remove("/root/path").create_fails().names("root.path");
    Bundle::new().set("/root/path", "").create_fails().names("root.path");
}

#[test]
fn readonly_still_gets_its_mount_points_and_cwd() {
    let bundle = Bundle::sh("pwd; ls -d /new/mount; touch /x 2>&1; grep -c ' / ro' /proc/self/mountinfo");
    let bundle = bundle.set("/root/readonly", true).tmpfs("/new/mount", &[]).set("/process/cwd", "/new/cwd");
    assert_eq!(bundle.prints(), "/new/cwd\n/new/mount\ntouch: /x: Read-only file system\n1\n");
}

#[test]
fn readonly_is_for_the_container_alone() {
    let container = Bundle::idle().set("/root/readonly", true).start();
    fs::write(container.rootfs().join("from-outside"), "").unwrap();
}

#[test]
fn rootfs_on_a_tmpfs() {
    let bundle = Bundle::sh("grep ' / / ' /proc/self/mountinfo | cut -d' ' -f9; ls /").after_host_mounts(
        "mv $T/bundle/rootfs $T/bundle/old; mkdir $T/bundle/rootfs; mount -t tmpfs root $T/bundle/rootfs
        cp -a $T/bundle/old/. $T/bundle/rootfs",
    );
    assert_eq!(bundle.prints(), format!("root\n{LS}"));
}

#[test]
fn no_pivot() {
    let bundle = Bundle::sh("ls /; cd ..; ls; cat /proc/self/mountinfo").option("--no-pivot");
    let printed = bundle.prints();
    let table = printed.strip_prefix(&format!("{LS}{LS}")).unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(Mountinfo::parse(table).at("/").kind, Mountinfo::of_self().at("/").kind);
}

#[test]
fn no_pivot_with_everything_else() {
    let bundle = Bundle::sh("cat /secret; touch /new; touch /m/new && echo written")
        .file("secret", "secret")
        .option("--no-pivot");
    let bundle = bundle.set("/linux/maskedPaths", json!(["/secret"])).set("/root/readonly", true).tmpfs("/m", &[]);
    let output = bundle.run().ok();
    assert_eq!(output.stdout, "written\n");
    assert_eq!(output.stderr, "touch: /new: Read-only file system\n");
}

/// The mounts land in the runtime's namespace, and go when the container goes.
fn without_mount_namespace(script: &str) -> Bundle {
    let proc = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    Bundle::sh(script).without_namespace("mount").set("/mounts", proc).tmpfs("/m", &["size=64k"])
}

#[test]
fn without_a_mount_namespace() {
    differs!(Runc | Crun, "leaves its mounts");
    let container = without_mount_namespace("ls /; touch /m/file; echo ready; sleep 600").start();
    container.says("ready\n");
    assert_eq!(container.stdout(), format!("{}ready\n", LS.replace("proc", "m\nproc")));
    assert_eq!(container.namespace("mnt"), fs::read_link("/proc/self/ns/mnt").unwrap().to_str().unwrap());
    let m = container.rootfs().join("m");
    assert!(Mountinfo::of_self().has(m.to_str().unwrap()));
    container.kill("KILL");
    container.wait();
    container.delete();
    assert!(!m.join("file").exists());
}

#[test]
fn run_without_a_mount_namespace_leaves_nothing() {
    differs!(Runc | Crun, "leaves its mounts");
    let bundle = without_mount_namespace("grep -c /m /proc/mounts");
    assert_eq!(bundle.prints(), "1\n");
}

#[test]
fn failing_without_a_mount_namespace_leaves_nothing() {
    differs!(Runc | Crun, "leaves its mounts");
    let bundle = without_mount_namespace("").mount("/x", "no-such-fs", "none", &[]);
    bundle.create_fails().names("mounts[2]");
}

#[test]
fn owner_and_mode_of_the_root_stay() {
    let bundle = Bundle::sh("stat -c %a:%u:%g /");
    std::os::unix::fs::chown(bundle.rootfs(), Some(7), Some(8)).unwrap();
    let rootfs: PathBuf = bundle.rootfs();
    let container = bundle.start();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.stdout(), "755:7:8\n");
    assert_eq!(fs::metadata(rootfs).unwrap().uid(), 7);
}
