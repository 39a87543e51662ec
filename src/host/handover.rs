//! Who gets what when a process is there: its terminal, its seccomp listener, its pidfd, its pid.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::Mode;

use super::spawn::Launched;
use crate::config::seccomp::Listener;
use crate::error::{Error, OrCall, Result, Within, phrases};
use crate::fs::atomic;
use crate::fs::sockets::{connect_to, in_time};
use crate::subsystems::hooks::HookState;
use crate::subsystems::seccomp;
use crate::sys;

/// Where it goes, as the caller names it.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub console_socket: Option<&'a Path>,
    pub pidfd_socket: Option<&'a Path>,
    pub pid_file: Option<&'a Path>,
}

/// How long who is at the other end of a socket may let us wait: for accept(2), for room, or for a first answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// COMPAT(runc): the payload that comes with a pidfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidfdName {
    /// Of a first process.
    Standard,
    /// Of a further one.
    Setns,
}

/// Opened before anything is made: nobody there is an error of its own.
#[derive(Debug)]
pub struct Handover {
    /// Gets the terminal's master.
    pub console_socket: Option<OwnedFd>,
    pidfd_socket: Option<OwnedFd>,
    pid_file: Option<PidFile>,
}

impl Handover {
    /// Opens all places.
    pub fn open(places: Places<'_>) -> Result<Self> {
        let connect =
            |path: Option<&Path>, flag: &str| path.map(|path| connect_to(path, PATIENCE).within(|| flag)).transpose();
        Ok(Self {
            pid_file: places.pid_file.map(PidFile::open).transpose()?,
            console_socket: connect(places.console_socket, "--console-socket")?,
            pidfd_socket: connect(places.pidfd_socket, "--pidfd-socket")?,
        })
    }

    /// Whether nobody gets anything.
    pub fn is_for_nobody(&self) -> bool {
        !self.has_sockets() && self.pid_file.is_none()
    }

    /// Whether somebody gets a descriptor.
    pub fn has_sockets(&self) -> bool {
        self.console_socket.is_some() || self.pidfd_socket.is_some()
    }

    /// Sends the pidfd, if somebody wants it.
    pub fn pidfd(&self, name: PidfdName, launched: &Launched) -> Result<()> {
        let (Some(socket), Some(pidfd)) = (&self.pidfd_socket, launched.pidfd()) else { return Ok(()) };
        let name = match name {
            PidfdName::Standard => "standard",
            PidfdName::Setns => "setns",
        };
        send_descriptor(socket, name, pidfd).within(|| "--pidfd-socket")
    }

    /// Writes the pid file, if there is to be one.
    pub fn pid(&self, pid: i32) -> Result<()> {
        self.pid_file.as_ref().map_or(Ok(()), |file| file.write(pid))
    }
}

/// COMPAT(runc): a terminal needs somebody who has its other end, and a console socket needs a terminal.
pub fn check_terminal(terminal: bool, detach: bool, console_socket: bool) -> Result<()> {
    match (detach && terminal, console_socket) {
        (true, false) => {
            Err(Error::invalid("process.terminal", phrases::TERMINAL_NEEDS_SOCKET).hint("see --console-socket"))
        }
        (false, true) => Err(Error::invalid("process.terminal", phrases::SOCKET_NEEDS_TERMINAL)),
        (true, true) | (false, false) => Ok(()),
    }
}

/// COMPAT(runc): a hole in what is to be preserved is an error.
pub fn check_descriptors(preserved: u32) -> Result<()> {
    for number in (3..).take(usize::try_from(preserved).unwrap_or(usize::MAX)) {
        fcntl(sys::fd::borrow(number), FcntlArg::F_GETFD)
            .or_call(|| format!("fcntl({number})"))
            .within(|| format!("--preserve-fds: file descriptor {number}"))?;
    }
    Ok(())
}

/// COMPAT(go-runc, conmon): one message with one descriptor, and its name as the payload.
pub fn send_descriptor(socket: &OwnedFd, name: &str, descriptor: &OwnedFd) -> Result<()> {
    send_with(socket, name.as_bytes(), descriptor).or_call(|| format!("sendmsg({name:?})"))
}

fn send_with(socket: &OwnedFd, payload: &[u8], descriptor: &OwnedFd) -> nix::Result<()> {
    let fds = [descriptor.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<()>(socket.as_raw_fd(), &[std::io::IoSlice::new(payload)], &rights, flags, None);
    match in_time(sent)? {
        // A stream socket takes all of it, or its time was over.
        sent if sent == payload.len() => Ok(()),
        _ => Err(Errno::ETIMEDOUT),
    }
}

/// SPEC(config, linux.seccomp.listenerPath): a connection for each listener, on it one message and nothing else. So it is
/// opened when there is something to send. What the process did not pass is taken from it.
pub fn listener(
    to: &Listener,
    process: &Launched,
    number: i32,
    passed: Option<OwnedFd>,
    state: &HookState,
) -> Result<()> {
    let handing = || -> Result<()> {
        let listener = match passed {
            Some(listener) => listener,
            None => sys::pidfd::get_fd(&process.process()?.pidfd, number)
                .or_call(|| format!("pidfd_getfd({}, {number})", process.pid()))?,
        };
        let agent = connect_to(&to.path, PATIENCE).within(|| phrases::NO_AGENT)?;
        let message = seccomp::host::message(to, process.pid(), state)?;
        send_with(&agent, &message, &listener).or_call(|| format!("sendmsg({:?})", to.path))
    };
    handing().within(|| "linux.seccomp.listenerPath")
}

/// Where the pid goes. The directory is opened before anything is made.
#[derive(Debug)]
struct PidFile {
    directory: OwnedFd,
    name: String,
    path: PathBuf,
}

impl PidFile {
    fn open(path: &Path) -> Result<Self> {
        let within = || format!("pid file {path:?}");
        let name = path.file_name().ok_or_else(|| Error::call("open", Errno::EISDIR)).within(within)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(parent, flags, Mode::empty()).or_call(|| format!("open({parent:?})")).within(within)?;
        Ok(Self { directory, name: name.to_string_lossy().into_owned(), path: path.to_owned() })
    }

    /// COMPAT(containerd, BuildKit): no newline, and there all at once: it is read the moment it exists.
    fn write(&self, pid: i32) -> Result<()> {
        atomic::write(&self.directory, &self.name, pid.to_string().as_bytes(), Mode::from_bits_truncate(0o644))
            .within(|| format!("pid file {:?}", self.path))
    }
}
