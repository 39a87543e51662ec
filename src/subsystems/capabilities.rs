//! The five capability sets (capabilities(7)).

use nix::errno::Errno;

use crate::config::process::{CAPABILITIES, CapSet, Capabilities};
use crate::error::{Error, OrCall, Result, Within};
use crate::subsystems::doors::InRoot;
use crate::sys::capability::{self, ThreadSets};

/// Takes everything out of the bounding set that is not to be in it.
///
/// ORDER: before the ids change, because it needs CAP_SETPCAP.
pub fn limit_bounding(_: &InRoot, wanted: CapSet) -> Result<()> {
    for number in 0..64 {
        if wanted.0 & 1 << number != 0 {
            continue;
        }
        match capability::drop_from_bounding_set(number) {
            Ok(()) => {}
            // The kernel's last one is behind us.
            Err(Errno::EINVAL) => break,
            // Not for us to drop, but it is not there anyway.
            Err(Errno::EPERM) if capability::in_bounding_set(number) == Ok(false) => {}
            Err(errno) => {
                return Err(Error::call(format!("prctl(CAPBSET_DROP, {})", name(number)), errno))
                    .within(|| "process.capabilities.bounding");
            }
        }
    }
    Ok(())
}

/// Sets the other four, and keeps one right beyond them until [`finish`]: a filter is loaded with CAP_SYS_ADMIN.
///
/// ORDER: after the ids have changed, with the permitted set kept over it; ambient behind permitted and inheritable, which
/// it needs.
pub fn set(_: &InRoot, wanted: &Capabilities) -> Result<Surplus> {
    let now = capability::get().or_call(|| "capget").within(|| "process.capabilities")?;
    let sets = final_sets(&now, wanted);
    let admin = now.permitted & CAP_SYS_ADMIN;
    let kept = ThreadSets { effective: sets.effective | admin, permitted: sets.permitted | admin, ..sets };
    capability::set(&kept).or_call(|| "capset").within(|| "process.capabilities")?;
    let surplus = Surplus((kept != sets).then_some(sets));
    warn_of_ungranted(wanted, &sets);
    capability::clear_ambient()
        .or_call(|| "prctl(PR_CAP_AMBIENT_CLEAR_ALL)")
        .within(|| "process.capabilities.ambient")?;
    // What cannot be granted at all was said already.
    let raisable = wanted.ambient.0 & (now.permitted | !asked(wanted));
    for number in (0..64).filter(|number| raisable & 1 << number != 0) {
        if let Err(errno) = capability::raise_ambient(number) {
            // COMPAT(runc): a warning, with these words.
            log::warn!("can't raise ambient capability {}: {}", name(number), crate::error::in_words(errno));
        }
    }
    Ok(surplus)
}

/// What is to be given away yet: the sets as they are to be, if they are not.
#[derive(Debug)]
#[must_use]
pub struct Surplus(Option<ThreadSets>);

/// Gives away what [`set`] kept. Nothing to do for those who may have it anyway: one system call less for the filter to
/// allow.
pub fn finish(_: &InRoot, surplus: &Surplus) -> Result<()> {
    match &surplus.0 {
        Some(sets) => capability::set(sets).or_call(|| "capset").within(|| "process.capabilities"),
        None => Ok(()),
    }
}

const CAP_SYS_ADMIN: u64 = 1 << 21;

/// SPEC(config, "process.capabilities"): what cannot be granted is a warning, so it is left out.
fn final_sets(now: &ThreadSets, wanted: &Capabilities) -> ThreadSets {
    let permitted = wanted.permitted.0 & now.permitted;
    // KERNEL: what is added to the inheritable set must be in the bounding set.
    let inheritable = wanted.inheritable.0 & (now.inheritable | now.permitted & wanted.bounding.0);
    ThreadSets { permitted, effective: wanted.effective.0 & permitted, inheritable }
}

fn asked(wanted: &Capabilities) -> u64 {
    wanted.permitted.0 | wanted.effective.0 | wanted.inheritable.0
}

fn warn_of_ungranted(wanted: &Capabilities, granted: &ThreadSets) {
    let missing = wanted.permitted.0 & !granted.permitted
        | wanted.effective.0 & !granted.effective
        | wanted.inheritable.0 & !granted.inheritable;
    for number in (0..64).filter(|number| missing & 1 << number != 0) {
        log::warn!("process.capabilities: {} cannot be granted here", name(number));
    }
}

fn name(number: u32) -> String {
    let known = usize::try_from(number).ok().and_then(|number| CAPABILITIES.get(number));
    known.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}
