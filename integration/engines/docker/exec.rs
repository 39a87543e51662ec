//! `docker exec`.

use std::time::Duration;

use super::Docker;
use crate::support::case::{Case, cases};
use crate::support::cgroup;
use crate::support::differs;
use crate::support::pty::Pty;
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Docker>> {
    cases![
        prints,
        reads,
        exit_status,
        refused,
        terminal,
        user,
        directory_and_environment,
        detached,
        privileged,
        rights,
        in_a_stopped_one,
        killed_with_its_container,
        many,
    ]
}

fn prints(docker: &Docker) {
    let container = docker.asleep("");
    let output = container.command("exec NAME sh -c").arg("echo out; echo err >&2; cat /proc/1/cmdline").output().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\nsleep\x00600\0", "err\n"));
}

fn reads(docker: &Docker) {
    let container = docker.asleep("");
    let output = container.command("exec --interactive NAME cat").stdin("words\n").output().ok();
    assert_eq!(output.stdout, "words\n");
}

fn exit_status(docker: &Docker) {
    let container = docker.asleep("");
    let exits = |script: &str, status| container.command("exec NAME sh -c").arg(script).output().exits(status).silent();
    exits("exit 0", 0);
    exits("exit 1", 1);
    exits("exit 127", 127);
    exits("kill -9 $$", 137);
}

fn refused(docker: &Docker) {
    let container = docker.asleep("");
    // A newer Docker exits with 127 for what is missing.
    let rows: [(&str, &[&str]); 4] = [
        ("nothing", &["exec: \"nothing\": executable file not found in $PATH"]),
        ("/bin/nothing", &["exec: \"/bin/nothing\"", "no such file or directory"]),
        ("/etc/passwd", &["exec: \"/etc/passwd\"", "permission denied"]),
        ("/etc", &["exec: \"/etc\"", "permission denied"]),
    ];
    for (program, needles) in rows {
        let output = container.call(&format!("exec NAME {program}")).exits(126);
        // This Docker prints it on stdout.
        let said = output.stdout + &output.stderr;
        assert!(needles.iter().all(|it| said.contains(it)), "{program}: {said}");
    }
}

fn terminal(docker: &Docker) {
    let container = docker.asleep("");
    let (mut pty, terminal) = Pty::open();
    pty.resize(33, 99);
    let shell = container.command("exec --interactive --tty NAME sh").stdio(&terminal).spawn();
    drop(terminal);
    pty.write("echo $((6 * 7)); tty\n");
    pty.reads("42\r\n/dev/pts/0\r\n");
    until("its size", || {
        pty.write("stty size\n");
        pty.reads_within("33 99\r\n", Duration::from_millis(500)).then_some(())
    });
    pty.write("exit 4\n");
    shell.wait().exits(4);
}

fn user(docker: &Docker) {
    let container = docker.asleep("");
    let id = |user: &str| {
        let output = container
            .command(&format!("exec --user {user} NAME sh -c"))
            .arg("id -u; id -g; grep CapEff /proc/self/status")
            .output();
        output.ok().stdout
    };
    assert_eq!(id("user"), "1000\n1000\nCapEff:\t0000000000000000\n");
    assert_eq!(id("5:6"), "5\n6\nCapEff:\t0000000000000000\n");
    assert_eq!(id("0"), "0\n0\nCapEff:\t00000000a80425fb\n");
    let output = container.call("exec --user nobody-here NAME true").exits(126);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("unable to find user nobody-here"), "{said}");
}

fn directory_and_environment(docker: &Docker) {
    let container = docker.asleep("--env A=a --env B=b");
    let script = "pwd; echo $A $B $C";
    let output = container.command("exec --workdir /home --env A=x --env C=c NAME sh -c").arg(script).output().ok();
    assert_eq!(output.stdout, "/home\nx b c\n");
    let output = container.call("exec --workdir /nothing NAME pwd");
    assert!(!output.status.success() && (output.stdout + &output.stderr).contains("/nothing"));
}

fn detached(docker: &Docker) {
    let container = docker.asleep("");
    container.call("exec --detach NAME touch /tmp/file").ok().silent();
    until("the file", || container.call("exec NAME test -e /tmp/file").status.success().then_some(()));
}

fn privileged(docker: &Docker) {
    differs!(Runc, "it fails where the machine itself lacks capabilities");
    let container = docker.asleep("");
    let script = "grep CapEff /proc/self/status";
    let output = container.command("exec --privileged NAME sh -c").arg(script).output().ok();
    assert_eq!(output.stdout, docker.sh("--privileged", script).ok().stdout);
    assert_ne!(output.stdout, container.sh(script));
}

/// An exec'd program is confined as its container is.
fn rights(docker: &Docker) {
    let container = docker.asleep("--cap-drop ALL --security-opt no-new-privileges --pids-limit 20");
    let status = container
        .sh("grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; cut -d : -f 3 /proc/self/cgroup | sort -u");
    let first = std::fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
    let kept = |line: &&str| ["CapBnd", "NoNewPrivs", "Seccomp:"].iter().any(|it| line.starts_with(it));
    let expected: Vec<_> = first.lines().filter(kept).collect();
    assert_eq!(status.lines().take(3).collect::<Vec<_>>(), expected);
    assert_eq!(expected[0], "CapBnd:\t0000000000000000");
    // Docker's default on v2 is a cgroup namespace, of which that is the root.
    let path = if cgroup::is_v2() { "/".to_owned() } else { docker.cgroup_path(&container.inspect(".Id")) };
    assert_eq!(status.lines().skip(3).collect::<Vec<_>>(), [path]);
}

fn in_a_stopped_one(docker: &Docker) {
    let container = docker.detached("", "exit 0");
    container.call("wait NAME").ok();
    let output = container.call("exec NAME true").exits(1);
    assert!(output.stderr.contains("is not running"), "{}", output.stderr);
}

fn killed_with_its_container(docker: &Docker) {
    let container = docker.asleep("");
    let mut exec = container.command("exec NAME sh -c").arg("echo ready; sleep 600").spawn();
    exec.read_until("ready\n");
    container.call("kill NAME").ok();
    exec.wait().exits(137);
}

fn many(docker: &Docker) {
    let container = docker.asleep("");
    let running: Vec<_> =
        (0..8).map(|status| container.command("exec NAME sh -c").arg(format!("exit {status}")).spawn()).collect();
    for (status, exec) in (0..8).zip(running) {
        exec.wait().exits(status);
    }
}
