//! Every mount option of the specification, one test each, seen in the program's mountinfo.
//!
//! A filesystem refuses options that it does not know, so a tmpfs that mounts shows that the option was recognised.

use crate::support::mountinfo::{Line, Mountinfo};
use crate::support::{Bundle, differs};

/// The mount at /m.
fn line_of(bundle: Bundle) -> Line {
    table_of(bundle).at("/m").clone()
}

fn table_of(bundle: Bundle) -> Mountinfo {
    Mountinfo::parse(&bundle.args(&["cat", "/proc/self/mountinfo"]).prints())
}

/// What crun 1.8 does not know, or does not do: options that clear, propagation of a tmpfs or a second word for it, recursive access times.
const CRUN_LACKS: &str = "async_ iversion loud noiversion silent atime dev diratime exec nosymfollow
    nostrictatime rw suid symfollow last_atime_mode_wins private rprivate rshared rslave runbindable shared slave unbindable
    ratime rdiratime rnoatime rnodiratime rnostrictatime rnosymfollow rrelatime rstrictatime rsymfollow";

macro_rules! crun_passes {
    ($name:ident) => {
        if CRUN_LACKS.split_whitespace().any(|name| name == stringify!($name)) {
            differs!(Crun, "does not do this one");
        }
    };
}

/// A row: the name of the test, the options in front of which a tmpfs is mounted with them, and what is seen.
macro_rules! on_tmpfs {
    ($($name:ident: $options:expr => $seen:expr $(, differs $($peer:ident)|+: $why:expr)?;)*) => {
        pub const ROWS: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                $(differs!($($peer)|+, $why);)?
                crun_passes!($name);
                let line = line_of(Bundle::new().tmpfs("/m", &$options));
                let seen: fn(&Line) -> bool = $seen;
                assert!(seen(&line), "{line:?}");
            }
        )*
    };
}

/// All that the specification has a word for.
const OPTIONS: &str = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec
    noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared rslave runbindable rw
    shared silent slave strictatime suid sync unbindable
    nosymfollow symfollow rro rrw rsuid rnosuid rdev rexec rnoexec ratime rnoatime rdiratime rnodiratime rrelatime rnorelatime
    rstrictatime rnostrictatime rsymfollow rnosymfollow idmap ridmap";

/// Those that need more than a tmpfs.
const TESTED_ELSEWHERE: [(&str, fn()); 5] = [
    ("bind", crate::mounts::bind_is_flat_and_rbind_is_deep),
    ("rbind", crate::mounts::bind_is_flat_and_rbind_is_deep),
    ("remount", remount),
    ("idmap", crate::idmap::idmap_is_for_the_mount_and_ridmap_for_all_below),
    ("ridmap", crate::idmap::idmap_is_for_the_mount_and_ridmap_for_all_below),
];

#[test]
fn each_option_has_a_row() {
    let rows = [filesystem::ROWS, attribute::ROWS, propagation::ROWS, recursive::ROWS].concat();
    let elsewhere = TESTED_ELSEWHERE.iter().map(|(name, _)| *name);
    let tested: Vec<_> = rows.iter().map(|row| row.trim_end_matches('_')).chain(elsewhere).collect();
    let options: Vec<_> = OPTIONS.split_whitespace().collect();
    assert_eq!(options.len(), 58);
    for option in options {
        assert_eq!(tested.iter().filter(|name| **name == option).count(), 1, "{option}");
    }
}

mod filesystem {
    use super::*;

    on_tmpfs! {
        async_: ["sync", "async"] => |it| !it.filesystem_is("sync");
        defaults: ["defaults"] => |it| it.is("rw") && it.is("relatime"), differs Runc: "passes it to the filesystem";
        dirsync: ["dirsync"] => |it| it.filesystem_is("dirsync");
        iversion: ["iversion"] => |it| it.is("rw");
        lazytime: ["lazytime"] => |it| it.filesystem_is("lazytime");
        loud: ["silent", "loud"] => |it| it.is("rw");
        noiversion: ["iversion", "noiversion"] => |it| it.is("rw");
        nolazytime: ["lazytime", "nolazytime"] => |it| !it.filesystem_is("lazytime");
        silent: ["silent"] => |it| it.is("rw");
        sync: ["sync"] => |it| it.filesystem_is("sync");
    }
}

mod attribute {
    use super::*;

    on_tmpfs! {
        atime: ["noatime", "atime"] => |it| !it.is("noatime");
        dev: ["nodev", "dev"] => |it| !it.is("nodev");
        diratime: ["nodiratime", "diratime"] => |it| !it.is("nodiratime");
        exec: ["noexec", "exec"] => |it| !it.is("noexec");
        noatime: ["noatime"] => |it| it.is("noatime");
        nodev: ["nodev"] => |it| it.is("nodev");
        nodiratime: ["nodiratime"] => |it| it.is("nodiratime");
        noexec: ["noexec"] => |it| it.is("noexec");
        // As mount(8): what is left is the kernel's default, which is that.
        norelatime: ["relatime", "norelatime"] => |it| it.is("relatime");
        nostrictatime: ["strictatime", "nostrictatime"] => |it| it.is("relatime");
        nosuid: ["nosuid"] => |it| it.is("nosuid");
        nosymfollow: ["nosymfollow"] => |it| it.is("nosymfollow");
        relatime: ["noatime", "relatime"] => |it| it.is("relatime"), differs Runc | Crun: "collects bits";
        ro: ["ro"] => |it| it.is("ro");
        rw: ["ro", "rw"] => |it| it.is("rw") && it.filesystem_is("rw");
        strictatime: ["strictatime"] => |it| !it.is("relatime") && !it.is("noatime");
        suid: ["nosuid", "suid"] => |it| !it.is("nosuid");
        symfollow: ["nosymfollow", "symfollow"] => |it| !it.is("nosymfollow");
        last_of_ro_and_rw_wins: ["rw", "ro", "rw", "ro"] => |it| it.is("ro");
        last_atime_mode_wins: ["noatime", "strictatime", "relatime", "noatime"] => |it| it.is("noatime"),
            differs Runc: "collects bits";
        atime_modes_are_one_choice: ["noatime", "strictatime"] => |it| !it.is("noatime") && !it.is("relatime");
        all_at_once: ["nosuid", "nodev", "noexec", "ro", "noatime", "nodiratime"]
            => |it| ["nosuid", "nodev", "noexec", "ro", "noatime", "nodiratime"].iter().all(|option| it.is(option));
    }
}

mod propagation {
    use super::*;

    on_tmpfs! {
        private: ["shared", "private"] => |it| it.propagation.is_empty();
        rprivate: ["rshared", "rprivate"] => |it| it.propagation.is_empty();
        rshared: ["rshared"] => |it| it.propagates("shared:");
        // Nobody else shares it; see `propagation::a_slave_mount_receives`.
        rslave: ["rshared", "rslave"] => |it| it.propagation.is_empty();
        runbindable: ["runbindable"] => |it| it.propagates("unbindable");
        shared: ["shared"] => |it| it.propagates("shared:");
        slave: ["shared", "slave"] => |it| it.propagation.is_empty();
        unbindable: ["unbindable"] => |it| it.propagates("unbindable");
    }
}

/// `bind` and `rbind` themselves are in `mounts.rs`.
mod on_bind {
    use super::*;

    const FLAGS: [&str; 4] = ["nosuid", "nodev", "noexec", "noatime"];

    #[test]
    fn flags_are_set_though_the_kernel_ignores_them_at_first() {
        let bundle = Bundle::new();
        let source = bundle.host_directory("dir");
        let line = line_of(bundle.bind(source, "/m", &["nosuid", "nodev", "noexec", "noatime", "ro"]));
        assert!(FLAGS.iter().all(|flag| line.is(flag)) && line.is("ro"), "{line:?}");
        assert!(line.filesystem_is("rw"), "the filesystem itself stays as it was: {line:?}");
    }

    #[test]
    fn flags_of_the_source_are_inherited() {
        differs!(Crun, "resets them");
        let bundle =
            Bundle::new().after_host_mounts("mkdir $T/src; mount -t tmpfs -o nosuid,nodev,noexec,noatime,ro x $T/src");
        let source = bundle.path("src");
        let line = line_of(bundle.bind(source, "/m", &[]));
        assert!(FLAGS.iter().all(|flag| line.is(flag)) && line.is("ro"), "{line:?}");
    }

    #[test]
    fn flags_of_the_source_are_cleared_when_the_options_say_so() {
        differs!(Runc, "1.1.5 clears nothing without setting something");
        differs!(Crun, "clears nothing");
        let make = "mkdir $T/src; mount -t tmpfs x $T/src; mount -o remount,bind,nosuid,nodev,noexec,noatime,ro $T/src";
        let bundle = Bundle::new().after_host_mounts(make);
        let source = bundle.path("src");
        let line = line_of(bundle.bind(source, "/m", &["rw", "suid", "dev", "exec", "atime"]));
        assert!(!FLAGS.iter().any(|flag| line.is(flag)) && line.is("rw"), "{line:?}");
    }

    #[test]
    fn one_flag_leaves_the_others_of_the_source() {
        differs!(Runc | Crun, "sets the whole of the flags");
        let bundle =
            Bundle::new().after_host_mounts("mkdir $T/src; mount -t tmpfs -o nosuid,nodev,noexec,noatime x $T/src");
        let source = bundle.path("src");
        let line = line_of(bundle.bind(source, "/m", &["ro"]));
        assert!(FLAGS.iter().all(|flag| line.is(flag)) && line.is("ro"), "{line:?}");
    }

    #[test]
    fn read_only_bites() {
        let bundle = Bundle::sh("touch /m/new 2>&1");
        let source = bundle.host_directory("dir");
        let output = bundle.bind(source, "/m", &["ro"]).run().exits(1);
        assert_eq!(output.stdout, "touch: /m/new: Read-only file system\n");
    }

    #[test]
    fn ro_is_not_for_mounts_below() {
        let make = "mkdir $T/src; mount -t tmpfs x $T/src; mkdir $T/src/sub; mount -t tmpfs x $T/src/sub";
        let bundle = Bundle::new().after_host_mounts(make);
        let source = bundle.path("src");
        let table = table_of(bundle.mount("/m", "none", source, &["rbind", "ro"]));
        assert!(table.at("/m").is("ro") && table.at("/m/sub").is("rw"));
    }

    /// Flags of a mount from another user namespace are locked: asking for less is refused, not asking keeps them.
    #[test]
    fn read_only_in_a_user_namespace_keeps_locked_flags() {
        differs!(Runc | Crun, "does not keep the locked flags");
        let make = "chmod 711 $T; mkdir $T/src; mount -t tmpfs -o nosuid,nodev,noexec x $T/src";
        let bundle = Bundle::new().after_host_mounts(make);
        let source = bundle.path("src");
        let line = line_of(bundle.user_namespace(100_000).bind(source, "/m", &["ro"]));
        assert!(line.is("nosuid") && line.is("nodev") && line.is("noexec") && line.is("ro"), "{line:?}");
    }
}

#[test]
fn remount() {
    let bundle = Bundle::new().tmpfs("/m", &["size=64k"]).tmpfs("/m", &["remount", "ro", "nosuid", "size=128k"]);
    let table = table_of(bundle);
    let lines: Vec<_> = table.lines.iter().filter(|line| line.target == "/m").collect();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].is("ro") && lines[0].is("nosuid") && lines[0].filesystem_is("size=128k"), "{lines:?}");
}

#[test]
fn remount_of_a_bind_mount_changes_the_mount_alone() {
    let bundle = Bundle::new().tmpfs("/m", &[]).mount("/m", "none", "/", &["remount", "bind", "ro", "noexec"]);
    let line = line_of(bundle);
    assert!(line.is("ro") && line.is("noexec") && line.filesystem_is("rw"), "{line:?}");
}

/// Options that reach mounts below too: `$T/src` and `$T/src/sub` are mounted with `before`, then bound with `option`.
mod recursive {
    use super::*;

    fn both(before: &str, option: &str, seen: fn(&Line) -> bool) {
        let make = format!(
            "mkdir $T/src; mount -t tmpfs x $T/src; mkdir $T/src/sub; mount -t tmpfs x $T/src/sub
            mount -o remount,bind,{before} $T/src; mount -o remount,bind,{before} $T/src/sub"
        );
        let bundle = Bundle::new().after_host_mounts(&make);
        let source = bundle.path("src");
        let table = table_of(bundle.mount("/m", "none", source, &["rbind", option]));
        for line in [table.at("/m"), table.at("/m/sub")] {
            assert!(seen(line), "{line:?}");
        }
    }

    macro_rules! rows {
        ($($name:ident: $before:literal => $seen:expr $(, differs $($peer:ident)|+: $why:expr)?;)*) => {
            pub const ROWS: &[&str] = &[$(stringify!($name)),*];

            $(
                #[test]
                fn $name() {
                    $(differs!($($peer)|+, $why);)?
                    crun_passes!($name);
                    both($before, stringify!($name), $seen);
                }
            )*
        };
    }

    rows! {
        ratime: "noatime" => |it| !it.is("noatime"), differs Runc: "does not clear all of the mode, which the kernel wants";
        rdev: "nodev" => |it| !it.is("nodev");
        rdiratime: "nodiratime" => |it| !it.is("nodiratime");
        rexec: "noexec" => |it| !it.is("noexec");
        rnoatime: "relatime" => |it| it.is("noatime");
        rnodev: "dev" => |it| it.is("nodev");
        rnodiratime: "diratime" => |it| it.is("nodiratime");
        rnoexec: "exec" => |it| it.is("noexec");
        rnorelatime: "relatime" => |it| it.is("relatime");
        rnostrictatime: "strictatime" => |it| it.is("relatime"),
            differs Runc: "does not clear all of the mode, which the kernel wants";
        rnosuid: "suid" => |it| it.is("nosuid");
        rnosymfollow: "rw" => |it| it.is("nosymfollow");
        rrelatime: "noatime" => |it| it.is("relatime");
        rro: "rw" => |it| it.is("ro");
        rrw: "ro" => |it| it.is("rw");
        rstrictatime: "relatime" => |it| !it.is("relatime") && !it.is("noatime");
        rsuid: "nosuid" => |it| !it.is("nosuid");
        rsymfollow: "nosymfollow" => |it| !it.is("nosymfollow");
    }
}
