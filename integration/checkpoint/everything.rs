//! All at once, as in a container that somebody moves: a terminal, a connection, data in memory, a volume, a second process.

use super::{COUNTS, Subject, in_silence, requires_criu, with_volume};
use crate::support::cgroup;
use crate::support::pty::{ConsoleSocket, Pty};
use crate::support::systemd;
use crate::support::wait::until;
use crate::support::{Bundle, Container, requires};

/// Talks with itself over TCP, and with who is at the terminal, and counts.
fn script() -> String {
    let server = "while :; do sleep 1; done | busybox nc -l -p 7000 >/tmp/received &";
    let client = "{ i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done; } | busybox nc 127.0.0.1 7000 &";
    let counts = format!("({COUNTS}) </dev/null >/dev/null 2>&1 &");
    let answers = "while read line; do echo \"got $line, $(cat /tmp/data), $(cat /vol/file)\"; done";
    format!("echo data >/tmp/data; {server} sleep 1; {client} {counts} {answers}")
}

impl Subject {
    /// Taken down and restored, with all of it.
    fn goes_on(self, images: &str, mut pty: Pty) -> (Self, Pty) {
        pty.write("one\n");
        pty.reads("got one, data, volume");
        let numbers = |it: &Self| ["/tmp/n", "/tmp/received", "/tmp/second"].map(|file| it.number_in(file));
        let last = numbers(&self);
        self.is_taken_down(images, &["--tcp-established"]);
        drop(pty);
        let place = self.path(&format!("{images}-console"));
        let socket = ConsoleSocket::listen(&place);
        let subject = self.restore(images, &["--tcp-established", "--console-socket", place.to_str().unwrap()]);
        let mut pty = socket.receive();
        until("each number to go on", || {
            let now = numbers(&subject);
            assert!(now.iter().zip(last).all(|(now, last)| *now < last + 200), "{last:?} {now:?}");
            now.iter().zip(last).all(|(now, last)| *now > last).then_some(())
        });
        pty.write("two\n");
        pty.reads("got two, data, volume");
        assert_eq!(subject.status(), "running");
        (subject, pty)
    }
}

fn moves(place: fn(Bundle) -> Bundle) {
    let bundle = with_volume(Bundle::sh(&script())).set("/process/terminal", true);
    let bundle = place(bundle.set("/linux/resources/pids/limit", 40));
    let (console, first_unit) = (bundle.path("console"), systemd::scope_of(&bundle));
    let socket = ConsoleSocket::listen(&console);
    bundle.write();
    in_silence(bundle.command("run").args(["--detach", "--console-socket"]).arg(&console)).output().ok();
    let pty = socket.receive();
    let subject = Subject(Container { made_from: bundle, pid: 0 }).found();
    let counts = "i=0; while :; do i=$((i+1)); echo $i >/tmp/second; sleep 0.2; done";
    subject.exec(&format!("({counts}) </dev/null >/dev/null 2>&1 &"));

    let (mut subject, pty) = subject.goes_on("first", pty);
    let group = |subject: &Subject| cgroup::of_process(subject.pid).values().next().cloned();
    assert_eq!(group(&subject).as_ref(), Some(&subject.cgroup));
    let other = subject.moves(41);
    let (subject, _pty) = subject.goes_on("second", pty);
    assert_eq!(group(&subject), Some(other));
    assert!(!systemd::is_here() || systemd::units(&first_unit).is_empty());
    subject.runtime("delete").args(["--force", &subject.id]).output().ok().silent();
}

#[test]
fn goes_on_in_its_cgroup_and_in_another() {
    requires_criu!();
    requires!(cgroup::has("pids"), "the controller pids");
    moves(|bundle| bundle);
}

#[test]
fn goes_on_in_its_unit_and_in_another() {
    requires_criu!();
    requires!(systemd::is_here() && cgroup::has("pids"), "systemd and the controller pids");
    moves(systemd::in_default_slice);
}
