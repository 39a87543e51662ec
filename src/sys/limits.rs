//! prlimit(2).

/// Sets a resource limit of another process, or of this one when `pid` is 0.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure outlives the call; no old value is asked for.
    super::answer(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null_mut::<libc::rlimit64>())
    })?;
    Ok(())
}
