//! `linux.seccomp`: a profile of system calls becomes a program that the kernel runs before each of them.
//!
//! [`compile`] is pure: names become numbers per architecture (`abi`, with libseccomp's tables), the rules of each call
//! become one verdict (`rules`, with libseccomp's precedence), verdicts become ranges of numbers with exceptions, and those a
//! balanced tree ([`plan`]), which is written from its end to its beginning (`assemble`). [`inside::load`] gives it to the kernel,
//! the last thing, or nearly, that a container's process does as ours. `exec` loads the same [`Filter`], from the state
//! directory. A filter that notifies has a listener, which goes to an agent ([`host`]).
//!
//! ```text
//!   seccomp_data.arch
//!     │
//!     ├─ x86_64 ──► nr ≥ 0x4000_0000 ? ──no──► nr ≥ 187 ? ─ … ─► ALLOW | ERRNO(EPERM) | …          one leaf per range
//!     │             (x32 shares the            │                 │                                of numbers
//!     │             architecture)              │                 └► clone: flags & … == 0 ? ─► ALLOW   rules about
//!     │                                        │                                            └► default arguments
//!     │                                        └ nr > the highest that the profile names ─► ERRNO(ENOSYS)
//!     ├─ x86 ─────► …                           socketcall(2) and ipc(2) are asked which call they stand for
//!     └─ other ───► KILL
//! ```
//!
//! Why not libseccomp's own compiler: for the profile of Debian's Docker it takes 7.2 ms (9.2 ms in a fresh process) and makes,
//! in its default linear form, 960 instructions; the kernel takes 740 µs to load them, because it runs the program once for
//! each number to learn which ones are always allowed. Here it is 0.11 ms (0.23 ms in a fresh process), much of that for
//! looking up names; 235 instructions, of which a call runs the few on its way down the tree; 109 µs to load. No cache is
//! needed. `benches/seccomp.rs` measures it.
//!
//! The tests compare both programs number by number and argument by argument; the fuzz target compares ours with `meaning`,
//! which reads the profile without compiling it. What differs from libseccomp, and why:
//!
//! - The range of ENOSYS is runc's: a C library that probes for a new call must learn that it is not there, not that it
//!   is forbidden. A call's own number beside socketcall(2) or ipc(2) counts as named; for runc it does not.
//! - libseccomp (2.5.4) merges the rules of a call, and mixes up some of them: orders (`<`, `>=`…) of 64 bits with
//!   different upper halves, several masks on one argument, what comes after `!=` or an order. Calls are then let through,
//!   or not, against every rule. Here each rule does what it says.
//! - With `!=` and another rule about the same argument, of another action, libseccomp's choice depends on the upper half
//!   of the argument. Here it is always the one that it makes when that half is equal.
//! - Two rules with the same effect, one written EQ, one MASKED_EQ with all bits, and different actions, contradict each
//!   other: an error, as for two with EQ.
//! - It forgets to load the number when an architecture's first rule is about a call that the architecture lacks.

mod abi;
mod assemble;
pub mod host;
pub mod inside;
#[cfg(any(test, fuzzing))]
pub mod meaning;
pub mod plan;
mod rules;
#[cfg(test)]
mod tests;

pub use crate::sys::seccomp::Instruction;
pub use abi::architectures;
pub use plan::{Filter, compile};

/// The flags that a profile can name, behind `SECCOMP_FILTER_FLAG_`, and their bits for seccomp(2).
pub const FLAGS: [(&str, u64); 4] = [
    ("TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC),
    ("SPEC_ALLOW", libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
    ("LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    ("WAIT_KILLABLE_RECV", libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV),
];

/// Whether this kernel takes such a flag.
pub fn is_supported(flag: u64) -> bool {
    // Of notifications, so there must be a listener.
    let listener = match flag {
        libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        _ => 0,
    };
    crate::sys::seccomp::knows_flags(flag | listener)
}
