//! Who a process is in the container.

use std::fs;

use rustix::fs::{XattrFlags, setxattr};
use serde_json::json;

use crate::support::run::Output;
use crate::support::{Bundle, Container, differs};

/// All four user ids, and all four group ids.
const IDS: [&str; 4] = ["grep", "-E", "^(Uid|Gid)", "/proc/self/status"];

fn exec(container: &Container, options: &[&str], args: &[&str]) -> Output {
    container.runtime("exec").args(options).arg(&container.id).args(args).output()
}

fn shown(uid: u32, gid: u32) -> String {
    format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{gid}\t{gid}\t{gid}\t{gid}\n")
}

/// runc before 0.1.0: a number that the image's passwd(5) has as a *name* became the user id of that line: root's.
#[test]
fn cve_2016_3697_a_number_is_the_name_of_root() {
    let passwd = "root:x:0:0::/:/bin/sh\n10:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n";
    let with_passwd = |bundle: Bundle| bundle.file("etc/passwd", passwd).file("etc/group", "root:x:0:\n20:x:0:\n");
    let run = with_passwd(Bundle::new()).args(&IDS).set("/process/user", json!({"uid": 10, "gid": 20}));
    assert_eq!(run.prints(), shown(10, 20));
    let container = with_passwd(Bundle::idle()).start();
    assert_eq!(exec(&container, &["--user", "10:20"], &IDS).ok().stdout, shown(10, 20));
    // Too large, and negative: containerd's CVE-2026-46680 took such a number for a name.
    for user in ["4294967296", "-1", "10:-1"] {
        let output = exec(&container, &["--user", user], &IDS);
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:#?}");
    }
}

/// crun 1.19 to 1.26: of `--user 1` only the end was looked at where a colon should have been, and the process was root's.
#[test]
fn cve_2026_30892_exec_as_user_1() {
    let container = Bundle::idle().start();
    for options in [&["-u", "1"][..], &["--user", "1"], &["--user=1"], &["-u", "1:0"]] {
        assert_eq!(exec(&container, options, &IDS).ok().stdout, shown(1, 0), "{options:?}");
    }
}

/// runc before 1.1.2: `exec --cap` put the capabilities into the inheritable set too, so that a user without privileges
/// gained them by executing a file that has them in its own inheritable set.
#[test]
fn cve_2022_29162_exec_leaves_inheritable_capabilities() {
    differs!(Crun, "passes it from the bounding set in this version");
    let bundle = Bundle::idle().set("/process/noNewPrivileges", false);
    let (tool, busybox) = (bundle.rootfs().join("bin/busybox.tool"), bundle.rootfs().join("bin/busybox"));
    fs::copy(busybox, &tool).unwrap();
    // VFS_CAP_REVISION_2 with the effective bit; permitted: none; inheritable: CAP_CHOWN, the first one.
    let capability = [0x0200_0001_u32, 0, 1, 0, 0].map(u32::to_le_bytes).concat();
    setxattr(&tool, "security.capability", &capability, XattrFlags::CREATE).unwrap();
    let container = bundle.file("file", "root's").start();
    let options = ["--cap", "CAP_CHOWN", "--user", "1000:1000"];
    let sets =
        exec(&container, &options, &["/bin/busybox.tool", "grep", "-E", "^Cap(Inh|Prm|Eff|Amb)", "/proc/self/status"]);
    let none = ["Inh", "Prm", "Eff", "Amb"].map(|set| format!("Cap{set}:\t{:016x}\n", 0)).concat();
    assert_eq!(sets.ok().stdout, none);
    let gained = exec(&container, &options, &["/bin/busybox.tool", "chown", "1000", "/file"]);
    assert!(!gained.status.success(), "a user has changed the owner of root's file: {gained:#?}");
}
