//! File descriptors: what stays open in the program, and what does not.

use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::support::{Bundle, differs};

/// The shell's descriptors; `ls`, which is not the last command, is another process.
const LIST: &str = "ls /proc/$$/fd; true";

/// A shell of the host that leaks descriptors, as conmon does, into what it runs.
fn leaking(bundle: Bundle) -> Bundle {
    bundle.through(["bash", "-c", "exec 3</etc/passwd 5</usr 9<>/dev/null 77</etc/group; exec \"$@\"", "_"])
}

#[test]
fn only_stdio_is_open() {
    assert_eq!(Bundle::sh(LIST).prints(), "0\n1\n2\n");
}

#[test]
fn leaked_descriptors_are_closed() {
    assert_eq!(leaking(Bundle::sh(LIST)).prints(), "0\n1\n2\n");
}

#[test]
fn leaked_descriptors_are_closed_in_a_created_container_too() {
    differs!(Crun, "closes them at start");
    let container = leaking(Bundle::sh(LIST)).create();
    let open = std::fs::read_dir(format!("/proc/{}/fd", container.pid)).unwrap();
    let targets = open.map(|it| std::fs::read_link(it.unwrap().path()).unwrap());
    assert!(
        targets.into_iter().all(|it| !it.starts_with("/etc") && !it.starts_with("/usr")),
        "the waiting init holds the host's"
    );
    assert_eq!(container.finish(), "0\n1\n2\n");
}

#[test]
fn preserved_descriptors_stay_where_they_are() {
    let open = "exec 3<<<three 4<<<four 5<<<five; exec \"$@\"";
    let bundle = Bundle::sh(&format!("{LIST}; cat <&3; cat <&4")).option("--preserve-fds=2");
    assert_eq!(bundle.through(["bash", "-c", open, "_"]).prints(), "0\n1\n2\n3\n4\nthree\nfour\n");
}

#[test]
fn preserved_descriptors_with_create_and_start() {
    let open = "exec 3<<<three; exec \"$@\"";
    let bundle = Bundle::sh(&format!("{LIST}; cat <&3")).option("--preserve-fds").option("1");
    assert_eq!(bundle.through(["bash", "-c", open, "_"]).create().finish(), "0\n1\n2\n3\nthree\n");
}

#[test]
fn preserving_a_descriptor_that_is_not_open_is_refused() {
    differs!(Crun, "preserves what there is");
    let refusal = Bundle::new().option("--preserve-fds=50").create_fails();
    refusal.because("preserve");
}

#[test]
fn listen_fds_for_this_process_are_passed() {
    differs!(Crun, "sets no LISTEN_PID");
    let open = "exec 3<<<three; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    let bundle = Bundle::sh(&format!("{LIST}; cat <&3; echo $LISTEN_FDS $LISTEN_PID"));
    assert_eq!(bundle.through(["bash", "-c", open, "_"]).prints(), "0\n1\n2\n3\nthree\n1 1\n");
}

#[test]
fn listening_sockets_keep_their_names() {
    differs!(Runc | Crun, "the names are lost");
    let open = "exec 3<<<3 4<<<4; export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=web:admin; exec \"$@\"";
    let bundle = Bundle::sh("echo $LISTEN_FDS $LISTEN_FDNAMES");
    assert_eq!(bundle.through(["bash", "-c", open, "_"]).prints(), "2 web:admin\n");
    let open = "exec 3<<<three; export LISTEN_FDS=1 LISTEN_PID=1 LISTEN_FDNAMES=web; exec \"$@\"";
    let bundle = Bundle::sh("echo $LISTEN_FDNAMES");
    assert_eq!(bundle.through(["bash", "-c", open, "_"]).prints(), "\n");
}

#[test]
fn listen_fds_come_before_preserved_ones() {
    let open = "exec 3<<<three 4<<<four 5<<<five; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    let bundle = Bundle::sh(&format!("{LIST}; cat <&4")).option("--preserve-fds=1");
    assert_eq!(bundle.through(["bash", "-c", open, "_"]).prints(), "0\n1\n2\n3\n4\nfour\n");
}

#[test]
fn listen_fds_for_another_process_are_not() {
    differs!(Crun, "does not look at LISTEN_PID");
    let open = "exec 3<<<three; export LISTEN_FDS=1 LISTEN_PID=1; exec \"$@\"";
    let bundle = Bundle::sh(&format!("{LIST}; echo $LISTEN_FDS")).through(["bash", "-c", open, "_"]);
    assert_eq!(bundle.prints(), "0\n1\n2\n\n");
}

#[test]
fn stdio_may_be_closed() {
    differs!(Runc | Crun, "fails, or hands its own descriptors to the program in their place");
    let bundle = Bundle::sh("ls /proc/$$/fd > /m/open; readlink /proc/$$/fd/0 > /m/stdin");
    let source = bundle.host_directory("m");
    let bundle = bundle.bind(&source, "/m", &[]).through(["bash", "-c", "exec \"$@\" <&- >&- 2>&-", "_"]);
    let container = bundle.start();
    assert_eq!(container.wait(), 0);
    // The shell keeps the stdout that it redirects for `ls` as 10.
    assert_eq!(std::fs::read_to_string(source.join("open")).unwrap().replace("10\n", ""), "0\n1\n2\n");
    assert_eq!(std::fs::read_to_string(source.join("stdin")).unwrap(), "/dev/null\n");
}

/// containerd's shim gives CRI's pause containers this.
#[test]
fn stdout_may_be_read_only() {
    let bundle = Bundle::sh("exit 3").through(["bash", "-c", "exec \"$@\" 0</dev/null 1</dev/null 2</dev/null", "_"]);
    let container = bundle.start();
    assert_eq!(container.wait(), 3);
}

#[test]
fn a_socket_as_stdin() {
    let bundle = Bundle::sh("readlink /proc/$$/fd/0 | cut -c1-7");
    let listener = UnixListener::bind(bundle.path("socket")).unwrap();
    bundle.write();
    let output = bundle.command("create").stdin_from(std::os::fd::OwnedFd::from(listener));
    let out = std::fs::File::create_new(bundle.path("out")).unwrap();
    output.stdout_to(out.try_clone().unwrap()).stderr_to(out).output().ok();
    bundle.call("start").ok();
    let printed = || std::fs::read_to_string(bundle.path("out")).ok().filter(|it| !it.is_empty());
    assert_eq!(crate::support::wait::until("the program", printed), "socket:\n");
}

#[test]
fn nothing_of_the_host_is_open_in_the_program() {
    let bundle = Bundle::sh("for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done")
        .set("/process/user", json!({"uid": 0, "gid": 0}));
    let printed = bundle.prints();
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        !printed.contains("/host") && lines.iter().all(|it| it.starts_with("pipe:") || *it == "/dev/null"),
        "{printed}"
    );
}
