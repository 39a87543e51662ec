//! Pseudoterminals: the engine's end of a console socket, and the terminal in which a user types `run`.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, isatty, tcgetwinsize, tcsetwinsize};

use super::wait::{DEADLINE, poll_fds};

/// Where an engine waits for the master end.
pub struct ConsoleSocket {
    listener: UnixListener,
}

impl ConsoleSocket {
    pub fn listen(path: &Path) -> Self {
        Self { listener: UnixListener::bind(path).unwrap() }
    }

    /// What a runtime sends: one message with one descriptor and the name of the terminal.
    #[track_caller]
    pub fn receive(&self) -> Pty {
        assert!(poll_fds(&mut [PollFd::new(&self.listener, PollFlags::IN)], DEADLINE), "nobody connects");
        let (stream, _) = self.listener.accept().unwrap();
        let (name, mut fds) = receive(&stream);
        assert!((1..4096).contains(&name.len()), "the payload is the terminal's name: {name:?}");
        assert_eq!(fds.len(), 1, "one descriptor");
        let (more, _) = receive(&stream);
        assert!(more.is_empty(), "one message");
        let master = File::from(fds.remove(0));
        assert!(isatty(&master), "the descriptor is a terminal");
        Pty { master, seen: String::new() }
    }
}

/// One message, and the descriptors that came with it.
pub fn receive(stream: impl AsFd) -> (Vec<u8>, Vec<OwnedFd>) {
    assert!(poll_fds(&mut [PollFd::new(&stream, PollFlags::IN)], DEADLINE), "nobody sends");
    let mut payload = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message =
        recvmsg(stream, &mut [IoSliceMut::new(&mut payload)], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let fds = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten();
    (payload[..message.bytes].to_vec(), fds.collect())
}

/// The master end of a pseudoterminal.
pub struct Pty {
    master: File,
    seen: String,
}

impl Pty {
    /// A new pair: ours and the terminal.
    pub fn open() -> (Self, File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        // Who leads a session, as a service's first process does, would get it as its own, and be hung up with it.
        let slave = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap().into();
        (Self { master: File::from(master), seen: String::new() }, slave)
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Rows and columns.
    pub fn size(&self) -> (u16, u16) {
        let size = tcgetwinsize(&self.master).unwrap();
        (size.ws_row, size.ws_col)
    }

    pub fn write(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Reads on until all that was read holds `needle`.
    #[track_caller]
    pub fn reads(&mut self, needle: &str) {
        assert!(self.reads_within(needle, DEADLINE), "waited for {needle:?}, got {:?}", self.seen);
    }

    /// The same for at most `time`: whether it came.
    pub fn reads_within(&mut self, needle: &str, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.seen.contains(needle) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read_more(left) {
                return false;
            }
        }
        true
    }

    /// Reads until nobody has the terminal open any more: everything that came.
    pub fn read_to_end(mut self) -> String {
        while self.read_more(DEADLINE) {}
        self.seen
    }

    /// Whether there was more.
    fn read_more(&mut self, time: Duration) -> bool {
        if !poll_fds(&mut [PollFd::new(&self.master, PollFlags::IN)], time) {
            return false;
        }
        let mut chunk = [0; 4096];
        match self.master.read(&mut chunk) {
            Ok(0) => false,
            Ok(size) => {
                self.seen.push_str(&String::from_utf8_lossy(&chunk[..size]));
                true
            }
            // The other end is closed.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => false,
            Err(error) => panic!("{error}"),
        }
    }
}
