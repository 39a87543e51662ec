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
    let data = halves(sets);
    // SAFETY: version 3 reads two `Data`.
    super::answer(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

fn halves(sets: &ThreadSets) -> [Data; 2] {
    [0, 32].map(|shift| Data {
        effective: low_word(sets.effective >> shift),
        permitted: low_word(sets.permitted >> shift),
        inheritable: low_word(sets.inheritable >> shift),
    })
}

/// The two structures that capset(2) takes.
pub(super) fn as_bytes(sets: &ThreadSets) -> ([u8; 8], Vec<u8>) {
    let data = halves(sets).map(|half| [half.effective, half.permitted, half.inheritable]);
    let data = data.as_flattened().iter().flat_map(|word| word.to_ne_bytes()).collect();
    // The calling thread is 0.
    ([VERSION_3.to_ne_bytes(), 0_u32.to_ne_bytes()].as_flattened().try_into().unwrap_or_default(), data)
}

#[expect(clippy::cast_possible_truncation, reason = "the upper half is the other word")]
fn low_word(bits: u64) -> u32 {
    bits as u32
}

/// Whether `capability` is in the bounding set; EINVAL when the kernel does not know it.
pub fn in_bounding_set(capability: u32) -> nix::Result<bool> {
    prctl(libc::PR_CAPBSET_READ, capability, 0).map(|answer| answer == 1)
}

fn prctl(option: i32, second: u32, third: u32) -> nix::Result<libc::c_long> {
    // SAFETY: these options take integers only; the unused arguments must be 0.
    super::answer(unsafe { libc::syscall(libc::SYS_prctl, option, u64::from(second), u64::from(third), 0_u64, 0_u64) })
}
