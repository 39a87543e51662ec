//! `ctr tasks exec`.

use super::{Containerd, talk_in_terminal, unhurried};
use crate::support::case::{Case, cases};
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![
        prints,
        reads,
        exit_status,
        refused,
        terminal,
        user_and_directory,
        detached,
        in_a_stopped_one,
        killed_with_its_container
    ]
}

fn prints(containerd: &Containerd) {
    let container = containerd.asleep("");
    let script = unhurried("echo out; echo err >&2; cat /proc/1/cmdline");
    let output = container.command("tasks exec --exec-id x ID sh -c").arg(script).output().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\nsleep\x00600\0", "err\n"));
}

fn reads(containerd: &Containerd) {
    let container = containerd.asleep("");
    let script = unhurried("head -n 1");
    let output = container.command("tasks exec --exec-id x ID sh -c").arg(script).stdin("words\n").output().ok();
    assert_eq!(output.stdout, "words\n");
}

fn exit_status(containerd: &Containerd) {
    let container = containerd.asleep("");
    let exits = |script: &str, status| {
        container.command("tasks exec --exec-id x ID sh -c").arg(script).output().exits(status).silent();
    };
    exits("exit 0", 0);
    exits("exit 1", 1);
    exits("exit 127", 127);
    exits("kill -9 $$", 137);
}

fn refused(containerd: &Containerd) {
    let container = containerd.asleep("");
    let rows: [(&str, &[&str]); 4] = [
        ("nothing", &["exec: \"nothing\": executable file not found in $PATH"]),
        ("/bin/nothing", &["exec: \"/bin/nothing\"", "no such file or directory"]),
        ("/etc/passwd", &["exec: \"/etc/passwd\"", "permission denied"]),
        ("/etc", &["exec: \"/etc\"", "permission denied"]),
    ];
    for (program, needles) in rows {
        let output = container.call(&format!("tasks exec --exec-id x ID {program}")).exits(1);
        let is_said = |needle: &&str| output.stderr.contains(needle);
        assert!(needles.iter().all(is_said), "{program}: {}", output.stderr);
        assert!(output.stderr.contains("OCI runtime exec failed: "), "{}", output.stderr);
    }
}

fn terminal(containerd: &Containerd) {
    let container = containerd.asleep("");
    talk_in_terminal(container.command("tasks exec --tty --exec-id x ID sh"), 4);
}

fn user_and_directory(containerd: &Containerd) {
    let container = containerd.asleep("");
    let words = "tasks exec --exec-id x --user 1000:5 --cwd /home ID sh -c";
    let output = container.command(words).arg(unhurried("id -u; id -g; pwd")).output().ok();
    assert_eq!(output.stdout, "1000\n5\n/home\n");
}

fn detached(containerd: &Containerd) {
    let container = containerd.asleep("");
    container
        .command("tasks exec --detach --exec-id x ID sh -c")
        .arg("touch /tmp/file; exec sleep 600")
        .output()
        .ok()
        .silent();
    until("the file", || (container.sh("ls /tmp") == "file\n").then_some(()));
    let listed = container.call("tasks ps ID").ok().stdout;
    assert!(listed.lines().any(|line| line.contains("x")), "{listed}");
    container.call("tasks kill --signal SIGKILL --exec-id x ID").ok();
    until("its end", || (container.call("tasks ps ID").ok().stdout.lines().count() == 2).then_some(()));
    container.call("tasks delete --exec-id x ID").exits(137);
}

fn in_a_stopped_one(containerd: &Containerd) {
    let container = containerd.detached("", "exit 0");
    until("its end", || (container.task()?.1 == "STOPPED").then_some(()));
    let output = container.call("tasks exec --exec-id x ID true").exits(1);
    assert!(output.stderr.contains("cannot exec in a stopped state"), "{}", output.stderr);
}

fn killed_with_its_container(containerd: &Containerd) {
    let container = containerd.asleep("");
    let mut exec = container.command("tasks exec --exec-id x ID sh -c").arg("echo ready; sleep 600").spawn();
    exec.read_until("ready\n");
    container.call("tasks kill --signal SIGKILL ID").ok();
    exec.wait().exits(137);
}
