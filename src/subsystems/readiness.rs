//! sd_notify(3): the program says that it is ready, and the service manager that started the runtime is told.
//!
//! ```text
//!    program                               runtime                                       service manager
//!    /run/notify/notify.sock  ◄── bind ──  <state root>/<id>/notify/notify.sock
//!    READY=1 ──────────────────────────►   READY=1, MAINPID=... ──────────────────────►  the runtime's $NOTIFY_SOCKET
//! ```
//!
//! Nothing of what the container sends goes on: it is read for whether it says `READY=1`, and what the manager gets are words of
//! ours. COMPAT(runc): the first time only, and no other notification.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, recv, send, sendmsg, socket,
};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, pipe2, unlinkat};

use crate::config::Mount;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::sockets::{in_time, limit_writes};
use crate::sys;

/// Where the socket is, in the container's state directory.
pub const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";
/// Where the program finds the directory. COMPAT(runc)
const DESTINATION: &str = "/run/notify";

/// COMPAT(runc): how long the manager may take to read what it was told.
const PATIENCE: Duration = Duration::from_secs(30);

/// A notification may not be longer: systemd's own limit.
const LONGEST: usize = 4096;

/// That directory as a mount of the container, which comes last. The container can connect to the socket there, and change nothing.
pub fn mount(directory: PathBuf) -> Mount {
    Mount {
        property: "NOTIFY_SOCKET".to_owned(),
        destination: DESTINATION.into(),
        kind: String::new(),
        source: Some(directory),
        options: ["bind", "ro", "nosuid", "nodev", "noexec"].map(str::to_owned).into(),
        id_mappings: None,
    }
}

/// What tells the program.
pub fn variable() -> String {
    format!("NOTIFY_SOCKET={DESTINATION}/{SOCKET}")
}

/// Both ends: what the program says, and who is to be told.
#[derive(Debug)]
pub struct Readiness {
    program: OwnedFd,
    manager: OwnedFd,
}

impl Readiness {
    /// Listens in `directory`, and connects to the manager: a path, or `@` and the name of an abstract socket.
    ///
    /// ORDER: before the program runs: it may be ready at once, and while the directory is still as we made it.
    pub fn open(directory: &OwnedFd, manager: &Path) -> Result<Self> {
        Ok(Self { manager: connect_to(manager)?, program: listen_in(directory)? })
    }

    /// Waits until the program is ready, or at its end, which is when `init` is. Then the manager was told all that there is.
    /// What goes wrong with that is a warning: the container runs.
    pub fn wait(&self, init: &OwnedFd, main_pid: i32) {
        if let Err(error) = self.wait_and_tell(init, main_pid) {
            log::warn!("{error}");
        }
    }

    fn wait_and_tell(&self, init: &OwnedFd, main_pid: i32) -> Result<()> {
        let fds = [(self.program.as_fd(), PollFlags::POLLIN), (init.as_fd(), PollFlags::POLLIN)];
        // The first of them that is ready: what it said before it died counts.
        while let Some(0) = sys::wait::until_any(&fds, None).or_call(|| "poll(notify socket)")? {
            if self.pass_on(main_pid)? {
                return barrier(&self.manager, PATIENCE).within(|| WITHIN);
            }
        }
        Ok(())
    }

    /// Reads one message; if it says that the program is ready, the manager is told so, and which its main process is now.
    /// Whether it was.
    pub fn pass_on(&self, main_pid: i32) -> Result<bool> {
        let mut message = [0_u8; LONGEST];
        // MSG_TRUNC: the length that it had.
        let length = match recv(self.program.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(Error::call("recv(notify socket)", errno)),
        };
        if !message.get(..length).is_some_and(says_ready) {
            return Ok(false);
        }
        // One message, so that the manager never has one without the other.
        let words = format!("READY=1\nMAINPID={main_pid}\n");
        in_time(send(self.manager.as_raw_fd(), words.as_bytes(), MsgFlags::MSG_NOSIGNAL))
            .or_call(|| format!("send({words:?})"))
            .within(|| WITHIN)?;
        Ok(true)
    }
}

/// It can be read from when the program has said something.
impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

const WITHIN: &str = "NOTIFY_SOCKET";

/// A line of its own.
fn says_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

fn connect_to(manager: &Path) -> Result<OwnedFd> {
    let call = || format!("connect({manager:?})");
    let connecting = || -> Result<OwnedFd> {
        let address = match manager.as_os_str().as_bytes().split_first() {
            Some((b'@', name)) => UnixAddr::new_abstract(name),
            Some((b'/', _)) => UnixAddr::new(manager),
            _ => return Err(Error::unsupported(format!("{manager:?}"), "is neither a path nor @NAME")),
        };
        let socket = new_socket()?;
        limit_writes(&socket, PATIENCE)?;
        connect(socket.as_raw_fd(), &address.or_call(call)?).or_call(call)?;
        Ok(socket)
    };
    connecting().within(|| WITHIN)
}

fn listen_in(directory: &OwnedFd) -> Result<OwnedFd> {
    let listening = || -> Result<OwnedFd> {
        // A start that was killed may have left one.
        match unlinkat(directory, SOCKET, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Error::call(format!("unlinkat({SOCKET:?})"), errno)),
        }
        let socket = new_socket()?;
        // Through the descriptor: an address holds 107 bytes, and a state root may have a longer path.
        let path = format!("{}/{SOCKET}", sys::fd::proc_path(directory));
        UnixAddr::new(path.as_str())
            .and_then(|address| bind(socket.as_raw_fd(), &address))
            .or_call(|| format!("bind({SOCKET:?})"))?;
        // Any user of the container may be the one who sends.
        fchmodat(directory, SOCKET, Mode::from_bits_truncate(0o777), FchmodatFlags::NoFollowSymlink)
            .or_call(|| format!("fchmodat({SOCKET:?})"))?;
        Ok(socket)
    };
    listening().within(|| WITHIN)
}

fn new_socket() -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).or_call(|| "socket(AF_UNIX)")
}

/// sd_notify_barrier(3): returns when the manager has read all that it was told, which is when it closes the descriptor that it
/// gets. Before, it could not tell any more who we were.
fn barrier(manager: &OwnedFd, patience: Duration) -> Result<()> {
    let (read, given) = pipe2(OFlag::O_CLOEXEC).or_call(|| "pipe2")?;
    let fds = [given.as_raw_fd()];
    let message = [IoSlice::new(b"BARRIER=1")];
    let rights = [ControlMessage::ScmRights(&fds)];
    in_time(sendmsg::<()>(manager.as_raw_fd(), &message, &rights, MsgFlags::MSG_NOSIGNAL, None))
        .or_call(|| "sendmsg(\"BARRIER=1\")")?;
    drop(given);
    if sys::wait::until_ready(&read, PollFlags::POLLIN, Instant::now() + patience).or_call(|| "poll(barrier)")? {
        return Ok(());
    }
    let why = format!("the service manager has not read it in {} s", patience.as_secs());
    Err(Error::new(Kind::TimedOut, why))
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::socketpair;

    use super::*;

    #[test]
    fn ready_is_a_whole_line() {
        for (message, ready) in [
            (&b"READY=1"[..], true),
            (b"READY=1\n", true),
            (b"STATUS=up\nREADY=1\nMAINPID=1\n", true),
            (b"READY=0", false),
            (b"READY=12", false),
            (b"READY=1 ", false),
            (b"READY=1\0", false),
            (b"XREADY=1", false),
            (b"STATUS=READY=1", false),
            (b"\n\n", false),
            (b"", false),
        ] {
            assert_eq!(says_ready(message), ready, "{:?}", String::from_utf8_lossy(message));
        }
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn a_message_is_read_whole_or_not_at_all() {
        let ((program, container), (manager, systemd)) = (pair(), pair());
        let readiness = Readiness { program, manager };
        let mut long = vec![b'x'; LONGEST - 8];
        long.extend(b"\nREADY=12");
        assert_eq!(&long[LONGEST - 7..LONGEST], b"READY=1");
        for message in [&long[..], b"STATUS=up", b""] {
            nix::unistd::write(&container, message).unwrap();
            assert!(!readiness.pass_on(7).unwrap());
        }
        assert!(!readiness.pass_on(7).unwrap(), "nothing was said");
        nix::unistd::write(&container, b"READY=1\nMAINPID=1\nFDSTORE=1").unwrap();
        assert!(readiness.pass_on(7).unwrap());
        let mut told = [0; 100];
        let length = recv(systemd.as_raw_fd(), &mut told, MsgFlags::MSG_DONTWAIT).unwrap();
        assert_eq!(&told[..length], b"READY=1\nMAINPID=7\n");
        recv(systemd.as_raw_fd(), &mut told, MsgFlags::MSG_DONTWAIT).unwrap_err();
    }

    #[test]
    fn a_manager_that_reads_nothing_is_not_waited_for_for_ever() {
        let (manager, _systemd) = pair();
        let error = barrier(&manager, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), Kind::TimedOut);
    }

    #[test]
    fn managers_are_found_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert_eq!(connect_to(&path).unwrap_err().errno(), Some(Errno::ENOENT));
        let _by_path = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        connect_to(&path).unwrap();
        let listener = new_socket().unwrap();
        let name = format!("corten-{}", std::process::id());
        bind(listener.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes()).unwrap()).unwrap();
        connect_to(Path::new(&format!("@{name}"))).unwrap();
        for other in ["vsock:2:1", "socket", ""] {
            assert_eq!(connect_to(Path::new(other)).unwrap_err().kind(), Kind::Unsupported, "{other}");
        }
    }
}
