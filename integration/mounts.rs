//! `mounts`: filesystems of every kind, in order, on the right place.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use crate::phrases::ORDINARY_DIRECTORY;
use crate::support::mountinfo::Mountinfo;
use crate::support::{Bundle, cgroup, differs, requires};

/// The table as the program sees it.
fn table(bundle: Bundle) -> Mountinfo {
    Mountinfo::parse(&bundle.args(&["cat", "/proc/self/mountinfo"]).prints())
}

#[test]
fn the_default_filesystems() {
    let table = table(Bundle::new());
    for (target, kind, source) in [
        ("/proc", "proc", "proc"),
        ("/dev", "tmpfs", "tmpfs"),
        ("/dev/pts", "devpts", "devpts"),
        ("/dev/shm", "tmpfs", "shm"),
        ("/dev/mqueue", "mqueue", "mqueue"),
        ("/sys", "sysfs", "sysfs"),
    ] {
        let line = table.at(target);
        assert_eq!((&*line.kind, &*line.source), (kind, source), "{target}");
    }
    assert!(table.at("/").root.ends_with("/bundle/rootfs"), "{:?}", table.at("/"));
}

#[test]
fn nothing_of_the_host_is_mounted_inside() {
    let table = table(Bundle::new());
    assert_eq!(table.targets(), ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"]);
}

#[test]
fn mounts_are_in_the_listed_order() {
    let bundle = Bundle::new().tmpfs("/c", &[]).tmpfs("/a", &[]).tmpfs("/b", &[]).tmpfs("/a/below", &[]);
    let table = table(bundle);
    let ours = table.lines.iter().map(|line| &*line.target).skip_while(|target| *target != "/c");
    assert_eq!(ours.collect::<Vec<_>>(), ["/c", "/a", "/b", "/a/below"]);
}

#[test]
fn a_later_mount_covers_an_earlier_one() {
    let bundle = Bundle::sh("ls /m").file("m/rootfs", "").tmpfs("/m", &[]);
    let source = bundle.host_directory("cover");
    assert_eq!(bundle.bind(source, "/m", &[]).prints(), "file\n");
}

#[test]
fn tmpfs_with_data() {
    let bundle = Bundle::new().tmpfs("/m", &["nosuid", "mode=1700", "size=1m", "nr_inodes=100", "uid=5", "gid=6"]);
    let printed = bundle.args(&["sh", "-c", "stat -c %a:%u:%g /m; grep ' /m ' /proc/mounts"]).prints();
    assert!(printed.starts_with("1700:5:6\n"), "{printed}");
    assert!(printed.contains("size=1024k,nr_inodes=100"), "{printed}");
}

/// Where it covers nothing it has the kernel's default.
#[test]
fn tmpfs_takes_the_mode_of_what_it_covers() {
    differs!(Crun, "gives 1777");
    let bundle = Bundle::sh("stat -c %a /m /fresh").directory("m").tmpfs("/m", &[]).tmpfs("/fresh", &[]);
    fs::set_permissions(bundle.rootfs().join("m"), Permissions::from_mode(0o711)).unwrap();
    assert_eq!(bundle.prints(), "711\n1777\n");
}

#[test]
fn tmpcopyup_copies_what_the_tmpfs_covers() {
    differs!(Crun, "gives the tmpfs mode 1777");
    let script = "cd /m; cat file; stat -c %a:%u:%g file sub .; readlink link; cat sub/deep; touch new; grep -c ' /m tmpfs ' /proc/mounts";
    let bundle = Bundle::sh(script).file("m/file", "content\n").file("m/sub/deep", "deep\n").link("m/link", "target");
    let file = bundle.rootfs().join("m/file");
    std::os::unix::fs::chown(&file, Some(12), Some(34)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
    fs::set_permissions(bundle.rootfs().join("m/sub"), Permissions::from_mode(0o750)).unwrap();
    let container = bundle.tmpfs("/m", &["tmpcopyup"]).start();
    assert_eq!(container.wait(), 0);
    assert!(!container.rootfs().join("m/new").exists());
    assert_eq!(container.stdout(), "content\n664:12:34\n750:0:0\n755:0:0\ntarget\ndeep\n1\n");
}

#[test]
fn tmpcopyup_before_read_only() {
    let script = "cat /m/file; touch /m/new 2>&1";
    let bundle = Bundle::sh(script).file("m/file", "content\n").tmpfs("/m", &["tmpcopyup", "ro"]);
    let output = bundle.run().exits(1);
    assert_eq!(output.stdout, "content\ntouch: /m/new: Read-only file system\n");
}

#[test]
fn bind_of_a_directory_and_of_a_file() {
    let bundle = Bundle::sh("cat /dir/file /etc/single");
    let (dir, file) = (bundle.host_directory("dir"), bundle.host_directory("other").join("file"));
    let bundle = bundle.bind(&dir, "/dir", &[]).bind(file, "/etc/single", &["ro"]);
    assert_eq!(bundle.prints(), "dirother");
}

#[test]
fn bind_writes_through() {
    let bundle = Bundle::sh("echo written > /dir/back");
    let dir = bundle.host_directory("dir");
    let container = bundle.bind(&dir, "/dir", &[]).start();
    assert_eq!(container.wait(), 0);
    assert_eq!(fs::read_to_string(dir.join("back")).unwrap(), "written\n");
}

#[test]
fn bind_source_is_relative_to_the_bundle() {
    let bundle = Bundle::sh("cat /dir/file");
    fs::rename(bundle.host_directory("dir"), bundle.bundle().join("beside")).unwrap();
    assert_eq!(bundle.bind("beside", "/dir", &[]).prints(), "dir");
}

#[test]
fn the_option_makes_a_bind_mount_whatever_the_type() {
    for kind in ["bind", "none", "tmpfs", "ext4", ""] {
        let bundle = Bundle::sh("cat /dir/file");
        let source = bundle.host_directory("dir");
        assert_eq!(bundle.mount("/dir", kind, source, &["bind"]).prints(), "dir", "{kind}");
    }
}

#[test]
fn bind_needs_no_type_at_all() {
    let bundle = Bundle::sh("cat /dir/file");
    let source = bundle.host_directory("dir");
    let mount = json!({"destination": "/dir", "source": source, "options": ["rbind", "ro"]});
    assert_eq!(bundle.push("/mounts", mount).prints(), "dir");
}

#[test]
pub fn bind_is_flat_and_rbind_is_deep() {
    let make = "mkdir $T/src $T/src/sub; mount -t tmpfs none $T/src/sub; echo below > $T/src/sub/file";
    for (option, seen) in [("bind", ""), ("rbind", "file\n")] {
        let bundle = Bundle::sh("ls /m/sub");
        let source = bundle.path("src");
        let bundle = bundle.mount("/m", "none", source, &[option]).after_host_mounts(make);
        assert_eq!(bundle.prints(), seen, "{option}");
    }
}

#[test]
fn source_is_resolved_through_symlinks_of_the_host() {
    let bundle = Bundle::sh("cat /dir/file");
    bundle.host_directory("dir");
    symlink("dir", bundle.path("link")).unwrap();
    let source = bundle.path("link");
    assert_eq!(bundle.bind(source, "/dir", &[]).prints(), "dir");
}

#[test]
fn missing_sources_are_refused() {
    for source in ["/no/such/directory", "none-here"] {
        let refusal = Bundle::new().bind(source, "/m", &[]).create_fails();
        refusal.names("mounts[6]").says("no such file or directory");
    }
}

#[test]
fn missing_mount_points_are_made() {
    differs!(Crun, "makes them with the sticky bit");
    let script = "stat -c '%F %a %u:%g' /deep /deep/er; stat -c %F /deep/file; ls /deep/er/dir";
    let bundle = Bundle::sh(script);
    let dir = bundle.host_directory("dir");
    let bundle = bundle.bind(&dir, "/deep/er/dir", &[]).bind(dir.join("file"), "/deep/file", &[]);
    assert_eq!(bundle.prints(), "directory 755 0:0\ndirectory 755 0:0\nregular file\nfile\n");
}

#[test]
fn a_relative_destination_is_below_the_root() {
    assert!(table(Bundle::new().tmpfs("some/where", &[])).has("/some/where"));
}

#[test]
fn a_destination_with_dots_stays_in_the_root() {
    let bundle = Bundle::new().tmpfs("/../../up", &[]).tmpfs("/bin/../side", &[]);
    let table = table(bundle);
    assert!(table.has("/up") && table.has("/side"));
}

#[test]
fn a_destination_through_symlinks_stays_in_the_root() {
    let bundle = Bundle::new()
        .directory("real")
        .directory("esc")
        .link("abs", "/real")
        .link("rel", "real")
        .link("out", "../../../../esc");
    let bundle = bundle.tmpfs("/abs/a", &[]).tmpfs("/rel/b", &[]).tmpfs("/out/c", &[]);
    let table = table(bundle);
    for target in ["/real/a", "/real/b", "/esc/c"] {
        assert!(table.has(target), "{target}");
    }
}

#[test]
fn destinations_that_do_not_fit_are_refused() {
    let bundle = Bundle::new().file("m/file", "");
    let source = bundle.host_directory("dir");
    let refusal = bundle.bind(source, "/m/file", &[]).create_fails();
    refusal.names("mounts[6]").says("not a directory");
}

#[test]
fn proc_and_sys_need_an_ordinary_directory() {
    for (name, index) in [("proc", 0), ("sys", 5)] {
        let bundle = Bundle::new().directory("elsewhere").link(name, "elsewhere");
        bundle.create_fails().names(&format!("mounts[{index}]")).says(ORDINARY_DIRECTORY);
    }
}

#[test]
fn an_unknown_filesystem_is_refused() {
    let refusal = Bundle::new().mount("/m", "no-such-fs", "none", &[]).create_fails();
    refusal.names("mounts[6]").says("no such device");
}

#[test]
fn an_unknown_option_goes_to_the_filesystem() {
    let refusal = Bundle::new().tmpfs("/m", &["no-such-option"]).create_fails();
    refusal.names("mounts[6]").says("invalid argument");
}

/// runtime-tools and some engines leave them there; the kernel takes no notice.
#[test]
fn data_options_on_a_bind_mount_are_ignored() {
    let bundle = Bundle::sh("cat /dir/file");
    let source = bundle.host_directory("dir");
    assert_eq!(bundle.bind(source, "/dir", &["mode=755", "size=1k"]).prints(), "dir");
}

#[test]
fn overlay() {
    let make = "mkdir $T/lower $T/upper $T/work; echo lower > $T/lower/file";
    let bundle = Bundle::sh("cat /o/file; echo new > /o/made; ls /o");
    let data = |name: &str| format!("{name}dir={}", bundle.path(name).display());
    let options = [data("lower"), data("upper"), data("work")];
    let upper = bundle.path("upper");
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let bundle = bundle
        .mount("/o", "overlay", "overlay", &options)
        .after_host_sh(&format!("cd {}; T=.; {make}; cd - >/dev/null", upper.parent().unwrap().display()));
    let container = bundle.start();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.stdout(), "lower\nfile\nmade\n");
    assert_eq!(fs::read_to_string(upper.join("made")).unwrap(), "new\n");
}

#[test]
fn ramfs_and_other_kinds_the_kernel_knows() {
    let table = table(Bundle::new().mount("/r", "ramfs", "ramfs", &["nosuid"]).mount("/h", "hugetlbfs", "huge", &[]));
    assert_eq!(table.at("/r").kind, "ramfs");
    assert_eq!((&*table.at("/h").kind, &*table.at("/h").source), ("hugetlbfs", "huge"));
}

#[test]
fn proc_with_hidepid() {
    let table = table(Bundle::new().set("/mounts/0/options", json!(["nosuid", "hidepid=2"])));
    assert!(table.at("/proc").is("nosuid"));
    assert!(table.at("/proc").super_options.iter().any(|it| ["hidepid=2", "hidepid=invisible"].contains(&&**it)));
}

#[test]
fn devpts_is_the_containers_own() {
    let script = "ls /dev/pts; stat -c %a /dev/pts/ptmx; readlink /dev/ptmx";
    assert_eq!(Bundle::sh(script).prints(), "ptmx\n666\npts/ptmx\n");
}

#[test]
fn mqueue_and_shm_are_the_containers_own() {
    assert_eq!(
        Bundle::sh("ls /dev/mqueue /dev/shm; stat -c %a /dev/shm").prints(),
        "/dev/mqueue:\n\n/dev/shm:\n1777\n"
    );
}

#[test]
fn no_mounts_at_all() {
    differs!(Runc, "needs /proc");
    let bundle = Bundle::sh("echo alive").set("/mounts", json!([]));
    assert_eq!(bundle.prints(), "alive\n");
}

/// The hierarchies of the machine, each at /sys/fs/cgroup/NAME, or cgroup2 at /sys/fs/cgroup itself.
fn with_cgroup_mount(options: &[&str]) -> Bundle {
    Bundle::new().mount("/sys/fs/cgroup", "cgroup", "cgroup", options)
}

#[test]
fn cgroup_without_a_cgroup_namespace() {
    let table = table(with_cgroup_mount(&["ro", "nosuid", "nodev", "noexec"]));
    match cgroup::view() {
        cgroup::View::Unified => {
            let line = table.at("/sys/fs/cgroup");
            assert_eq!(line.kind, "cgroup2");
            assert!(line.is("ro") && line.is("nosuid"));
        }
        cgroup::View::Hybrid => {
            assert_eq!(table.at("/sys/fs/cgroup").kind, "tmpfs");
            for name in ["memory", "pids", "cpu", "devices", "freezer"] {
                let line = table.at(&format!("/sys/fs/cgroup/{name}"));
                assert_eq!(line.kind, "cgroup");
                assert!(line.is("ro"), "{line:?}");
            }
        }
    }
}

#[test]
fn cgroup_without_a_cgroup_namespace_shows_the_containers_own_cgroup() {
    requires!(cgroup::view() == cgroup::View::Hybrid, "cgroup v1");
    let bundle = with_cgroup_mount(&["ro"]);
    let path = bundle.cgroup.clone();
    assert_eq!(table(bundle).at("/sys/fs/cgroup/pids").root, path);
}

#[test]
fn cgroup_with_a_cgroup_namespace() {
    let table = table(with_cgroup_mount(&["rw", "nosuid"]).namespace("cgroup", None));
    let line = match cgroup::view() {
        cgroup::View::Unified => table.at("/sys/fs/cgroup"),
        cgroup::View::Hybrid => table.at("/sys/fs/cgroup/pids"),
    };
    // Its root is the root of the namespace, which is the container's cgroup.
    assert_eq!(line.root, "/");
    assert!(line.is("rw") && line.is("nosuid"), "{line:?}");
}

#[test]
fn cgroup_with_a_cgroup_namespace_holds_the_container() {
    let file = match cgroup::view() {
        cgroup::View::Unified => "/sys/fs/cgroup/cgroup.procs",
        cgroup::View::Hybrid => "/sys/fs/cgroup/pids/cgroup.procs",
    };
    let bundle = with_cgroup_mount(&["ro"]).namespace("cgroup", None);
    assert_eq!(bundle.args(&["head", "-n1", file]).prints(), "1\n");
}

#[test]
fn cgroup2_by_name() {
    let bundle = Bundle::new().namespace("cgroup", None).mount("/cg", "cgroup2", "cgroup2", &["ro"]);
    assert_eq!(table(bundle).at("/cg").kind, "cgroup2");
}

#[test]
fn read_only_root_and_mounts_on_it() {
    let script = "touch /file 2>&1; touch /m/file && echo written; touch /dev/file && echo written";
    let bundle = Bundle::sh(script).tmpfs("/m", &[]).set("/root/readonly", true);
    assert_eq!(bundle.prints(), "touch: /file: Read-only file system\nwritten\nwritten\n");
}

#[test]
fn a_read_only_dev_is_filled_first() {
    let script = "ls -d /dev/null /dev/fd /dev/pts/ptmx; touch /dev/file 2>&1";
    let bundle = Bundle::sh(script).set("/mounts/1/options", json!(["nosuid", "mode=755", "ro"]));
    let output = bundle.run().exits(1);
    assert_eq!(output.stdout, "/dev/fd\n/dev/null\n/dev/pts/ptmx\ntouch: /dev/file: Read-only file system\n");
}

/// The root of a user namespace gets the volume, not the way to it.
#[test]
fn a_source_where_the_containers_root_may_not_search() {
    let bundle = Bundle::sh("cat /m/file /f; ls /before /after; cat /proc/self/mountinfo").user_namespace(100_000);
    let source = bundle.host_directory("closed/volume");
    fs::set_permissions(bundle.path("closed"), Permissions::from_mode(0o700)).unwrap();
    let bundle = bundle.tmpfs("/before", &[]).bind(&source, "/m", &["ro"]).bind(source.join("file"), "/f", &[]);
    let printed = bundle.tmpfs("/after", &[]).prints();
    assert!(printed.starts_with("closed/volumeclosed/volume/after:\n\n/before:\n"), "{printed}");
    let table = Mountinfo::parse(&printed);
    assert!(table.at("/m").is("ro"), "{printed}");
    differs!(Crun, "makes such mounts before all others");
    let targets: Vec<_> =
        table.targets().into_iter().filter(|it| ["/before", "/m", "/f", "/after"].contains(it)).collect();
    assert_eq!(targets, ["/before", "/m", "/f", "/after"]);
}

#[test]
fn a_source_that_nobody_can_open_for_the_user_is_refused() {
    requires!(rustix::process::geteuid().is_root(), "root, who has what a user may not read");
    let bundle = Bundle::new().without_privileges();
    let source = bundle.host_directory("closed/volume");
    fs::set_permissions(bundle.path("closed"), Permissions::from_mode(0o700)).unwrap();
    let refusal = bundle.bind(source, "/m", &[]).create_fails();
    refusal.names("mounts[6] \"/m\": open source: open_tree(").ends("permission denied");
}
