//! The system calls that nix lacks, one file per family of man pages, and the only place with `unsafe`.
//!
//! Each function is one call with checked types and says since which kernel it is there; none decides anything. Errors are
//! plain [`Errno`]: the caller knows what the call was for.

#![allow(unsafe_code)]

pub mod bpf;
pub mod capability;
pub mod clone;
pub mod domainname;
pub mod fd;
pub mod husk;
pub mod ids;
pub mod keyring;
pub mod limits;
pub mod memfd;
pub mod mount;
pub mod namespace;
pub mod network;
pub mod pidfd;
pub mod schedule;
pub mod script;
pub mod seccomp;
pub mod signal;
pub mod thread;
pub mod tty;
pub mod wait;
pub mod xattr;

use nix::errno::Errno;

/// The answer of a raw system call.
fn answer(result: libc::c_long) -> nix::Result<libc::c_long> {
    if result == -1 { Err(Errno::last()) } else { Ok(result) }
}

/// The answer of a raw system call that is a new file descriptor.
fn answer_fd(result: libc::c_long) -> nix::Result<std::os::fd::OwnedFd> {
    let raw = answer(result)?;
    Ok(fd::adopt(i32::try_from(raw).map_err(|_| Errno::EBADF)?))
}
