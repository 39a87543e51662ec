//! The host's end.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::{FromInside, GO, MAX_MESSAGE, START, malformed};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::{sys, timing};

/// The host's end of the channel, or of a report.
#[derive(Debug)]
pub struct HostEnd(OwnedFd);

impl HostEnd {
    /// Takes a socket, or the FIFO of a report, which only carries messages to us.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends the plan, which comes before everything else.
    pub fn send_plan(&self, plan: &[u8]) -> Result<()> {
        let length = u32::try_from(plan.len()).map_err(|_| malformed(&"too long"))?;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend_from_slice(plan);
        self.write(&frame).within(|| "send the plan")
    }

    /// Says: go on.
    pub fn go(&self) -> Result<()> {
        self.write(&[GO])
    }

    /// Says: execute the program. It may be on its way before the process is ready for it, but not before it has had all answers.
    pub fn start(&self) -> Result<()> {
        self.write(&[START])
    }

    /// Says: go on with this.
    pub fn go_with(&self, fd: BorrowedFd<'_>) -> Result<()> {
        self.send(&[GO], &[ControlMessage::ScmRights(&[fd.as_raw_fd()])])
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        self.send(bytes, &[])
    }

    /// Descriptors travel with the first byte.
    fn send(&self, bytes: &[u8], mut descriptors: &[ControlMessage<'_>]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            // MSG_NOSIGNAL: we live in programs that may not ignore SIGPIPE.
            match sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(rest)], descriptors, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(count) => (rest, descriptors) = (&rest[count..], &[]),
                Err(Errno::EINTR) => {}
                // It died; what it said before that is more useful than that we could not answer.
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(()),
                Err(Errno::EAGAIN) => {
                    return Err(Error::new(Kind::TimedOut, "the container's process did not listen in time"));
                }
                Err(errno) => return Err(Error::call("sendmsg", errno)),
            }
        }
        Ok(())
    }

    /// The next message of `process` with its descriptor. `None`: the other end is closed, by execve, or the process is gone.
    /// Log messages and phases are logged and not returned.
    pub fn receive(
        &self,
        process: BorrowedFd<'_>,
        deadline: Option<Instant>,
    ) -> Result<Option<(FromInside, Option<OwnedFd>)>> {
        loop {
            let mut passed = None;
            let mut header = [0_u8; 4];
            if !self.read_exact(&mut header, process, deadline, &mut passed)? {
                return Ok(None);
            }
            let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
            if length > MAX_MESSAGE {
                return Err(malformed(&"too long"));
            }
            let mut body = vec![0_u8; length];
            if !self.read_exact(&mut body, process, deadline, &mut passed)? {
                // A length with nothing behind it: the launch's own report that it was refused something.
                let (call, errno) = sys::clone::refused(header);
                return Err(Error::call(call, errno));
            }
            match postcard::from_bytes(&body).map_err(|error| malformed(&error))? {
                FromInside::Log { warning: true, text } => log::warn!("{text}"),
                FromInside::Log { warning: false, text } => log::debug!("{text}"),
                FromInside::Phase { text } => log::trace!(target: timing::INSIDE, "{text}"),
                FromInside::Refused { refusal, errno } => {
                    let errno = Some(i32::from_ne_bytes(errno)).filter(|errno| *errno != 0).map(Errno::from_raw);
                    return Ok(Some((FromInside::Failed(refusal.into_error(errno)), None)));
                }
                message => return Ok(Some((message, passed))),
            }
        }
    }

    /// `false`: end of file.
    fn read_exact(
        &self,
        buffer: &mut [u8],
        process: BorrowedFd<'_>,
        deadline: Option<Instant>,
        passed: &mut Option<OwnedFd>,
    ) -> Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            if !self.has_more(process, deadline)? {
                return Ok(false);
            }
            match receive_some(self.0.as_fd(), &mut buffer[filled..], passed) {
                Ok(0) | Err(Errno::ECONNRESET) => return Ok(false),
                Ok(count) => filled += count,
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(Error::call("recvmsg", errno)),
            }
        }
        Ok(true)
    }

    /// Waits for something to read. `false`: there will be nothing. The process' end alone may show that: of a FIFO that only
    /// the dead had open for writing before we came, and of a socket that a copy of it has, of which it did not tell us.
    fn has_more(&self, process: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<bool> {
        let fds = [(self.0.as_fd(), PollFlags::POLLIN), (process, PollFlags::POLLIN)];
        match sys::wait::until_any(&fds, deadline).or_call(|| "poll")? {
            None => Err(Error::new(Kind::TimedOut, "the container's process did not answer in time")),
            Some(0) => Ok(true),
            // Gone, but perhaps it said something before that.
            Some(_) => sys::wait::until_ready(&self.0, PollFlags::POLLIN, Instant::now()).or_call(|| "poll"),
        }
    }
}

impl AsFd for HostEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Also from a FIFO, which recvmsg(2) refuses.
pub(super) fn receive_some(fd: BorrowedFd<'_>, buffer: &mut [u8], passed: &mut Option<OwnedFd>) -> nix::Result<usize> {
    let mut space = cmsg_space!([std::os::fd::RawFd; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = recvmsg::<()>(fd.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
    let message = match received {
        Err(Errno::ENOTSOCK) => return nix::unistd::read(fd, buffer),
        other => other?,
    };
    let count = message.bytes;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            *passed = fds.into_iter().map(sys::fd::adopt).next_back().or(passed.take());
        }
    }
    Ok(count)
}
