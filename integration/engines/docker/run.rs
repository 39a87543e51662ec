//! `docker run`: a program, its output and its end.

use super::{Docker, STATES};
use crate::support::case::{Case, cases};
use crate::support::differs;
use crate::support::image::BOX;
use crate::support::pty::Pty;
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Docker>> {
    cases![
        prints,
        reads,
        exit_status,
        missing_program,
        missing_path,
        not_executable,
        directory_as_program,
        missing_interpreter,
        interactive_terminal,
        terminal_has_a_size,
        detached,
        removed_at_its_end,
        environment,
        user,
        reopens_stdout_as_a_user,
        init,
        runc_by_its_name,
        arguments_from_daemon_json,
    ]
}

fn prints(docker: &Docker) {
    let output = docker.sh("", "echo out; echo err >&2").ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

fn reads(docker: &Docker) {
    let output = docker.command(&format!("run --rm --interactive {BOX} cat")).stdin("words\n").output().ok();
    assert_eq!(output.stdout, "words\n");
}

fn exit_status(docker: &Docker) {
    for status in [0, 1, 42, 255] {
        docker.sh("", &format!("exit {status}")).exits(status).silent();
    }
}

/// Docker's status for a program that cannot be run, and what it says about it.
#[track_caller]
fn refused(docker: &Docker, options: &str, program: &str, status: i32, needles: &[&str]) {
    let container = docker.container();
    let output = container.call(&format!("run --name NAME {options} {BOX} {program}")).exits(status);
    for needle in needles {
        assert!(output.stderr.contains(needle), "{needle}: {}", output.stderr);
    }
    assert_eq!(container.inspect(".State.ExitCode"), status.to_string());
    assert_eq!(container.inspect(".State.Status"), "created");
}

fn missing_program(docker: &Docker) {
    refused(docker, "", "nothing", 127, &["exec: \"nothing\": executable file not found in $PATH"]);
}

fn missing_path(docker: &Docker) {
    refused(docker, "", "/bin/nothing", 127, &["exec: \"/bin/nothing\"", "no such file or directory"]);
}

fn not_executable(docker: &Docker) {
    refused(docker, "", "/etc/passwd", 126, &["exec: \"/etc/passwd\"", "permission denied"]);
}

fn directory_as_program(docker: &Docker) {
    refused(docker, "", "/etc", 126, &["exec: \"/etc\"", "permission denied"]);
}

fn missing_interpreter(docker: &Docker) {
    differs!(Runc, "its start succeeds, and the container's own output has the error");
    let script = docker.script("run.sh", "#!/bin/nothing\n");
    let volume = format!("--volume {script}:/run.sh");
    // Newer ones of Docker keep the exit status of the first process, which has ended.
    let output = docker.call(&format!("run --rm {volume} {BOX} /run.sh")).exits(127);
    let needles = ["exec: \"/run.sh\"", "no such file or directory"];
    assert!(needles.iter().all(|it| output.stderr.contains(it)), "{}", output.stderr);
}

fn interactive_terminal(docker: &Docker) {
    let (mut pty, terminal) = Pty::open();
    let shell = docker.command(&format!("run --rm --interactive --tty {BOX}")).stdio(&terminal).spawn();
    drop(terminal);
    pty.write("echo $((6 * 7)); test -t 0 && tty\n");
    pty.reads("42\r\n");
    pty.reads("/dev/pts/0\r\n");
    // Ctrl-C ends what the shell runs, not the shell.
    pty.write("sh -c \"echo be''gin; sleep 600\"\n");
    pty.reads("begin\r\n");
    pty.write("\u{3}");
    pty.reads("^C");
    pty.write("echo ag''ain; exit 3\n");
    pty.reads("again\r\n");
    shell.wait().exits(3);
}

fn terminal_has_a_size(docker: &Docker) {
    let container = docker.container();
    let (mut pty, terminal) = Pty::open();
    pty.resize(33, 99);
    let words = format!("run --name NAME --interactive --tty {BOX}");
    let shell = container.command(&words).stdio(&terminal).spawn();
    drop(terminal);
    until("the size", || {
        pty.write("stty size\n");
        pty.reads_within("33 99\r\n", std::time::Duration::from_millis(500)).then_some(())
    });
    pty.resize(44, 111);
    // The kernel tells those whose terminal it is; the client only has it as its streams.
    shell.signal(rustix::process::Signal::WINCH);
    until("the new size", || {
        pty.write("stty size\n");
        pty.reads_within("44 111\r\n", std::time::Duration::from_millis(500)).then_some(())
    });
    pty.write("exit\n");
    shell.wait().ok();
}

fn detached(docker: &Docker) {
    let container = docker.container();
    let output = container.call(&format!("run --detach --name NAME {BOX} sleep 600")).ok();
    let id = output.line();
    assert_eq!((id.len(), output.stderr.as_str()), (64, ""));
    assert_eq!(container.inspect(".State.Status"), "running");
    assert_eq!(container.inspect(".HostConfig.Runtime"), "corten");
    // Where its state is looked for at the end: for Docker every runtime is runc.
    assert!(docker.path(&format!("{STATES}/moby/{id}")).exists());
    let pid = container.pid();
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(file("cmdline"), "sleep\x00600\0");
    // The shim takes it, and will know its exit status.
    let parent = file("status").lines().find_map(|line| line.strip_prefix("PPid:\t").map(str::to_owned)).unwrap();
    let parent = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap();
    assert_eq!(parent, "containerd-shim\n");
    assert!(file("cgroup").lines().all(|line| line.ends_with(&docker.cgroup_path(id))), "{}", file("cgroup"));
}

fn removed_at_its_end(docker: &Docker) {
    let name = docker.name();
    docker.call(&format!("run --rm --name {name} {BOX} true")).ok().silent();
    let output = docker.call(&format!("inspect {name}")).exits(1);
    assert!(output.stderr.contains("No such object"), "{}", output.stderr);
}

fn environment(docker: &Docker) {
    let options = "--env A=b --workdir /var/new --hostname box --label a=b";
    let output = docker.sh(options, "echo $A $PATH; pwd; hostname; cat /proc/sys/kernel/hostname").ok();
    assert_eq!(output.stdout, "b /bin\n/var/new\nbox\nbox\n");
}

fn user(docker: &Docker) {
    let id = |options: &str| docker.sh(options, "id -u; id -g; id -G; echo $HOME").ok().stdout;
    assert_eq!(id("--user user"), "1000\n1000\n1000\n/home\n");
    assert_eq!(id("--user 7:8 --group-add 9"), "7\n8\n8 9\n/\n");
    let output = docker.sh("--user nobody-here", "").exits(125);
    assert!(output.stderr.contains("unable to find user nobody-here"), "{}", output.stderr);
}

/// Pipes that belong to root: the runtime gives them to the container's user.
fn reopens_stdout_as_a_user(docker: &Docker) {
    let output = docker.sh("--user user", "echo out >/dev/stdout; echo err >/dev/stderr").ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

fn init(docker: &Docker) {
    let output = docker.sh("--init", "cat /proc/1/comm; kill -9 $$").exits(137);
    assert_eq!(output.stdout, "docker-init\n");
}

/// The symlink in dockerd's search path.
fn runc_by_its_name(docker: &Docker) {
    let container = docker.container();
    container.call(&format!("run --name NAME --runtime runc {BOX} echo hello")).ok();
    assert_eq!(container.log(), "hello\n");
    assert_eq!(container.inspect(".HostConfig.Runtime"), "runc");
    let output = docker.call(&format!("run --rm --runtime runc {BOX} nothing")).exits(127);
    assert!(output.stderr.contains("runc create failed: "), "{}", output.stderr);
}

/// For those, Docker starts the runtime by a script of its own.
fn arguments_from_daemon_json(docker: &Docker) {
    let output = docker.call(&format!("run --rm --runtime corten-debug {BOX} echo hello")).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("hello\n", ""));
}
