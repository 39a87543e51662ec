//! seccomp(2), and libseccomp's table of system calls.
#![allow(
    unsafe_code,
    reason = "nix has no seccomp(2), and the crate libseccomp allocates for each name that it looks up"
)]

use std::ffi::CStr;
use std::mem::{align_of, offset_of, size_of};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// One instruction of classic BPF, laid out as the kernel reads it (`struct sock_filter`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// `BPF_*`: class, size or operation, source.
    pub code: u16,
    /// Instructions to skip when a jump's test holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl Instruction {
    /// As it lies in memory.
    pub(super) fn bytes(&self) -> [u8; size_of::<Self>()] {
        let ([a, b], [c, d, e, f]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [a, b, self.jt, self.jf, c, d, e, f]
    }
}

const _: () = {
    assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
    assert!(align_of::<Instruction>() == align_of::<libc::sock_filter>());
    assert!(offset_of!(Instruction, jt) == offset_of!(libc::sock_filter, jt));
    assert!(offset_of!(Instruction, jf) == offset_of!(libc::sock_filter, jf));
    assert!(offset_of!(Instruction, k) == offset_of!(libc::sock_filter, k));
};

/// Puts `program` over the calling thread, for good. EINVAL when it has no instruction or more than 65535.
pub fn set_mode_filter(flags: u64, program: &[Instruction]) -> nix::Result<()> {
    set(flags & !libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, program).map(|_| ())
}

/// The same, and returns the listener (close-on-exec) of its `SECCOMP_RET_USER_NOTIF`.
pub fn set_mode_filter_with_listener(flags: u64, program: &[Instruction]) -> nix::Result<OwnedFd> {
    let answer = set(flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, program)?;
    let fd = RawFd::try_from(answer).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: with NEW_LISTENER a success is a file descriptor that the kernel made for us: nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether this kernel knows all of these `SECCOMP_FILTER_FLAG_*`, and takes them together.
pub fn knows_flags(flags: u64) -> bool {
    // Without a program nothing is loaded: EFAULT comes after the flags were accepted, EINVAL before.
    set_raw(flags, std::ptr::null()) == Err(Errno::EFAULT)
}

/// What libseccomp finds itself on, as `SCMP_ARCH_*`.
pub fn native_arch() -> u32 {
    // SAFETY: it takes nothing, and answers with a number.
    unsafe { libseccomp_sys::seccomp_arch_native() }
}

/// The number of the call `name` in libseccomp's table, for an architecture given as `SCMP_ARCH_*`. `None` for a call that
/// is unknown there, or that only other architectures have.
pub fn number(name: &str, arch: u32) -> Option<u32> {
    // Longer than the name of any call.
    let mut text = [0_u8; 64];
    text.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    let name = CStr::from_bytes_with_nul(text.get(..=name.len())?).ok()?;
    // SAFETY: libseccomp only reads the name, up to its NUL, and an unknown architecture is an error to it.
    let number = unsafe { libseccomp_sys::seccomp_syscall_resolve_name_arch(arch, name.as_ptr()) };
    // Negative: an error, or libseccomp's stand-in for a call that other architectures have.
    u32::try_from(number).ok()
}

fn set(flags: u64, program: &[Instruction]) -> nix::Result<libc::c_long> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    // `filter` points to `len` instructions of the kernel's layout (asserted above) that live until the call returns.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    set_raw(flags, &raw const program)
}

fn set_raw(flags: u64, program: *const libc::sock_fprog) -> nix::Result<libc::c_long> {
    // The kernel looks at 32 bits: it would take a flag beyond them for none.
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel copies `program` and what it points to, and writes to neither; what it cannot read is EFAULT.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, program) };
    Errno::result(answer)
}
