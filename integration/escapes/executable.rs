//! The runtime's binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::host::hash;
use crate::support::run::Run;
use crate::support::wait::until;
use crate::support::{Bundle, Container, differs, peer, requires};

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

/// What is executed is whoever executes it: the runtime, once more, now in the container. Reading a FIFO it waits.
const EVIL: [&str; 5] = ["/bin/evil", "exec", "--process", "/fifo", "x"];

fn with_evil(bundle: Bundle) -> Bundle {
    let bundle = bundle.link("bin/evil", "/proc/self/exe");
    Run::new("mkfifo").args(["-m", "666"]).arg(bundle.rootfs().join("fifo")).output().ok();
    bundle
}

/// Runs `create` and `run` with another program.
fn by(program: &Path, bundle: Bundle) -> Bundle {
    let bundle = bundle.through(["sh".to_owned(), "-c".to_owned(), "P=$1; shift 2; exec \"$P\" \"$@\"".to_owned()]);
    bundle.through(["_".to_owned(), program.to_str().unwrap().to_owned()])
}

fn attack(bundle: Bundle, evil: impl Fn(&Path, &Container)) {
    let program = expendable(&bundle);
    let before = hash(&program);
    let container = by(&program, with_evil(bundle)).start();
    until("the attack", || container.rootfs().join("ready").exists().then_some(()));
    until("the binary was opened", || {
        evil(&program, &container);
        container.stdout().contains("opened").then_some(())
    });
    container.wait();
    assert_eq!(container.stdout(), "opened\ntried\n");
    assert_eq!(hash(&program), before, "the runtime's binary was overwritten");
}

/// runc before 1.0-rc6: a container executed `/proc/self/exe` on `exec`, opened the runtime's binary through it, and wrote to
/// it when it had ended. Here a container does that which joins another's pid namespace.
#[test]
fn cve_2019_5736_the_binary_is_overwritten() {
    differs!(Runc | Crun, "does not wait when it reads that FIFO, so that there is nothing to open");
    requires!(rustix::process::geteuid().is_root(), "root, to join a pid namespace");
    attack(Bundle::sh(OVERWRITE), |program, container| {
        let namespace = format!("/proc/{}/ns/pid", container.pid).into();
        by(program, with_evil(Bundle::new().args(&EVIL).namespace("pid", Some(namespace)))).run();
    });
}

/// The same of the program that waits for the start.
#[test]
fn cve_2019_5736_the_waiting_program_is_overwritten() {
    let container = Bundle::idle().create();
    let script = "
        exec 7< /proc/1/exe; echo opened
        i=0; while [ $i -lt 20000 ] && ! echo overwritten > /proc/self/fd/7; do i=$((i + 1)); done 2> /dev/null
        echo $i tried";
    let mut attack = container
        .runtime("exec")
        .args(["--cap", "CAP_SYS_PTRACE", "--cap", "CAP_DAC_OVERRIDE", &container.id, "sh", "-c", script])
        .spawn();
    attack.read_until("opened");
    container.start();
    assert_eq!(attack.wait().ok().stdout, "20000 tried\n");
}

/// The same where the binary can only be sealed as a copy in memory, and belongs to the container's root.
#[test]
fn cve_2019_5736_the_binary_of_a_user_is_overwritten() {
    differs!(Runc | Crun, "does not wait when it reads that FIFO, so that there is nothing to open");
    let bundle = Bundle::sh(OVERWRITE);
    // So that it is given to the user with everything else.
    expendable(&bundle);
    attack(bundle.without_privileges(), |program, container| {
        let words = container.caller.iter().map(String::as_str).chain([program.to_str().unwrap()]);
        let exec = Run::new("env").args(words).arg("--root").arg(container.state_root());
        exec.args(["exec", &container.id]).args(EVIL).output();
    });
}
