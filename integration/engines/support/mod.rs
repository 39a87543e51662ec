//! What the cases are written with: an engine and its daemon, an image, the machine before and after. The rest is shared with the
//! tests that have no engine.

// Not everything of theirs is needed here.
#![allow(dead_code)]

pub mod case;
pub mod cgroup;
pub mod daemon;
pub mod engine;
pub mod image;
pub mod machine;
pub mod place;
pub mod snippet;

#[path = "../../support/mountinfo.rs"]
pub mod mountinfo;
#[path = "../../support/peer.rs"]
pub mod peer;
#[path = "../../support/pty.rs"]
pub mod pty;
#[path = "../../support/rootfs.rs"]
pub mod rootfs;
#[path = "../../support/run.rs"]
pub mod run;
#[path = "../../support/skip.rs"]
pub mod skip;
#[path = "../../support/wait.rs"]
pub mod wait;

pub use peer::Peer;
pub(crate) use skip::{differs, requires};
