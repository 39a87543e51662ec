//! Pseudoterminals (pts(4), ioctl_tty(2)).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::pty::Winsize;

/// Opens the other end of a pseudoterminal without going by a path (TIOCGPTPEER, since 4.13).
pub fn peer(master: impl AsFd) -> nix::Result<OwnedFd> {
    // SAFETY: the argument is open flags, an integer.
    super::answer_fd(
        unsafe {
            libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC)
        }
        .into(),
    )
}

/// Unlocks the other end (unlockpt(3)).
pub fn unlock(master: impl AsFd) -> nix::Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the pointer is to an int that outlives the call.
    super::answer(unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) }.into())?;
    Ok(())
}

/// The N of `/dev/pts/N`.
pub fn number(master: impl AsFd) -> nix::Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the pointer is to an unsigned int that outlives the call.
    super::answer(unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTN, &raw mut number) }.into())?;
    Ok(number)
}

/// Rows and columns.
pub fn size(terminal: impl AsFd) -> nix::Result<(u16, u16)> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is to a winsize that outlives the call.
    super::answer(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }.into())?;
    Ok((size.ws_row, size.ws_col))
}

/// Sets rows and columns.
pub fn set_size(terminal: impl AsFd, (rows, columns): (u16, u16)) -> nix::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is to a winsize that outlives the call.
    super::answer(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into())?;
    Ok(())
}
