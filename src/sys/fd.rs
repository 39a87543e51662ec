//! File descriptors: ownership of inherited ones, close_range(2), openat2(2), reading small files.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, OpenHow, ResolveFlag, fcntl};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

/// Takes ownership of a descriptor that came as a number: from a raw call, or through execve.
pub fn adopt(raw: RawFd) -> OwnedFd {
    // SAFETY: the callers pass numbers that the kernel just returned, or that the plan lists as handed over to this
    // process and to nobody else in it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// A descriptor that goes along to the sealed child under the number that it has here.
///
/// The plan on the wire names descriptors by these; [`Luggage`] keeps them open here until the child has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed(RawFd);

impl Passed {
    /// The child's side: takes ownership, and closes it at execve again.
    pub fn take(self) -> nix::Result<OwnedFd> {
        let fd = adopt(self.0);
        set_cloexec(&fd, true)?;
        Ok(fd)
    }
}

/// What is handed to the child.
#[derive(Debug, Default)]
pub struct Luggage(Vec<OwnedFd>);

impl Luggage {
    /// Hands over `fd`.
    pub fn pack(&mut self, fd: OwnedFd) -> Passed {
        let passed = Passed(fd.as_raw_fd());
        self.0.push(fd);
        passed
    }

    /// The numbers, for the launch.
    pub fn numbers(&self) -> Vec<RawFd> {
        self.0.iter().map(AsRawFd::as_raw_fd).collect()
    }
}

/// Borrows one of the three standard streams, or a descriptor that the caller of the program handed over.
pub fn borrow(raw: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the standard streams and the preserved descriptors are never closed by us while they are borrowed.
    unsafe { BorrowedFd::borrow_raw(raw) }
}

/// Opens /dev/null in the place of those of the three standard streams that are closed: else what is opened next would be
/// taken for one.
pub fn open_standard_streams() -> nix::Result<()> {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the array has three elements and outlives the call.
    super::answer(unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) }.into())?;
    for _ in streams.iter().filter(|stream| stream.revents & libc::POLLNVAL != 0) {
        // The lowest number that is free.
        let _ = nix::fcntl::open("/dev/null", OFlag::O_RDWR, Mode::empty())?.into_raw_fd();
    }
    Ok(())
}

/// Marks every descriptor from `first` on to be closed at execve (close_range(2), CLOSE_RANGE_CLOEXEC since 5.11).
pub fn cloexec_from(first: u32) -> nix::Result<()> {
    // SAFETY: the call takes three integers.
    super::answer(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Locks what `fd` refers to, or gives that up (flock(2)). nix's guard panics when it cannot.
pub fn lock(fd: impl AsFd, operation: i32) -> nix::Result<()> {
    // SAFETY: the call takes two integers.
    super::answer(unsafe { libc::flock(fd.as_fd().as_raw_fd(), operation) }.into())?;
    Ok(())
}

/// Decides whether `fd` stays open over execve.
pub fn set_cloexec(fd: impl AsFd, on: bool) -> nix::Result<()> {
    let flags = if on { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(flags)).map(drop)
}

/// openat2(2), since 5.6; the kernel asks to try again when a rename raced with the walk.
pub fn openat2(dir: impl AsFd, path: &CStr, flags: OFlag, mode: Mode, resolve: ResolveFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(resolve);
    // EAGAIN is only temporary, but an attacker who renames in a loop must not hold us here for ever.
    for _ in 0..128 {
        match nix::fcntl::openat2(dir.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// Makes `number`, one of the three standard streams, another name of `fd`, open over execve.
pub fn put_at(fd: impl AsFd, number: RawFd) -> nix::Result<()> {
    // SAFETY: the call takes two integers, and nobody owns the standard streams.
    super::answer(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) }.into())?;
    Ok(())
}

/// Reads a file to its end.
pub fn read_all(fd: impl AsFd) -> nix::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        match nix::unistd::read(fd.as_fd(), &mut chunk) {
            Ok(0) => return Ok(content),
            Ok(count) => content.extend_from_slice(&chunk[..count]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Writes everything.
pub fn write_all(fd: impl AsFd, mut content: &[u8]) -> nix::Result<()> {
    while !content.is_empty() {
        match nix::unistd::write(fd.as_fd(), content) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => content = &content[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The name by which a descriptor of this process can be opened again: `/proc/self/fd/N`.
///
/// Only for a handle that was verified, and only where the calls that take a descriptor are not enough (execve of a
/// script, a UNIX socket below a directory descriptor).
pub fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}
