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
            Err(errno) => {
                return Err(Error::call(format!("prctl(CAPBSET_DROP, {})", name(number)), errno))
                    .within(|| "process.capabilities.bounding");
            }
        }
    }
    Ok(())
}

/// Sets the other four.
///
/// ORDER: after the ids have changed, with the permitted set kept over it; ambient last, because it needs the permitted
/// and the inheritable one. SPEC(config, "process.capabilities"): what cannot be granted is a warning, so it is left out.
pub fn set(_: &InRoot, wanted: &Capabilities) -> Result<()> {
    let possible = capability::get().or_call(|| "capget").within(|| "process.capabilities")?.permitted;
    let asked = wanted.permitted.0 | wanted.effective.0 | wanted.inheritable.0;
    let permitted = wanted.permitted.0 & possible;
    for number in (0..64).filter(|number| asked & !possible & 1 << number != 0) {
        log::warn!("process.capabilities: {} cannot be granted here", name(number));
    }
    let sets = ThreadSets {
        permitted,
        effective: wanted.effective.0 & permitted,
        // Inheritable may go beyond permitted while we have CAP_SETPCAP, but not beyond the bounding set.
        inheritable: wanted.inheritable.0 & possible,
    };
    capability::set(&sets).or_call(|| "capset").within(|| "process.capabilities")?;
    capability::clear_ambient().or_call(|| "prctl(PR_CAP_AMBIENT_CLEAR_ALL)").within(|| "process.capabilities.ambient")?;
    for number in (0..64).filter(|number| wanted.ambient.0 & 1 << number != 0) {
        if let Err(errno) = capability::raise_ambient(number) {
            // COMPAT(runc): a warning, with these words.
            log::warn!("can't raise ambient capability {}: {}", name(number), crate::error::in_words(errno));
        }
    }
    Ok(())
}

fn name(number: u32) -> String {
    let known = usize::try_from(number).ok().and_then(|number| CAPABILITIES.get(number));
    known.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}
