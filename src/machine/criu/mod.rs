//! CRIU, which takes processes down to files and makes them anew: over its RPC, as `criu swrk` that we start.
//!
//! [`messages`] is what goes over the socket, [`Session`] the conversation, [`log`] what CRIU says about a failure.

pub mod log;
pub mod messages;
mod session;

use std::fmt;

pub use session::{Notification, Session, Streams, Surroundings};

/// CRIU's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: i32,
    minor: i32,
}

/// COMPAT(containerd, CRI-O, Podman): what they ask for, too. It has all that we use: freezing on cgroup v2, network and pid
/// namespaces from outside, other security labels.
const OLDEST: Version = Version { major: 3, minor: 16 };

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
