//! A root filesystem of busybox, small enough to make one for every test.

use std::env;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const BUSYBOX: &str = "/bin/busybox";

/// The applets that tests call; a symlink each.
const APPLETS: &str = "awk cat chmod chown cp cut date dd df echo env expr false find fold getopt grep head hostname id \
    ifconfig ip ipcs kill ln ls mkdir mkfifo mknod mount mountpoint mv nc nproc od pidof printenv printf ps pwd readlink \
    realpath rm rmdir sed seq sh sleep sort stat stty sync tail taskset tee test touch tr true tty umount uname uniq unshare \
    wc whoami xargs yes";

/// A file for the whole run. It is in cargo's directory for such things, unless the run names another: the guest has not
/// got cargo's.
pub fn shared(name: &str) -> PathBuf {
    let directory = env::var_os("TMPDIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    Path::new(&directory).join(name)
}

/// One copy of busybox. Every root filesystem links to it, and nobody can write to it.
static SHARED: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared = shared("busybox");
    let size = |path: &Path| fs::metadata(path).map(|it| it.len()).ok();
    if size(&shared) != size(Path::new(BUSYBOX)) || size(&shared).is_none() {
        let copy = shared.with_extension(std::process::id().to_string());
        fs::copy(BUSYBOX, &copy).unwrap_or_else(|error| panic!("{BUSYBOX} (package busybox-static): {error}"));
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o555)).unwrap();
        fs::rename(&copy, &shared).unwrap();
    }
    shared
});

/// Makes the tree below `rootfs`, which does not exist yet.
pub fn make(rootfs: &Path) {
    for name in ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "var"] {
        directory(&rootfs.join(name));
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let busybox = rootfs.join("bin/busybox");
    // Another filesystem (EXDEV) gets a copy of its own.
    fs::hard_link(&*SHARED, &busybox).or_else(|_| fs::copy(&*SHARED, &busybox).map(drop)).unwrap();
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n").unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
}

/// A directory with all its parents, readable for everybody whatever the umask of the test run.
pub fn directory(path: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
}
