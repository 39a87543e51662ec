//! Standard output and error, which may be closed, read-only, or a pipe that nobody reads any more.

use std::ops::ControlFlow;
use std::os::fd::AsFd;

use corten::error::{OrCall, Result};
use corten::sys::fd::borrow;
use nix::errno::Errno;
use nix::poll::PollFlags;

/// Prints to standard output. Nobody there to read it is fine; a full disk is not.
pub fn print(text: &str) -> Result<()> {
    stream(text).map(|_| ())
}

/// The same, of something that goes on: it breaks off when nobody reads any more.
pub fn stream(text: &str) -> Result<ControlFlow<()>> {
    match write_all(1, text.as_bytes()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        // COMPAT(containerd): for sandbox containers it is /dev/null, opened for reading.
        Err(Errno::EPIPE | Errno::EBADF) => Ok(ControlFlow::Break(())),
        Err(errno) => Err(errno).or_call(|| "write(standard output)"),
    }
}

/// Prints a line to standard error, in one write. If that cannot be done there is nobody left to tell.
pub fn complain(line: &str) {
    let _ = write_all(2, format!("{line}\n").as_bytes());
}

fn write_all(number: i32, mut content: &[u8]) -> nix::Result<()> {
    let stream = borrow(number);
    while !content.is_empty() {
        match nix::unistd::write(stream, content) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => content = &content[count..],
            Err(Errno::EINTR) => {}
            // Whoever shares the stream with us made it non-blocking.
            Err(Errno::EAGAIN) => {
                corten::sys::wait::until_any(&[(stream.as_fd(), PollFlags::POLLOUT)], None).map(drop)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
