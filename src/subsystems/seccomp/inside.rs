//! Puts a filter over a container's process.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::{FLAGS, Filter};
use crate::error::{Error, Kind, Refusal, Result};
use crate::sys::script::{Loaded, Script};
use crate::sys::seccomp;

/// Writes the loading of `filter`, for good.
///
/// ORDER: without `no_new_privs` the kernel asks for CAP_SYS_ADMIN, so it comes before capabilities are dropped; with it,
/// it comes last, because everything after it needs the profile's leave.
pub fn write(filter: &Filter, script: &mut Script) -> Result<Loaded> {
    // The kernel looks at 32 bits: it would take a flag beyond them for none.
    let flags = u32::try_from(all_flags(filter)).map_err(|_| explain(filter, Errno::EINVAL))?;
    let refused = script.frame(refusal(filter).within("linux.seccomp"));
    Ok(script.load_filter(flags, &filter.program, refused))
}

/// Loads `filter` over the calling thread, and returns the listener (close-on-exec) if it has one.
pub fn load(filter: &Filter) -> Result<Option<OwnedFd>> {
    let loaded = if filter.notifies {
        seccomp::set_mode_filter_with_listener(filter.flags, &filter.program).map(Some)
    } else {
        seccomp::set_mode_filter(filter.flags, &filter.program).map(|()| None)
    };
    loaded.map_err(|errno| explain(filter, errno))
}

fn explain(filter: &Filter, errno: Errno) -> Error {
    refusal(filter).into_error(Some(errno))
}

fn refusal(filter: &Filter) -> Refusal {
    let flags = in_words(filter);
    let no_filters = "this kernel has no seccomp filters";
    let invalid = match flags.as_str() {
        "0" => no_filters,
        _ => "this kernel may lack one of these flags, see linux.seccomp.flags",
    };
    // The container's process, or one above it, has a listener already: the kernel allows one.
    let has_one = "this process has a filter with SCMP_ACT_NOTIFY already";
    Refusal::of(format!("seccomp(SET_MODE_FILTER, {flags}, {} instructions)", filter.program.len()))
        .hint(Errno::EINVAL, Some(Kind::Unsupported), invalid)
        .hint(Errno::ENOSYS, Some(Kind::Unsupported), no_filters)
        .hint(Errno::EACCES, None, "needs noNewPrivileges, or CAP_SYS_ADMIN in this user namespace")
        .hint(Errno::EBUSY, None, has_one)
}

fn all_flags(filter: &Filter) -> u64 {
    filter.flags | if filter.notifies { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 }
}

fn in_words(filter: &Filter) -> String {
    let mut rest = all_flags(filter);
    let mut words = Vec::new();
    let ours = ("NEW_LISTENER", libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    for (word, bit) in FLAGS.into_iter().chain([ours]) {
        if rest & bit != 0 {
            rest &= !bit;
            words.push(word.to_owned());
        }
    }
    if rest != 0 || words.is_empty() {
        words.push(if rest == 0 { "0".to_owned() } else { format!("{rest:#x}") });
    }
    words.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_asked_and_what_to_do() {
        let filter = Filter { flags: libc::SECCOMP_FILTER_FLAG_LOG | 1 << 40, program: Vec::new(), notifies: true };
        let error = explain(&filter, Errno::EINVAL);
        assert_eq!(
            error.to_string(),
            "seccomp(SET_MODE_FILTER, LOG|NEW_LISTENER|0x10000000000, 0 instructions): invalid argument \
             (this kernel may lack one of these flags, see linux.seccomp.flags)"
        );
        assert_eq!(error.kind(), Kind::Unsupported);
        let filter = Filter { flags: 0, program: Vec::new(), notifies: false };
        assert_eq!(
            explain(&filter, Errno::EACCES).to_string(),
            "seccomp(SET_MODE_FILTER, 0, 0 instructions): permission denied \
             (needs noNewPrivileges, or CAP_SYS_ADMIN in this user namespace)"
        );
    }
}
