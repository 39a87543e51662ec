//! keyctl(2).

use std::ffi::CStr;

/// A key's number, as the kernel counts them.
pub type Serial = i32;

/// Makes the keyring `name` the session keyring of the calling thread, and of what it executes: one of that name in our
/// user namespace that we may search, or a new one (KEYCTL_JOIN_SESSION_KEYRING).
pub fn join_session(name: &CStr) -> nix::Result<Serial> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the kernel copies the name, which ends with a zero.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    Serial::try_from(super::answer(answer)?).map_err(|_| nix::errno::Errno::EOVERFLOW)
}

/// Who may do what with a key: 6 bits each for who possesses it, its user, its group and the others (KEYCTL_SETPERM).
pub fn set_permissions(key: Serial, permissions: u32) -> nix::Result<()> {
    const SETPERM: libc::c_int = 5;
    // SAFETY: the call takes integers.
    super::answer(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, key, permissions) })?;
    Ok(())
}
