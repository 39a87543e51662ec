//! `/dev/console` and the terminal behind it.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::host::Host;
use super::race::{Exchange, for_some_seconds};
use super::without_mounts_at_dev;
use crate::support::{Bundle, rootfs};

const DEVPTS: [&str; 3] = ["newinstance", "ptmxmode=0666", "mode=0620"];

/// runc before 1.2.8: the terminal was bound to `/dev/console` as `/dev/pts/0`, a path. Whoever shares `/dev` had a symlink
/// there in time, to a file of procfs, which became a console that can be written to: paths are made read-only only later.
#[test]
fn cve_2025_52565_the_terminal_is_a_symlink() {
    let script = "echo attacked > /dev/console; cat /proc/sys/kernel/hostname";
    let bundle = without_mounts_at_dev(Bundle::sh(script)).set("/process/terminal", true);
    let (pts, fake) = (bundle.path("dev/pts"), bundle.path("dev/fake"));
    rootfs::directory(&pts);
    rootfs::directory(&fake);
    for name in ["ptmx", "0", "1"] {
        symlink("/proc/sys/kernel/hostname", fake.join(name)).unwrap();
    }
    mknodat(CWD, bundle.path("dev/null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))
        .unwrap();
    let dev = bundle.path("dev");
    let bundle = bundle.bind(dev, "/dev", &[]).mount("/dev/pts", "devpts", "devpts", &DEVPTS);
    let bundle = bundle.push("/linux/readonlyPaths", "/proc/sys");
    bundle.write();
    let exchange = Exchange::of(&pts, &fake);
    let mut made = false;
    for_some_seconds(|| {
        let output = bundle.command("run").output();
        made |= output.stdout == "attacked\r\ncontainer\r\n";
        assert!(output.stdout.is_empty() || made, "the console is a file of procfs: {output:#?}");
    });
    drop(exchange);
    assert!(made, "no container was ever made");
}

/// crun before 1.30: with nothing mounted at `/dev`, making `/dev/console` followed the image's symlink, before the root was
/// changed: an empty file of root's anywhere on the host.
#[test]
fn cve_2026_88264_the_console_is_a_symlink_to_the_host() {
    for target in ["absolute", "relative"] {
        let bundle = without_mounts_at_dev(Bundle::sh("echo ran")).set("/process/terminal", true);
        let host = Host::beside(&bundle);
        let [absolute, relative] = host.names();
        let target = if target == "absolute" { absolute } else { format!("../{relative}") };
        let dev = bundle.rootfs().join("dev");
        let bundle = bundle.directory("dev/pts").mount("/dev/pts", "devpts", "devpts", &DEVPTS);
        let bundle = bundle.link("dev/console", &format!("{target}/console")).link("dev/other", "console-is-here");
        bundle.write();
        bundle.command("run").output();
        host.is_as_it_was();
        std::fs::remove_file(dev.join("other")).unwrap();
        std::fs::write(dev.join("other"), "").unwrap();
        let exchange = Exchange::of(&dev.join("console"), &dev.join("other"));
        let mut made = false;
        for_some_seconds(|| made |= bundle.command("run").output().stdout.contains("ran"));
        drop(exchange);
        host.is_as_it_was();
        assert!(made, "no container was ever made");
    }
}
