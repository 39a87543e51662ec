//! What a namespace file is (ioctl_ns(2)).

use std::os::fd::{AsFd, AsRawFd};

/// The `CLONE_NEW*` bit of the namespace that `file` stands for (NS_GET_NSTYPE, since 4.11); an error if it is no such file.
pub fn kind(file: impl AsFd) -> nix::Result<u64> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the call takes no argument.
    let kind = super::answer(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), NS_GET_NSTYPE) }.into())?;
    u64::try_from(kind).map_err(|_| nix::errno::Errno::EINVAL)
}
