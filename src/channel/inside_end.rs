//! The container's end.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::host_end::receive_some;
use super::{FromInside, GO, MAX_MESSAGE, encode, malformed};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::sys;

/// The container's end of the channel.
#[derive(Debug)]
pub struct InsideEnd(OwnedFd);

impl InsideEnd {
    /// Takes a socket, or the FIFO of a report.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The plan, which comes first.
    pub fn receive_plan(&self) -> Result<Vec<u8>> {
        let mut header = [0_u8; 4];
        self.read_exact(&mut header)?;
        let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(malformed(&"too long"));
        }
        let mut plan = vec![0_u8; length];
        self.read_exact(&mut plan)?;
        Ok(plan)
    }

    /// Says something.
    pub fn send(&self, message: &FromInside) -> Result<()> {
        send(self.0.as_fd(), message)
    }

    /// Says something and hands over a descriptor.
    pub fn send_with(&self, message: &FromInside, fd: BorrowedFd<'_>) -> Result<()> {
        let frame = encode(message)?;
        let fds = [fd.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&fds)];
        let sent = sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&frame)], &control, MsgFlags::MSG_NOSIGNAL, None)
            .or_call(|| "sendmsg(channel)")?;
        sys::fd::write_all(&self.0, &frame[sent..]).or_call(|| "write(channel)")
    }

    /// Waits until the host says: go on.
    pub fn wait_for_go(&self) -> Result<()> {
        let mut byte = [0_u8; 1];
        self.read_exact(&mut byte)?;
        if byte == [GO] { Ok(()) } else { Err(malformed(&"not the answer that was waited for")) }
    }

    /// The same, and takes the descriptor that comes along.
    pub fn wait_for_descriptor(&self) -> Result<OwnedFd> {
        let mut passed = None;
        self.fill(&mut [0_u8; 1], |rest| receive_some(self.0.as_fd(), rest, &mut passed))?;
        passed.ok_or_else(|| malformed(&"a descriptor is missing"))
    }

    fn read_exact(&self, buffer: &mut [u8]) -> Result<()> {
        self.fill(buffer, |rest| nix::unistd::read(&self.0, rest))
    }

    fn fill(&self, buffer: &mut [u8], mut read: impl FnMut(&mut [u8]) -> nix::Result<usize>) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match read(&mut buffer[filled..]) {
                // Nothing of ours may outlive the runtime half made.
                Ok(0) => return Err(Error::new(Kind::ProcessGone, "the runtime is gone")).within(|| "read(channel)"),
                Ok(count) => filled += count,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::call("read(channel)", errno)),
            }
        }
        Ok(())
    }
}

/// Says something to whom `to` leads.
pub fn send(to: BorrowedFd<'_>, message: &FromInside) -> Result<()> {
    sys::fd::write_all(to, &encode(message)?).or_call(|| "write(channel)")
}

impl AsFd for InsideEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair;
    use super::*;
    use std::time::{Duration, Instant};

    fn ourselves() -> OwnedFd {
        sys::pidfd::open(nix::unistd::getpid().as_raw()).unwrap()
    }

    fn soon() -> Option<Instant> {
        Instant::now().checked_add(Duration::from_secs(5))
    }

    #[test]
    fn messages_descriptors_and_the_end() {
        let (host, inside) = pair().unwrap();
        host.send_plan(b"plan").unwrap();
        host.go().unwrap();
        assert_eq!(inside.receive_plan().unwrap(), b"plan");
        inside.wait_for_go().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        host.go_with(file.as_fd()).unwrap();
        inside.wait_for_descriptor().unwrap();
        host.go().unwrap();
        inside.wait_for_descriptor().unwrap_err();
        host.start().unwrap();
        let error = inside.wait_for_go().unwrap_err();
        assert!(error.to_string().contains("not the answer"), "{error}");
        inside.send(&FromInside::Log { warning: false, text: "x".to_owned() }).unwrap();
        inside.send(&FromInside::Ready).unwrap();
        inside.send_with(&FromInside::Terminal { name: "n".repeat(9000) }, file.as_fd()).unwrap();
        let failed = FromInside::Failed(Error::new(Kind::Busy, "cause").within("doing"));
        inside.send(&failed).unwrap();
        drop(inside);
        let process = ourselves();
        let receive = || host.receive(process.as_fd(), soon()).unwrap();
        assert!(matches!(receive(), Some((FromInside::Ready, None))));
        assert!(matches!(receive(), Some((FromInside::Terminal { .. }, Some(_)))));
        assert_eq!(receive().unwrap().0, failed);
        assert!(receive().is_none());
    }

    #[test]
    fn silence_ends_at_the_deadline_and_a_dead_runtime_is_noticed() {
        let (host, inside) = pair().unwrap();
        let deadline = Instant::now().checked_add(Duration::from_millis(10));
        let error = host.receive(ourselves().as_fd(), deadline).unwrap_err();
        assert_eq!(error.kind(), Kind::TimedOut);
        drop(host);
        assert_eq!(inside.wait_for_go().unwrap_err().kind(), Kind::ProcessGone);
    }

    #[test]
    fn a_dead_process_is_noticed_though_another_has_its_end() {
        let (host, inside) = pair().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = sys::pidfd::open(child.id().try_into().unwrap()).unwrap();
        inside.send(&FromInside::Ready).unwrap();
        child.wait().unwrap();
        assert!(matches!(host.receive(process.as_fd(), soon()).unwrap(), Some((FromInside::Ready, None))));
        assert!(host.receive(process.as_fd(), soon()).unwrap().is_none());
    }
}
