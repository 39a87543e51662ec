//! `/dev/null`, with which files are masked.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;

use super::race::{Exchange, until_one_is_made};
use crate::support::run::Output;
use crate::support::{Bundle, differs, rootfs};

/// A container whose `/dev` is the attacker's volume, and whose `/proc/version` is masked. When the mask is a file of procfs
/// it can be written to, although `/proc/sys` is read-only. The host name is the container's own.
fn attack() -> (Bundle, PathBuf) {
    let script = "test -s /proc/version && echo unmasked; test -c /proc/version || echo no mask
        echo attacked > /proc/version; test $(cat /proc/sys/kernel/hostname) = attacked && echo written; echo ran";
    let bundle = super::without_mounts_at_dev(Bundle::sh(&format!("{{ {script}; }} 2> /dev/full")));
    let volume = bundle.path("dev");
    rootfs::directory(&volume);
    let bundle = bundle.bind(&volume, "/dev", &[]).set("/linux/maskedPaths", json!(["/proc/version"]));
    (bundle.set("/linux/readonlyPaths", json!(["/proc/sys"])), volume)
}

/// With a stdin that is no null device, or it would be the first to be refused.
fn run(bundle: &Bundle) -> Output {
    bundle.write();
    bundle.command("run").stdin("").output()
}

fn device(path: &Path, minor: u32) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, minor)).unwrap();
}

const TARGET: &str = "/proc/sys/kernel/hostname";

/// runc before 1.2.8: the container's `/dev/null`, with which masked files are covered, could be a symlink to a file of
/// procfs, exchanged in time by a container that shares `/dev`; and when there was none, nothing was masked at all.
#[test]
fn cve_2025_31133_the_mask_is_a_symlink() {
    differs!(Runc, "has it in this version");
    let (bundle, dev) = attack();
    let is_masked = || {
        let output = run(&bundle);
        assert!(["", "ran\n"].contains(&&*output.stdout), "the mask is the attacker's: {output:#?}");
        output.stdout == "ran\n"
    };
    assert!(!is_masked(), "there is nothing to mask with");
    let (null, link) = (dev.join("null"), dev.join("link"));
    device(&dev.join("full"), 7);
    symlink(TARGET, &null).unwrap();
    assert!(!is_masked(), "there is nothing to mask with");
    device(&link, 3);
    let exchange = Exchange::of(&null, &link);
    until_one_is_made(is_masked);
    drop(exchange);
}

/// youki before 0.5.7: what was checked of `/dev/null` was too little.
#[test]
fn cve_2025_62161_the_mask_is_something_else() {
    differs!(Runc | Crun, "masks with whatever is there");
    type Make = fn(&Path);
    let kinds: [(&str, Make); 5] = [
        ("another device", |path| device(path, 5)),
        ("a file", |path| std::fs::write(path, "the attacker's").unwrap()),
        ("a directory", rootfs::directory),
        ("a symlink to the device", |path| {
            device(&path.with_file_name("real"), 3);
            symlink("real", path).unwrap();
        }),
        ("a block device with that number", |path| {
            mknodat(CWD, path, FileType::BlockDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).unwrap();
        }),
    ];
    for (what, make) in kinds {
        let (bundle, dev) = attack();
        make(&dev.join("null"));
        let output = run(&bundle);
        assert!(!output.status.success() && output.stdout.is_empty(), "{what} is the mask: {output:#?}");
    }
}
