//! Programs in memory (memfd_create(2)).

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// An empty file that may be executed and sealed. EACCES where vm.memfd_noexec forbids such programs (since 6.3).
pub fn executable(name: &CStr) -> nix::Result<OwnedFd> {
    // KERNEL(6.3): MFD_EXEC says what older kernels take for granted, and refuse as unknown.
    const MFD_EXEC: MFdFlags = MFdFlags::from_bits_retain(0x10);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(name, flags | MFD_EXEC) {
        Err(Errno::EINVAL) => memfd_create(name, flags),
        other => other,
    }
}

/// Nobody can change the file any more, whatever his rights.
pub fn seal(file: impl AsFd) -> nix::Result<()> {
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals)).map(drop)
}
