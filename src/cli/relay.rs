//! The relay between our terminal and the container's: bytes in both directions, and the size of the window.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten::error::{OrCall, Result, Within};
use corten::sys::fd::borrow;
use corten::sys::tty;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::isatty;

/// What relays. Dropped, it gives the terminal back as it was.
#[derive(Debug)]
pub struct Relay {
    master: OwnedFd,
    /// The other end, held open: a program that closes its terminal and opens /dev/console again now and then, as systemd
    /// does, would otherwise look like one that hung up.
    _slave: OwnedFd,
    input: Flow,
    output: Flow,
    _raw: Option<RawMode>,
}

/// As the program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

/// Rows and columns of our terminal, if we have one.
pub fn own_size() -> Option<(u16, u16)> {
    let ours = (0..3).map(borrow).find(|stream| isatty(*stream).unwrap_or(false))?;
    tty::size(ours).ok().filter(|size| *size != (0, 0))
}

impl Relay {
    /// Between our standard streams and the terminal with this master.
    pub fn new(master: OwnedFd) -> Result<Self> {
        let relaying = || -> Result<Self> {
            let slave = tty::peer(&master).or_call(|| "ioctl(TIOCGPTPEER)")?;
            fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).or_call(|| "fcntl(O_NONBLOCK)")?;
            let end = || master.try_clone().or_call(|| "dup(terminal)");
            let stream = |number: i32| borrow(number).try_clone_to_owned().or_call(|| format!("dup({number})"));
            let output = without_waiting(borrow(1)).map_or_else(|| stream(1), Ok)?;
            let relay = Self {
                input: Flow::new(stream(0)?, end()?),
                output: Flow::new(end()?, output),
                _raw: RawMode::of_standard_input()?,
                _slave: slave,
                master,
            };
            relay.resize();
            Ok(relay)
        };
        relaying().within(|| "terminal")
    }

    /// What it waits for.
    pub fn interests(&self) -> Vec<(Direction, PollFd<'_>)> {
        let flows = [(Direction::In, &self.input), (Direction::Out, &self.output)];
        flows.into_iter().filter_map(|(direction, flow)| Some((direction, flow.interest()?))).collect()
    }

    /// What it waits for in this direction is there.
    pub fn go_on(&mut self, direction: Direction) {
        match direction {
            Direction::In => self.input.step(),
            Direction::Out => self.output.step(),
        }
    }

    /// Makes the container's terminal as large as ours.
    pub fn resize(&self) {
        if let Some(size) = own_size()
            && let Err(errno) = tty::set_size(&self.master, size)
        {
            log::debug!("the container's terminal keeps its size: {errno}");
        }
    }

    /// The program ended: brings what it wrote to its reader. A signal to end breaks that off.
    pub fn finish(mut self, signals: &SignalFd) {
        // As much as can have been in the terminal when the program ended (N_TTY_BUF_SIZE, TTYB_DEFAULT_MEM_LIMIT); what
        // comes behind that is from others.
        const MOST: usize = 1 << 20;
        let mut written = 0;
        while written < MOST {
            if self.output.pending.is_empty() {
                // Never waits: it is not blocking, and what is on its way is there when read(2) comes back.
                self.output.step();
                if self.output.pending.is_empty() {
                    return;
                }
                written += self.output.pending.len();
            } else if wait_or_be_ended(&self.output, signals) {
                self.output.step();
            } else {
                return;
            }
        }
    }
}

/// Waits until there is room for output. `false`: whoever waits for us does not want to wait.
fn wait_or_be_ended(output: &Flow, signals: &SignalFd) -> bool {
    loop {
        let Some(room) = output.interest() else { return false };
        let mut polled = [room, PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
        while let Ok(Some(info)) = signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo).unwrap_or(0);
            if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) {
                return false;
            }
        }
        if is_ready(&polled[0]) {
            return true;
        }
    }
}

/// Something happened there that the next call on it will tell.
pub fn is_ready(polled: &PollFd<'_>) -> bool {
    polled.revents().is_some_and(|events| !events.is_empty())
}

/// Bytes in one direction. It waits for one thing at a time: bytes, or room for those that it has.
#[derive(Debug)]
struct Flow {
    /// `None`: it has come to its end.
    from: Option<OwnedFd>,
    /// `None`: nobody reads any more.
    to: Option<OwnedFd>,
    pending: Vec<u8>,
}

impl Flow {
    fn new(from: OwnedFd, to: OwnedFd) -> Self {
        Self { from: Some(from), to: Some(to), pending: Vec::new() }
    }

    fn interest(&self) -> Option<PollFd<'_>> {
        match (&self.from, &self.to) {
            (_, Some(to)) if !self.pending.is_empty() => Some(PollFd::new(to.as_fd(), PollFlags::POLLOUT)),
            (Some(from), _) => Some(PollFd::new(from.as_fd(), PollFlags::POLLIN)),
            (None, _) => None,
        }
    }

    fn step(&mut self) {
        if self.pending.is_empty() { self.read() } else { self.write() }
    }

    fn read(&mut self) {
        // PIPE_BUF: as much as a pipe with room takes at once.
        let mut chunk = [0; 4096];
        let Some(from) = &self.from else { return };
        match nix::unistd::read(from, &mut chunk) {
            Ok(0) => self.from = None,
            Ok(count) if self.to.is_some() => self.pending.extend_from_slice(&chunk[..count]),
            // The program must not wait for a reader that is gone.
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            // EIO: the terminal hung up.
            Err(_) => self.from = None,
        }
    }

    fn write(&mut self) {
        let Some(to) = &self.to else { return self.pending.clear() };
        match nix::unistd::write(to, &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.to = None;
                self.pending.clear();
            }
        }
    }
}

/// The same terminal or pipe, opened once more, so that O_NONBLOCK is for us alone: whoever started us shares the other one.
/// `None`: it is something else, or not ours to open; then a write may wait for its reader, and signals with it.
fn without_waiting(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    let kind = SFlag::from_bits_truncate(fstat(stream).ok()?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFIFO && !isatty(stream).unwrap_or(false) {
        return None;
    }
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(corten::sys::fd::proc_path(stream).as_str(), flags, Mode::empty()).ok()
}

/// Our terminal hands on every key, and leaves it to the container's to make sense of them.
#[derive(Debug)]
struct RawMode {
    before: Termios,
}

impl RawMode {
    /// `None`: standard input is no terminal.
    fn of_standard_input() -> Result<Option<Self>> {
        let input = borrow(0);
        if !isatty(input).unwrap_or(false) {
            return Ok(None);
        }
        let before = tcgetattr(input).or_call(|| "tcgetattr(standard input)")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(input, SetArg::TCSANOW, &raw).or_call(|| "tcsetattr(standard input)")?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Not TCSADRAIN: output that was stopped with Ctrl-S would keep us here. A terminal that is gone needs no mode.
        let _ = tcsetattr(borrow(0), SetArg::TCSANOW, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use nix::sys::signal::SigSet;
    use nix::sys::signalfd::SfdFlags;
    use nix::unistd::{pipe, read, write};

    fn nothing() -> SignalFd {
        SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).unwrap()
    }

    #[test]
    fn a_flow_waits_for_one_thing_at_a_time() {
        let ((source, feed), (drain, sink)) = (pipe().unwrap(), pipe().unwrap());
        let mut flow = Flow::new(source, sink);
        assert_eq!(flow.interest().unwrap().events(), PollFlags::POLLIN);
        write(&feed, b"hello").unwrap();
        flow.step();
        assert_eq!(flow.interest().unwrap().events(), PollFlags::POLLOUT);
        flow.step();
        let mut buffer = [0; 16];
        assert_eq!(read(&drain, &mut buffer), Ok(5));
        drop(feed);
        flow.step();
        assert!(flow.interest().is_none(), "the source has ended");
    }

    #[test]
    fn a_reader_that_is_gone_does_not_stop_the_source() {
        let ((source, feed), (drain, sink)) = (pipe().unwrap(), pipe().unwrap());
        let mut flow = Flow::new(source, sink);
        drop(drain);
        write(&feed, b"lost").unwrap();
        flow.step();
        flow.step();
        for _ in 0..32 {
            write(&feed, &[0; 4096]).unwrap();
            flow.step();
        }
        assert!(flow.to.is_none() && flow.pending.is_empty());
        assert_eq!(flow.interest().unwrap().events(), PollFlags::POLLIN);
    }

    #[test]
    fn everything_that_a_program_wrote_before_its_end_arrives() {
        let pty = openpty(None, None).unwrap();
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).unwrap();
        let (drain, sink) = pipe().unwrap();
        let (never, _feed) = pipe().unwrap();
        write(&pty.slave, &[b'x'; 3000]).unwrap();
        let relay = Relay {
            input: Flow::new(never, pty.master.try_clone().unwrap()),
            output: Flow::new(pty.master.try_clone().unwrap(), sink),
            _raw: None,
            _slave: pty.slave,
            master: pty.master,
        };
        relay.finish(&nothing());
        let mut buffer = [0; 8192];
        assert_eq!(read(&drain, &mut buffer), Ok(3000));
    }

    #[test]
    fn a_pipe_is_opened_once_more_and_a_file_is_not() {
        let (_drain, sink) = pipe().unwrap();
        let again = without_waiting(sink.as_fd()).unwrap();
        let flags = |fd: &OwnedFd| OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).unwrap());
        assert!(flags(&again).contains(OFlag::O_NONBLOCK) && !flags(&sink).contains(OFlag::O_NONBLOCK));
        assert!(without_waiting(tempfile::tempfile().unwrap().as_fd()).is_none());
    }
}
