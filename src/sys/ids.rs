//! setgroups(2), setresgid(2), setresuid(2), of the calling thread alone.
//!
//! The C library's functions of these names ask all threads that it knows of to do the same, and the container's side of a copied
//! process has only one of them.

/// Replaces the supplementary groups.
pub fn set_groups(gids: &[u32]) -> nix::Result<()> {
    // SAFETY: the kernel reads as many ids as there are.
    super::answer(unsafe { libc::syscall(libc::SYS_setgroups, gids.len(), gids.as_ptr()) }).map(drop)
}

/// Sets the real, the effective and the saved group id.
pub fn set_gid(gid: u32) -> nix::Result<()> {
    // SAFETY: the call takes three integers.
    super::answer(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets the real, the effective and the saved user id.
pub fn set_uid(uid: u32) -> nix::Result<()> {
    // SAFETY: the call takes three integers.
    super::answer(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}
