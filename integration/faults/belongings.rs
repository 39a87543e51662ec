//! What the kernel and the service manager have for containers, and which is of no container any more when it is left:
//! compared once, before the first point and behind the last.
#![allow(unsafe_code, reason = "nobody has bpf(2)")]

use std::collections::BTreeSet;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;

use crate::support::systemd;
use crate::support::wait::try_until;

/// BPF programs of containers, and units.
pub fn all() -> BTreeSet<String> {
    let scopes = if systemd::is_here() { systemd::units("corten-*.scope") } else { String::new() };
    let scopes = scopes.lines().map(|line| format!("unit {line}"));
    device_programs().into_iter().map(|id| format!("BPF program {id}")).chain(scopes).collect()
}

/// What has come since `before`, and stays: who was killed last needs a moment.
pub fn left_since(before: &BTreeSet<String>) -> Vec<String> {
    let left = || -> Vec<String> { all().difference(before).cloned().collect() };
    try_until(|| left().is_empty().then(Vec::new)).unwrap_or_else(left)
}

/// The name that corten gives to its programs.
const NAME: &[u8; 16] = b"corten_devices\0\0";

/// Ids of the kernel's, none of which is used a second time soon. A program goes with the cgroup that it is attached to.
fn device_programs() -> Vec<u32> {
    const BPF_PROG_GET_NEXT_ID: i32 = 11;
    let mut ids = Vec::new();
    // Start, next, flags.
    let mut arguments = [0_u32; 3];
    while bpf(BPF_PROG_GET_NEXT_ID, &mut arguments).is_some() {
        let id = arguments[1];
        ids.extend(is_ours(id).then_some(id));
        arguments = [id, 0, 0];
    }
    ids
}

/// struct bpf_attr, of BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct GetInfo {
    program: i32,
    length: u32,
    info: *mut Info,
}

/// struct bpf_prog_info, up to its name.
#[repr(C)]
#[derive(Default)]
struct Info {
    before: [u64; 8],
    name: [u8; 16],
}

/// It may be gone by now.
fn is_ours(id: u32) -> bool {
    const BPF_PROG_GET_FD_BY_ID: i32 = 13;
    const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
    let Some(program) = bpf(BPF_PROG_GET_FD_BY_ID, &mut [id, 0, 0]) else { return false };
    // SAFETY: the kernel has just made it, for us.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    let mut info = Info::default();
    let length = u32::try_from(size_of::<Info>()).unwrap();
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut GetInfo { program: program.as_raw_fd(), length, info: &raw mut info });
    info.name == *NAME
}

/// `None`: there is no such program. Whatever else is wrong fails the test, which would see nothing.
fn bpf<T>(command: i32, arguments: &mut T) -> Option<i32> {
    // SAFETY: the arguments, and what they point to, outlive the call, and the size is theirs.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *arguments, size_of::<T>()) };
    let error = Error::last_os_error();
    assert!(answer >= 0 || error.raw_os_error() == Some(libc::ENOENT), "bpf({command}): {error}");
    i32::try_from(answer).ok().filter(|answer| *answer >= 0)
}
