//! The rendezvous between the host and the container's process, all of them.
//!
//! ```text
//!    inside                          host
//!                ◄── plan ──         first of all
//!                ◄── Go(fd) ──       its new network namespace (without a new user namespace)
//!    MapsPlease ─────────────►       writes uid_map, gid_map, timens_offsets     (intermediate only)
//!                ◄── Go ──
//!    FirstProcess(pidfd) ────►       goes on with that one                       (intermediate only)
//!                ◄── Go ──           "you are in your cgroup"                    (v1 only)
//!    SourcePlease(step) ─────►       opens it, maps its ids    (each id-mapped or unreachable bind mount)
//!                ◄── Go(fd) ──
//!    EnvironmentMade ────────►       network devices, prestart, createRuntime    (only with such hooks)
//!                ◄── Go ──
//!    Terminal(fd, name) ─────►       hands it to the console socket, or relays it
//!    Listener(number) ───────►       takes it, hands it to the seccomp agent              (only with SCMP_ACT_NOTIFY)
//!    Ready ──────────────────►       sets limits; create returns
//!                ◄── Start ──                                                    (create: through a FIFO)
//!    Executing ──────────────►       and the end of file: the program runs
//!
//!    Log(..), Phase(..), Failed(error)       at any time
//! ```
//!
//! Where nobody has anything to do between "ready" and the start, Start is said as soon as the process may do without us: neither
//! then waits for the other, and a `run` takes a tenth less. It is another byte than Go, so that it is not taken for an answer.
//!
//! A stream socket; a message is its length, four bytes, and then itself in postcard's format. A descriptor travels with
//! the first byte of its message. Between the filter being loaded and execve only read(2) and write(2) are used, and sendmsg(2)
//! once, where a user without privileges adds a process to a container whose filter has a listener.

pub mod host_end;
pub mod inside_end;

pub use host_end::HostEnd;
pub use inside_end::InsideEnd;

use std::ffi::CStr;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, OrCall, Refusal, Result};
use crate::fs::sockets::limit_writes;

/// What the container's side says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromInside {
    /// A new user or time namespace is made.
    MapsPlease,
    /// The first process of the container; its pidfd comes along.
    FirstProcess,
    /// A bind mount is next whose source takes the host's rights.
    SourcePlease {
        /// Its place in the plan.
        step: usize,
        /// Why we could not open it; `None`: we did not try.
        refusal: Option<Error>,
    },
    /// Namespaces and mounts are there, the root is not changed yet.
    EnvironmentMade,
    /// A pseudoterminal; its master comes along.
    Terminal {
        /// `/dev/pts/0`.
        name: String,
    },
    /// The filter is loaded, and has a listener; it comes along if the host cannot take it.
    Listener {
        /// The descriptor, there: always four bytes, filled in at last.
        number: [u8; 4],
    },
    /// Everything is done but to start.
    Ready,
    /// The next call is execve.
    Executing,
    /// For the log.
    Log {
        /// Whether it is a warning; else it is for debugging.
        warning: bool,
        /// One line.
        text: String,
    },
    /// A phase has ended ([`crate::timing`]).
    Phase {
        /// The record.
        text: String,
    },
    /// That was it.
    Failed(Error),
    /// The same, from a script (`sys::script`). [`HostEnd::receive`] makes a `Failed` of it.
    Refused {
        /// What was refused.
        refusal: Refusal,
        /// The errno, or 0: always four bytes, filled in at last.
        errno: [u8; 4],
    },
}

/// `argv[0]` of the sealed child; `argv[1]` is the number of its end of the channel.
pub const SEALED_NAME: &CStr = c"corten:[INIT]";

/// `argv[2]` of one who is to tell its phases.
pub const TELL_PHASES: &CStr = c"timing";

/// The byte that says: go on.
const GO: u8 = b'g';

/// The byte that says: execute the program.
const START: u8 = b's';

/// A message may not be longer: no side is to make the other allocate what it likes.
const MAX_MESSAGE: usize = 1 << 26;

/// How long the container's process may take to listen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Both ends.
pub fn pair() -> Result<(HostEnd, InsideEnd)> {
    let (host, inside) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).or_call(|| "socketpair")?;
    // What we send is a plan that may be longer than the kernel holds, to a process that may be stopped.
    limit_writes(&host, PATIENCE)?;
    Ok((HostEnd::new(host), InsideEnd::new(inside)))
}

/// The message that a refusal is, but for the errno, which are its last four bytes.
pub fn refusal(refusal: Refusal) -> Vec<u8> {
    // Strings and numbers always have this form.
    encode(&FromInside::Refused { refusal, errno: [0; 4] }).unwrap_or_default()
}

/// As it is sent.
pub fn encode(message: &FromInside) -> Result<Vec<u8>> {
    let body = postcard::to_stdvec(message).map_err(|error| malformed(&error))?;
    let mut frame = u32::try_from(body.len()).map_err(|_| malformed(&"too long"))?.to_le_bytes().to_vec();
    frame.extend(body);
    Ok(frame)
}

fn malformed(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Failed, format!("malformed message between the host and the container's process: {why}"))
}
