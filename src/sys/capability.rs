//! capset(2) and the bounding and ambient sets of prctl(2).

/// What capset(2) takes: the three sets of a thread, as bit masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are capabilities(7)'s")]
pub struct ThreadSets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64-bit sets, since 2.6.26.
const VERSION_3: u32 = 0x2008_0522;

/// The sets of the calling thread.
pub fn get() -> nix::Result<ThreadSets> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 fills two `Data`.
    super::answer(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(ThreadSets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Sets all three sets of the calling thread at once.
pub fn set(sets: &ThreadSets) -> nix::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: low_word(sets.effective >> shift),
        permitted: low_word(sets.permitted >> shift),
        inheritable: low_word(sets.inheritable >> shift),
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads two `Data`.
    super::answer(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "the upper half is the other word")]
fn low_word(bits: u64) -> u32 {
    bits as u32
}

/// Whether `capability` is in the bounding set; EINVAL when the kernel does not know it.
pub fn in_bounding_set(capability: u32) -> nix::Result<bool> {
    prctl(libc::PR_CAPBSET_READ, capability, 0).map(|answer| answer == 1)
}

/// Takes it out, for ever.
pub fn drop_from_bounding_set(capability: u32) -> nix::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability, 0).map(drop)
}

/// Empties the ambient set.
pub fn clear_ambient() -> nix::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u32, 0).map(drop)
}

/// Adds to the ambient set; it must be permitted and inheritable.
pub fn raise_ambient(capability: u32) -> nix::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u32, capability).map(drop)
}

fn prctl(option: i32, second: u32, third: u32) -> nix::Result<libc::c_long> {
    // SAFETY: these options take integers only; the unused arguments must be 0.
    super::answer(unsafe { libc::syscall(libc::SYS_prctl, option, u64::from(second), u64::from(third), 0_u64, 0_u64) })
}
