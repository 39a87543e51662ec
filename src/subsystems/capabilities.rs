//! The five capability sets (capabilities(7)).

use nix::errno::Errno;
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use crate::config::process::{CAPABILITIES, CapSet, Capabilities, User};
use crate::error::{Error, OrCall, Refusal, Result, Within};
use crate::subsystems::doors::InRoot;
use crate::sys::capability::{self, ThreadSets};
use crate::sys::script::Script;

/// Writes how everything leaves the bounding set that is not to be in it.
///
/// ORDER: before the ids change, because it needs CAP_SETPCAP.
pub fn limit_bounding(_: &InRoot, wanted: CapSet, script: &mut Script) -> Result<()> {
    let may = capability::get().or_call(|| "capget").within(|| BOUNDING)?.effective & CAP_SETPCAP != 0;
    let refused = script.frame(Refusal::of("prctl(CAPBSET_DROP)").within(BOUNDING));
    for number in (0..64).filter(|number| wanted.0 & 1 << number == 0) {
        // KERNEL(5.9): knows all that we know.
        let known = usize::try_from(number).is_ok_and(|number| number < CAPABILITIES.len());
        match if may && known { Ok(true) } else { capability::in_bounding_set(number) } {
            Ok(true) if may => script.prctl(libc::PR_CAPBSET_DROP, number.into(), 0, refused),
            Ok(true) => {
                let call = format!("prctl(CAPBSET_DROP, {})", name(number));
                return Err(Error::call(call, Errno::EPERM)).within(|| BOUNDING);
            }
            Ok(false) => {}
            // The kernel's last one is behind us.
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(Error::call("prctl(CAPBSET_READ)", errno)).within(|| BOUNDING),
        }
    }
    Ok(())
}

const BOUNDING: &str = "process.capabilities.bounding";

/// Writes the other four, with one right beyond them until [`finish`]: a filter is loaded with CAP_SYS_ADMIN.
///
/// ORDER: after the ids have changed, with the permitted set kept over it; ambient behind permitted and inheritable, which
/// it needs.
pub fn set(_: &InRoot, wanted: &Capabilities, script: &mut Script) -> Result<Surplus> {
    let now = capability::get().or_call(|| "capget").within(|| "process.capabilities")?;
    let sets = final_sets(&now, wanted);
    let admin = now.permitted & CAP_SYS_ADMIN;
    let kept = ThreadSets { effective: sets.effective | admin, permitted: sets.permitted | admin, ..sets };
    write_sets(&kept, script);
    warn_of_ungranted(wanted, &sets);
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned().into();
    let refused = Refusal::of("prctl(PR_CAP_AMBIENT_CLEAR_ALL)").within("process.capabilities.ambient");
    let refused = script.frame(refused);
    script.prctl(libc::PR_CAP_AMBIENT, clear, 0, refused);
    // What cannot be granted at all was said already.
    let raisable = wanted.ambient.0 & (now.permitted | !asked(wanted));
    for number in (0..64).filter(|number| raisable & 1 << number != 0) {
        if sets.permitted & sets.inheritable & 1 << number == 0 {
            // COMPAT(runc): a warning, with these words.
            let why = crate::error::in_words(Errno::EPERM);
            log::warn!("can't raise ambient capability {}: {why}", name(number));
            continue;
        }
        // SECBIT_NO_CAP_AMBIENT_RAISE of whoever started us may forbid it.
        let raise = libc::PR_CAP_AMBIENT_RAISE.cast_unsigned().into();
        script.try_prctl(libc::PR_CAP_AMBIENT, raise, number.into(), refused);
    }
    Ok(Surplus((kept != sets).then_some(sets)))
}

/// What is to be given away yet: the sets as they are to be, if they are not.
#[derive(Debug)]
#[must_use]
pub struct Surplus(Option<ThreadSets>);

/// Writes how that is given away which [`set`] kept. Nothing to do for those who may have it anyway: one system call less
/// for the filter to allow.
pub fn finish(_: &InRoot, surplus: &Surplus, script: &mut Script) {
    if let Some(sets) = &surplus.0 {
        write_sets(sets, script);
    }
}

fn write_sets(sets: &ThreadSets, script: &mut Script) {
    let refused = script.frame(Refusal::of("capset").within("process.capabilities"));
    script.set_capabilities(sets, refused);
}

/// Does something with the rights over files that `user` will have with these capabilities; the rest is as before.
pub fn with_rights_of<T>(_: &InRoot, user: &User, wanted: &Capabilities, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = capability::get().or_call(|| "capget")?;
    let theirs = ThreadSets { effective: wanted.effective.0 & wanted.permitted.0 & own.permitted, ..own };
    // They answer with the old id, whatever happens.
    let (gid, uid) = (setfsgid(Gid::from_raw(user.gid)), setfsuid(Uid::from_raw(user.uid)));
    // Changing ids sets this anew, to what fs.suid_dumpable says.
    let undumpable = || set_dumpable(false).or_call(|| "prctl(PR_SET_DUMPABLE)");
    let theirs = || capability::set(&theirs).or_call(|| "capset");
    let done = undumpable().and_then(|()| theirs()).and_then(|()| act());
    setfsuid(uid);
    setfsgid(gid);
    undumpable()?;
    capability::set(&own).or_call(|| "capset")?;
    done
}

const CAP_SETPCAP: u64 = 1 << 8;
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
