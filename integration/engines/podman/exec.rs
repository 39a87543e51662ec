//! `podman exec`.

use super::Podman;
use crate::support::case::{Case, cases};
use crate::support::pty::Pty;
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Podman>> {
    cases![prints, exit_status, refused, terminal, options, detached, in_a_stopped_one]
}

fn prints(podman: &Podman) {
    let container = podman.asleep("");
    let output = container.command("exec NAME sh -c").arg("echo out; cat /proc/1/cmdline").output().ok().no_stderr();
    assert_eq!(output.stdout, "out\nsleep\x00600\0");
    let output = container.command("exec --interactive NAME cat").stdin("words\n").output().ok().no_stderr();
    assert_eq!(output.stdout, "words\n");
}

fn exit_status(podman: &Podman) {
    let container = podman.asleep("");
    let exits = |script: &str, status| container.command("exec NAME sh -c").arg(script).output().exits(status).silent();
    exits("exit 0", 0);
    exits("exit 1", 1);
    exits("exit 125", 125);
    exits("kill -9 $$", 137);
}

fn refused(podman: &Podman) {
    let container = podman.asleep("");
    let rows: [(&str, i32, &str); 4] = [
        ("nothing", 127, "executable file not found in $PATH"),
        ("/bin/nothing", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, "permission denied"),
    ];
    for (program, status, needle) in rows {
        let output = container.call(&format!("exec NAME {program}")).exits(status);
        assert!(output.stderr.contains(needle), "{program}: {}", output.stderr);
    }
}

fn terminal(podman: &Podman) {
    let container = podman.asleep("");
    let (mut pty, terminal) = Pty::open();
    pty.resize(33, 99);
    let shell = container.command("exec --interactive --tty NAME sh").stdio(&terminal).spawn();
    drop(terminal);
    pty.write("echo $((6 * 7)); tty; stty size\n");
    pty.reads("42\r\n/dev/pts/0\r\n33 99\r\n");
    pty.write("exit 4\n");
    shell.wait().exits(4);
}

fn options(podman: &Podman) {
    let container = podman.asleep("--env A=a --env B=b");
    let words = "exec --user user --workdir /home --env A=x NAME sh -c";
    let output = container.command(words).arg("id -u; pwd; echo $A $B; grep CapEff /proc/self/status").output().ok();
    assert_eq!(output.no_stderr().stdout, "1000\n/home\nx b\nCapEff:\t0000000000000000\n");
    let output = container.call("exec --user nobody-here NAME true").exits(255);
    assert!(output.stderr.contains("nobody-here"), "{}", output.stderr);
}

fn detached(podman: &Podman) {
    let container = podman.asleep("");
    container.call("exec --detach NAME touch /tmp/file").ok().no_stderr();
    until("the file", || container.call("exec NAME test -e /tmp/file").status.success().then_some(()));
}

fn in_a_stopped_one(podman: &Podman) {
    let container = podman.detached("", "exit 0");
    container.call("wait NAME").ok();
    let output = container.call("exec NAME true").exits(255);
    assert!(output.stderr.contains("container state improper"), "{}", output.stderr);
}
