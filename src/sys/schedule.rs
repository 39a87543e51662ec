//! sched_setattr(2), sched_setaffinity(2), ioprio_set(2), set_mempolicy(2) and personality(2): how a process is run.

use nix::errno::Errno;

/// `struct sched_attr` (linux/sched/types.h), as long as since Linux 5.3.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "sched_setattr(2)'s")]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub util_min: u32,
    pub util_max: u32,
}

/// Sets the scheduler of a process. Since Linux 3.14.
pub fn set_scheduler(pid: i32, attributes: &SchedAttr) -> nix::Result<()> {
    // SAFETY: the structure outlives the call and says how long it is.
    super::answer(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const *attributes, 0) })?;
    Ok(())
}

/// Sets the I/O class and priority of a process group.
pub fn set_io_priority_of_group(group: i32, class: u32, priority: u32) -> nix::Result<()> {
    const IOPRIO_WHO_PGRP: i32 = 2;
    const IOPRIO_CLASS_SHIFT: u32 = 13;
    let value = class << IOPRIO_CLASS_SHIFT | priority;
    // SAFETY: three numbers.
    super::answer(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PGRP, group, value) })?;
    Ok(())
}

/// A mask for every CPU that any kernel can be built for.
const ALL: [u64; 8192 / 64] = [u64::MAX; 8192 / 64];

/// Lets this thread run on every CPU that its cpuset allows: whoever started us (`taskset`, CRI-O) may have narrowed it.
pub fn reset_affinity() -> nix::Result<()> {
    set_affinity(&ALL)
}

/// Lets this thread run on these CPUs only. The kernel takes the ones that there are.
pub fn set_affinity(mask: &[u64]) -> nix::Result<()> {
    // SAFETY: the mask outlives the call and its size is given.
    super::answer(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })?;
    Ok(())
}

/// Where this thread may run.
pub fn affinity() -> nix::Result<Vec<u64>> {
    let mut mask = ALL;
    // SAFETY: the mask outlives the call and its size is given.
    let size =
        super::answer(unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&mask), mask.as_mut_ptr()) })?;
    let words = usize::try_from(size).map_err(|_| Errno::EINVAL)? / size_of::<u64>();
    Ok(mask.iter().copied().take(words).collect())
}

/// Sets the memory policy of this thread; `mode` includes the flags.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> nix::Result<()> {
    // KERNEL: one more than there are bits, of which get_nodes() takes one away.
    let bits = if nodes.is_empty() { 0 } else { size_of_val(nodes) * 8 + 1 };
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the mask outlives the call and its size is given.
    super::answer(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) })?;
    Ok(())
}

/// Sets the execution domain of this process.
pub fn set_personality(persona: u32) -> nix::Result<()> {
    // SAFETY: one number.
    super::answer(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(persona)) })?;
    Ok(())
}
