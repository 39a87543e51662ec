//! netdevice(7): bringing up the loopback interface.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Brings up `lo` in the network namespace of this thread, or tells the call that was refused. Allocates nothing and takes no lock.
pub fn bring_up_loopback() -> Result<(), (&'static str, Errno)> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| ("socket(AF_INET)", errno))?;
    // SAFETY: an all-zero ifreq is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, letter) in request.ifr_name.iter_mut().zip(b"lo") {
        #[expect(clippy::cast_possible_wrap, reason = "ASCII")]
        let letter = *letter as libc::c_char;
        *slot = letter;
    }
    #[expect(clippy::cast_possible_truncation, reason = "0x41")]
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: the pointer is to an ifreq that outlives the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    super::answer(answer.into()).map(drop).map_err(|errno| ("ioctl(SIOCSIFFLAGS, \"lo\")", errno))
}
