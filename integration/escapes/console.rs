//! `/dev/console` and the terminal behind it.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::host::Host;
use super::race::{Exchange, until_one_is_made};
use super::without_mounts_at_dev;
use crate::support::{Bundle, differs, rootfs};

const DEVPTS: [&str; 3] = ["newinstance", "ptmxmode=0666", "mode=0620"];

/// runc before 1.2.8: the terminal was bound to `/dev/console` as `/dev/pts/0`, a path. Whoever shares `/dev` had a symlink
/// there, to a file of procfs, which became a console that can be written to: paths are made read-only only later.
///
/// Here the image's `/dev/pts` has a multiplexer that works, the host's, with its devpts where the kernel looks for it, and
/// symlinks under all other names: there is no race to be won. Who takes a multiplexer only from the root of a devpts does not
/// begin with it.
#[test]
fn cve_2025_52565_the_terminal_is_a_symlink() {
    differs!(Runc | Crun, "finds no terminal there");
    let script = "echo attacked > /dev/console; cat /proc/sys/kernel/hostname";
    let bundle = without_mounts_at_dev(Bundle::sh(script)).set("/process/terminal", true);
    let dev = bundle.path("dev");
    rootfs::directory(&dev.join("pts"));
    for number in 0..256 {
        symlink("/proc/sys/kernel/hostname", dev.join("pts").join(number.to_string())).unwrap();
    }
    let null = dev.join("null");
    mknodat(CWD, &null, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).unwrap();
    let bundle = bundle.bind(dev, "/dev", &[]).bind("/dev/pts", "/dev/pts/pts", &[]);
    let output = bundle.bind("/dev/pts/ptmx", "/dev/pts/ptmx", &[]).push("/linux/readonlyPaths", "/proc/sys").run();
    let is_refused = output.stderr.contains("/dev/pts/ptmx is not the multiplexer of a devpts");
    let is_terminal = output.stdout == "attacked\r\ncontainer\r\n";
    assert!(is_refused || is_terminal, "the console is a file of procfs: {output:#?}");
}

/// crun before 1.30: with nothing mounted at `/dev`, making `/dev/console` followed the image's symlink, before the root was
/// changed: an empty file of root's anywhere on the host.
#[test]
fn cve_2026_88264_the_console_is_a_symlink_to_the_host() {
    differs!(Runc | Crun, "has it in this version, or makes no such container");
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
        until_one_is_made(|| bundle.command("run").output().stdout.contains("ran"));
        drop(exchange);
        host.is_as_it_was();
    }
}
