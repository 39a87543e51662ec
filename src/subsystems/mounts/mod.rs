//! The container's root filesystem: what is mounted where, and how the root becomes the root.
//!
//! ```text
//! plan     options understood, kinds of mounts told apart            (pure)
//! host     sources opened as detached copies, attributes already on them
//! inside   attach ─► devices, links ─► change_root ─► mask, read-only
//! ```
//!
//! A source is opened once, by the host, while host paths mean what the configuration means; a target is resolved once,
//! below the root, by the kernel; and `move_mount` joins the two descriptors. No path is used twice.

pub mod copies;
pub mod copy_up;
pub mod host;
pub mod inside;
pub mod mask;
pub mod options;
pub mod plan;

pub use plan::{MountsPlan, RootSwitch};
