//! netdevice(7): bringing up the loopback interface.

use std::os::fd::{AsFd, AsRawFd};

/// Brings up `lo` in the network namespace that `socket` was made in.
pub fn bring_up_loopback(socket: impl AsFd) -> nix::Result<()> {
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
    super::answer(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())?;
    Ok(())
}
