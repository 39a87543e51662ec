//! `linux.maskedPaths` and `linux.readonlyPaths`.

use serde_json::json;

use crate::support::mountinfo::Mountinfo;
use crate::support::{Bundle, differs};

#[test]
fn a_masked_file_is_empty() {
    let bundle = Bundle::sh("cat /secret; echo; stat -c '%F %t:%T' /secret").file("secret", "secret");
    let bundle = bundle.set("/linux/maskedPaths", json!(["/secret"]));
    assert_eq!(bundle.prints(), "\ncharacter special file 1:3\n");
}

#[test]
fn a_masked_directory_is_empty_and_read_only() {
    let bundle =
        Bundle::sh("ls -A /dir; touch /dir/new 2>&1; cat /dir/inner/secret 2>&1").file("dir/inner/secret", "secret");
    let output = bundle.set("/linux/maskedPaths", json!(["/dir"])).run();
    let expected =
        "touch: /dir/new: Read-only file system\ncat: can't open '/dir/inner/secret': No such file or directory\n";
    assert_eq!(output.stdout, expected);
}

#[test]
fn missing_masked_paths_are_passed_over() {
    let bundle = Bundle::new().link("dangling", "/nowhere");
    bundle.set("/linux/maskedPaths", json!(["/no/such/path", "/dangling"])).prints();
}

#[test]
fn masked_paths_below_masked_paths() {
    let bundle =
        Bundle::sh("cat /a/b/file 2>&1; cat /x/file /x/y/file").file("a/b/file", "secret").file("x/y/file", "secret");
    let bundle =
        bundle.file("x/file", "seen\n").set("/linux/maskedPaths", json!(["/a", "/a/b/file", "/x/y/file", "/x/y/file"]));
    assert_eq!(bundle.prints(), "cat: can't open '/a/b/file': No such file or directory\nseen\n");
}

#[test]
fn what_a_symlink_names_is_masked() {
    let bundle =
        Bundle::sh("cat /secret /dir/file").file("secret", "secret").file("dir/file", "seen\n").link("link", "/secret");
    assert_eq!(bundle.set("/linux/maskedPaths", json!(["/link"])).prints(), "seen\n");
}

#[test]
fn dots_and_symlinks_stay_in_the_root() {
    let bundle = Bundle::sh("cat /secret").file("secret", "secret").link("up", "../../../..");
    assert_eq!(bundle.set("/linux/maskedPaths", json!(["/up/secret"])).prints(), "");
}

#[test]
fn a_readonly_directory_and_a_readonly_file() {
    let script = "echo x > /dir/file; echo x > /dir/inner/file; echo x > /single; echo x > /free; cat /dir/file";
    let bundle = Bundle::sh(script).file("dir/file", "kept\n").file("dir/inner/file", "").file("single", "");
    let output = bundle.set("/linux/readonlyPaths", json!(["/dir", "/single"])).run().ok();
    assert_eq!(output.stdout, "kept\n");
    let refused = |path| format!("sh: can't create {path}: Read-only file system\n");
    assert_eq!(output.stderr, ["/dir/file", "/dir/inner/file", "/single"].map(refused).concat());
}

#[test]
fn a_readonly_mount_keeps_its_other_flags() {
    differs!(Crun, "loses them");
    let bundle =
        Bundle::new().args(&["cat", "/proc/self/mountinfo"]).tmpfs("/m", &["nosuid", "nodev", "noexec", "noatime"]);
    let table = Mountinfo::parse(&bundle.set("/linux/readonlyPaths", json!(["/m"])).prints());
    let line = table.at("/m");
    assert!(["ro", "nosuid", "nodev", "noexec", "noatime"].iter().all(|flag| line.is(flag)), "{line:?}");
}

#[test]
fn missing_readonly_paths_are_passed_over() {
    let bundle = Bundle::new().link("dangling", "/nowhere");
    bundle.set("/linux/readonlyPaths", json!(["/no/such/path", "/dangling"])).prints();
}

#[test]
fn what_a_symlink_names_is_readonly() {
    let bundle = Bundle::sh("touch /dir/new 2>&1").directory("dir").link("link", "/dir");
    let output = bundle.set("/linux/readonlyPaths", json!(["/link"])).run().exits(1);
    assert_eq!(output.stdout, "touch: /dir/new: Read-only file system\n");
}

#[test]
fn paths_of_proc_as_engines_list_them() {
    let masked = json!(["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/proc/acpi"]);
    let readonly = json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
    let script = "cat /proc/keys | wc -c; ls -A /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/randomize_va_space";
    let bundle = Bundle::sh(script).set("/linux/maskedPaths", masked).set("/linux/readonlyPaths", readonly);
    let output = bundle.run().exits(1);
    assert_eq!(output.stdout, "0\n0\n");
    assert_eq!(output.stderr, "sh: can't create /proc/sys/kernel/randomize_va_space: Read-only file system\n");
}

#[test]
fn paths_of_proc_with_dots_and_below_other_mounts() {
    let masked =
        json!(["/proc/self/../version", "/proc/../secret", "/sys/fs/../kernel/uevent_seqnum", "/sys/fs/cgroup/file"]);
    let script = "cat /proc/version /secret /sys/kernel/uevent_seqnum /sys/fs/cgroup/file";
    let bundle = Bundle::sh(script).file("secret", "secret").set("/linux/maskedPaths", masked);
    let source = bundle.host_directory("mounted");
    assert_eq!(bundle.bind(source, "/sys/fs/cgroup", &[]).prints(), "");
}

#[test]
fn masked_and_readonly_in_a_user_namespace() {
    let bundle =
        Bundle::sh("cat /secret; ls -A /dir; touch /ro/new 2>&1").file("secret", "secret").file("dir/file", "");
    let bundle = bundle.directory("ro").user_namespace(100_000);
    let bundle =
        bundle.set("/linux/maskedPaths", json!(["/secret", "/dir"])).set("/linux/readonlyPaths", json!(["/ro"]));
    assert_eq!(bundle.run().exits(1).stdout, "touch: /ro/new: Read-only file system\n");
}

#[test]
fn both_must_be_absolute() {
    differs!(Runc | Crun, "takes them relative to the root");
    for list in ["maskedPaths", "readonlyPaths"] {
        for path in ["relative", "../up", ""] {
            let bundle = Bundle::new().set(&format!("/linux/{list}"), json!(["/fine", path]));
            bundle.create_fails().names(&format!("linux.{list}[1]"));
        }
    }
}
