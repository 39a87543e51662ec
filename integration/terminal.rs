//! Terminals: handed to an engine by a console socket, or relayed by `run` in the foreground.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use rustix::process::Signal;
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::json;

use crate::support::pty::{ConsoleSocket, Pty};
use crate::support::run::Run;
use crate::support::{Bundle, Container, differs};

/// A bundle with a terminal and the socket at which an engine waits.
fn with_socket(script: &str) -> (Bundle, ConsoleSocket) {
    let bundle = Bundle::sh(script).set("/process/terminal", true);
    let path = bundle.path("console.sock");
    let socket = ConsoleSocket::listen(&path);
    (bundle.option("--console-socket").option(path.to_str().unwrap()), socket)
}

/// What a program with a terminal prints, as the engine reads it.
fn on_terminal(script: &str, with: impl FnOnce(Bundle) -> Bundle) -> String {
    let (bundle, socket) = with_socket(script);
    let container = with(bundle).create();
    let pty = socket.receive();
    container.start();
    let printed = pty.read_to_end();
    container.wait();
    container.delete();
    container.stderr_is_empty();
    printed.replace("\r\n", "\n")
}

#[test]
fn stdio_is_the_terminal() {
    let script = "for fd in 0 1 2; do test -t $fd && readlink /proc/$$/fd/$fd; done; tty; echo to stderr >&2";
    assert_eq!(on_terminal(script, |it| it), "/dev/pts/0\n/dev/pts/0\n/dev/pts/0\n/dev/pts/0\nto stderr\n");
}

#[test]
fn it_is_the_controlling_terminal_and_the_console() {
    let script = "echo by tty > /dev/tty; echo by console > /dev/console; stat -c '%F %a' /dev/console; grep -c /dev/console /proc/mounts";
    let printed = on_terminal(script, |it| it);
    let (before, after) = printed.split_once("character").unwrap();
    assert_eq!(before, "by tty\nby console\n");
    assert!(after.starts_with(" special file 6") && after.ends_with("\n1\n"), "{after}");
}

#[test]
fn it_belongs_to_the_user() {
    let printed = on_terminal("stat -c %u /dev/pts/0; echo ok > /dev/tty", |it| it.set("/process/user/uid", 1000));
    assert_eq!(printed, "1000\nok\n");
}

#[test]
fn console_size_is_applied() {
    let printed = on_terminal("stty size", |it| it.set("/process/consoleSize", json!({"height": 57, "width": 123})));
    assert_eq!(printed, "57 123\n");
}

#[test]
fn the_engine_sets_the_size_and_types() {
    let (bundle, socket) = with_socket("stty size; read line; stty size; echo got $line; exit 5");
    let bundle = bundle.set("/process/consoleSize", json!({"height": 24, "width": 80}));
    let container = bundle.create();
    let mut pty = socket.receive();
    assert_eq!(pty.size(), (24, 80));
    container.start();
    pty.reads("24 80\r\n");
    pty.resize(30, 90);
    pty.write("hello\n");
    pty.reads("30 90\r\ngot hello\r\n");
    assert_eq!(container.wait(), 5);
}

#[test]
fn control_c_interrupts() {
    let (bundle, socket) = with_socket("trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 1; done");
    let container = bundle.create();
    let mut pty = socket.receive();
    container.start();
    pty.reads("ready");
    pty.write("\u{3}");
    pty.reads("interrupted");
    assert_eq!(container.wait(), 3);
}

#[test]
fn works_in_a_user_namespace() {
    assert_eq!(on_terminal("tty; echo ok > /dev/console", |it| it.user_namespace(100_000)), "/dev/pts/0\nok\n");
}

#[test]
fn a_terminal_needs_a_devpts() {
    let (bundle, _socket) = with_socket("true");
    let proc = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    bundle.set("/mounts", proc).create_fails().names("process.terminal").because("devpts");
}

/// CVE-2025-52565: an image, or a volume, can put what it likes where the multiplexer should be.
#[test]
fn only_the_multiplexer_of_a_devpts_is_opened() {
    differs!(Runc | Crun, "opened whatever was there, until CVE-2025-52565");
    let (bundle, _socket) = with_socket("true");
    let file = bundle.host_directory("evil").join("file");
    bundle.bind(file, "/dev/pts/ptmx", &[]).create_fails().names("process.terminal").because("not the multiplexer");
    let (bundle, _socket) = with_socket("true");
    bundle.tmpfs("/dev/pts", &[]).create_fails().names("process.terminal").because("not the multiplexer");
}

/// containerd's shim reads both to their ends before it looks at anything else.
#[test]
fn create_lets_go_of_its_own_output() {
    let (bundle, socket) = with_socket("sleep 600");
    bundle.write();
    // Pipes: `output` returns when they are closed.
    bundle.command("create").output().ok().silent();
    let _pty = socket.receive();
    let state = bundle.call("state").ok().stdout;
    assert!(state.contains("created"), "{state}");
}

#[test]
fn create_needs_a_console_socket() {
    Bundle::new()
        .set("/process/terminal", true)
        .create_fails()
        .says("cannot allocate tty if runc will detach without setting console socket");
}

#[test]
fn a_console_socket_needs_a_terminal() {
    differs!(Crun, "takes no notice");
    let bundle = Bundle::new();
    let path = bundle.path("console.sock");
    let _socket = ConsoleSocket::listen(&path);
    bundle
        .option("--console-socket")
        .option(path.to_str().unwrap())
        .create_fails()
        .says("cannot use console socket if runc will not detach or allocate tty");
}

#[test]
fn a_console_socket_that_is_not_there() {
    let bundle = Bundle::new().set("/process/terminal", true);
    let path = bundle.path("no.sock");
    let refusal = bundle.option("--console-socket").option(path.to_str().unwrap()).create_fails();
    refusal.because("console").says("no such file or directory");
}

#[test]
fn a_console_socket_that_nobody_accepts() {
    differs!(Runc | Crun, "waits for ever");
    let bundle = Bundle::new().set("/process/terminal", true);
    let path = bundle.path("console.sock");
    let waiting = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&waiting, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&waiting, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let refusal = bundle.option("--console-socket").option(path.to_str().unwrap()).create_fails();
    refusal.because("console").ends("connection timed out");
}

#[test]
fn a_long_path_of_a_console_socket() {
    let bundle = Bundle::sh("tty").set("/process/terminal", true);
    let name = "s".repeat(107 - bundle.path("").to_str().unwrap().len());
    let path = bundle.path(&name);
    let socket = ConsoleSocket::listen(&path);
    let container = bundle.option(format!("--console-socket={}", path.display())).create();
    let pty = socket.receive();
    container.start();
    assert_eq!(pty.read_to_end(), "/dev/pts/0\r\n");
    container.wait();
}

#[test]
fn size_without_a_terminal_is_ignored() {
    let bundle = Bundle::sh("test -t 0 || echo none").set("/process/consoleSize", json!({"height": 5, "width": 5}));
    assert_eq!(bundle.prints(), "none\n");
}

#[test]
fn run_detached_with_a_console_socket() {
    let (bundle, socket) = with_socket("tty; sleep 600");
    let container: Container = bundle.run_detached();
    let mut pty = socket.receive();
    pty.reads("/dev/pts/0\r\n");
    container.kill("KILL");
    assert_eq!(container.wait(), 128 + 9);
}

#[test]
fn run_detached_needs_a_console_socket() {
    let bundle = Bundle::new().set("/process/terminal", true).option("--detach");
    bundle.run_fails().says("cannot allocate tty if runc will detach without setting console socket");
}

/// `run` as a user types it into a terminal: in a session that has it.
fn run_on(slave: &fs::File, bundle: &Bundle) -> crate::support::run::Running {
    bundle.write();
    bundle.command("run").stdio(slave).spawn()
}

fn interactive(script: &str) -> Bundle {
    Bundle::sh(script).set("/process/terminal", true).through(["setsid", "--ctty"])
}

#[test]
fn run_relays_the_terminal() {
    differs!(Runc | Crun, "sets the first size late");
    let (mut pty, slave) = Pty::open();
    pty.resize(33, 101);
    let bundle = interactive("tty; stty size; read line; echo got $line; exit 9");
    let running = run_on(&slave, &bundle);
    pty.reads("/dev/pts/0\r\n33 101\r\n");
    pty.write("something\n");
    pty.reads("got something\r\n");
    running.wait().exits(9);
    bundle.assert_nothing_left();
}

#[test]
fn run_relays_a_new_size() {
    differs!(Runc | Crun, "sets the first size late");
    let (mut pty, slave) = Pty::open();
    pty.resize(20, 60);
    let bundle = interactive("trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.1; done");
    let running = run_on(&slave, &bundle);
    pty.reads("20 60");
    pty.resize(44, 55);
    pty.reads("44 55");
    running.wait().ok();
}

#[test]
fn run_gives_the_terminal_back() {
    let (mut pty, slave) = Pty::open();
    let before = tcgetattr(&slave).unwrap();
    assert!(before.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    let bundle = interactive("echo ready; read line");
    let running = run_on(&slave, &bundle);
    pty.reads("ready");
    assert!(!tcgetattr(&slave).unwrap().local_modes.contains(LocalModes::ECHO), "raw while it runs");
    pty.write("\n");
    running.wait().ok();
    let after = tcgetattr(&slave).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
    assert_eq!((after.input_modes, after.output_modes), (before.input_modes, before.output_modes));
}

#[test]
fn run_passes_control_c_on_instead_of_dying() {
    let (mut pty, slave) = Pty::open();
    let bundle = interactive("trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.1; done");
    let running = run_on(&slave, &bundle);
    pty.reads("ready");
    pty.write("\u{3}");
    pty.reads("interrupted");
    running.wait().exits(6);
}

#[test]
fn run_with_pipes_and_a_terminal_inside() {
    differs!(Runc | Crun, "fails: it needs a terminal of its own");
    let output = Bundle::sh("test -t 1 && echo yes").set("/process/terminal", true).run().ok();
    assert_eq!(output.stdout, "yes\r\n");
}

// ---- foreground without a terminal ----

const TRAPS: &str = "for name in HUP INT USR1 USR2; do trap \"echo got $name\" $name; done
    trap 'echo got TERM; exit 21' TERM; echo ready; while :; do sleep 0.1; done";

#[test]
fn run_forwards_signals() {
    let bundle = Bundle::sh(TRAPS);
    bundle.write();
    let mut running = bundle.command("run").spawn();
    running.read_until("ready");
    for (signal, name) in [(Signal::HUP, "HUP"), (Signal::INT, "INT"), (Signal::USR1, "USR1"), (Signal::USR2, "USR2")] {
        running.signal(signal);
        running.read_until(&format!("got {name}\n"));
    }
    running.signal(Signal::TERM);
    running.read_until("got TERM\n");
    running.wait().exits(21);
    bundle.assert_nothing_left();
}

#[test]
fn run_exits_with_128_and_the_signal() {
    let bundle = Bundle::sh("echo ready; sleep 600");
    bundle.write();
    let mut running = bundle.command("run").spawn();
    running.read_until("ready");
    bundle.runtime("kill").args([&bundle.id, "KILL"]).output().ok();
    running.wait().exits(128 + 9);
    bundle.assert_nothing_left();
}

#[test]
fn run_exits_with_128_and_the_signal_that_the_program_gave_itself() {
    Bundle::sh("kill -TERM $$").without_namespace("pid").run().exits(128 + 15);
}

#[test]
fn run_ends_when_the_program_ends_though_a_child_holds_the_pipe() {
    let bundle = Bundle::sh("sleep 600 & echo done");
    assert_eq!(bundle.run().ok().stdout, "done\n");
}

#[test]
fn run_with_stdin_at_its_end() {
    let bundle = Bundle::sh("cat; echo end");
    bundle.write();
    let output = bundle.command("run").stdin_from(Stdio::null()).output().ok();
    assert_eq!(output.stdout, "end\n");
}

#[test]
fn run_passes_much_output() {
    let output = Bundle::sh("head -c 1000000 /dev/zero | tr '\\0' x").run().ok();
    assert_eq!(output.stdout.len(), 1_000_000);
}

#[test]
fn the_reader_may_go_away() {
    let bundle = Bundle::sh("yes 2>/dev/null; exit 0");
    bundle.write();
    let script = "\"$@\" | head -n 1";
    let program = crate::support::peer::program();
    let run = Run::new("bash").args(["-c", script, "_"]).arg(program).arg("--root").arg(bundle.state_root());
    let output = run.arg("run").arg("--bundle").arg(bundle.bundle()).arg(&bundle.id).output();
    assert_eq!(output.stdout, "y\n");
}
