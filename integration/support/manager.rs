//! A service manager that is told that services are ready, as systemd is: sd_notify(3).

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::peer::{Peer, peer};
use super::pty::receive;
use super::run::Run;
use super::wait::{DEADLINE, poll_fds};
use super::{Bundle, Container, probe};

pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    /// One that the bundle's runtime reads of in its environment.
    pub fn of(bundle: Bundle) -> (Bundle, Self) {
        let path = bundle.path("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        // A user's runtime must reach it.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        let variable = format!("NOTIFY_SOCKET={}", path.display());
        (bundle.through(["env", &variable]), Self { socket, path })
    }

    /// `start` of this container.
    pub fn starts(&self, container: &Container) -> Run {
        container.runtime("start").arg(&container.id).env("NOTIFY_SOCKET", &self.path)
    }

    /// Hears that a service is ready with this main process, nothing else, and a barrier: the descriptor that its sender waits for.
    /// `None`: runc before 1.2 sends none.
    #[track_caller]
    pub fn hears_ready(&self, pid: i32) -> Option<OwnedFd> {
        let main = format!("MAINPID={pid}");
        let expected = ["READY=1", &main, "BARRIER=1"];
        let expected = if peer() == Peer::Runc { &expected[..2] } else { &expected };
        let (lines, descriptor) = self.hears_until(expected[expected.len() - 1]);
        assert_eq!(lines, expected);
        descriptor
    }

    /// All lines up to this one, and the descriptor that came with it.
    #[track_caller]
    pub fn hears_until(&self, last: &str) -> (Vec<String>, Option<OwnedFd>) {
        let mut lines = Vec::new();
        loop {
            assert!(self.is_told_within(DEADLINE), "told no {last:?} but {lines:?}");
            let (message, mut fds) = receive(&self.socket);
            lines.extend(String::from_utf8(message).unwrap().lines().map(str::to_owned));
            if lines.iter().any(|line| line == last) {
                return (lines, fds.pop());
            }
        }
    }

    /// Whether it is told something in this time.
    pub fn is_told_within(&self, time: Duration) -> bool {
        poll_fds(&mut [PollFd::new(&self.socket, PollFlags::IN)], time)
    }
}

/// A container whose program runs a script with `notify TEXT...`, which sends each text as a message of its own.
pub fn service(script: &str) -> Bundle {
    probe::put_into(Bundle::sh(&format!("notify() {{ probe notify \"$@\"; }}; {script}")))
}
