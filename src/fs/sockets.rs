//! Unix sockets of others, by path.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{OrCall, Result};

/// Connects. Neither that nor a write may take longer than `patience`.
pub fn connect_to(path: &Path, patience: Duration) -> Result<OwnedFd> {
    let socket =
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).or_call(|| "socket(AF_UNIX)")?;
    limit_writes(&socket, patience)?;
    let address = UnixAddr::new(path).or_call(|| format!("connect({path:?})"))?;
    // Bounded too: it waits when too many others are waiting there.
    in_time(connect(socket.as_raw_fd(), &address)).or_call(|| format!("connect({path:?})"))?;
    Ok(socket)
}

/// What SO_SNDTIMEO makes of a wait that is over.
pub fn in_time<T>(result: nix::Result<T>) -> nix::Result<T> {
    result.map_err(|errno| if errno == Errno::EAGAIN { Errno::ETIMEDOUT } else { errno })
}

/// A write that takes longer fails with EAGAIN; see [`in_time`].
pub fn limit_writes(socket: &OwnedFd, patience: Duration) -> Result<()> {
    let milliseconds = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
    setsockopt(socket, sockopt::SendTimeout, &TimeVal::milliseconds(milliseconds)).or_call(|| "setsockopt(SO_SNDTIMEO)")
}
