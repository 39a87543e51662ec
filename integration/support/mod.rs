//! What the tests are written with: a bundle, a container that cleans up after itself, a command with a deadline.

pub mod agent;
pub mod bpf;
pub mod bundle;
pub mod cgroup;
pub mod container;
pub mod criu;
pub mod holder;
pub mod manager;
pub mod mountinfo;
pub mod peer;
pub mod probe;
pub mod pty;
pub mod refusal;
pub mod rootfs;
pub mod run;
pub mod sandbox;
pub mod skip;
pub mod strace;
pub mod systemd;
pub mod wait;

pub use bundle::Bundle;
pub use container::Container;
pub use peer::Peer;
pub use sandbox::Sandbox;
pub(crate) use skip::{differs, requires};
