//! prlimit(2), and the CPU affinity of a process (sched_setaffinity(2)).

/// Sets a resource limit of another process, or of this one when `pid` is 0.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure outlives the call; no old value is asked for.
    super::answer(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null_mut::<libc::rlimit64>())
    })?;
    Ok(())
}

/// Lets this thread run on every CPU that its cpuset allows: whoever started us (`taskset`, CRI-O) may have narrowed it.
pub fn reset_affinity() -> nix::Result<()> {
    // As many CPUs as any kernel can be built for; the kernel takes the ones that there are.
    let all = [u64::MAX; 8192 / 64];
    // SAFETY: the mask outlives the call and its size is given.
    super::answer(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&all), all.as_ptr()) })?;
    Ok(())
}
