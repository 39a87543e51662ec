//! The irreversible steps of the container's side, as types without data.
//!
//! ```text
//! Inside  ── our own process, the host's files still visible
//!   │ change_root
//!   ▼
//! InRoot  ── every path is the container's
//!   │ drop_privileges
//!   ▼
//! Unprivileged ── nothing privileged can follow
//! ```
//!
//! A step asks for the door that it needs, and the next door is made by consuming the last one: masking a path before the
//! root was changed does not compile. Only `crate::inside` makes the first one (`src/layers.rs` looks), so a function that
//! must not run in a caller's thread is one that asks for a door: a caller has none to give.

/// Our own process, with one thread, in the container's namespaces; the old root is still there.
#[derive(Debug)]
pub struct Inside(());

/// The root is the container's.
#[derive(Debug)]
pub struct InRoot(());

/// Ids and capabilities are the container's.
#[derive(Debug)]
pub struct Unprivileged(());

impl Inside {
    /// The process has just started: called by `inside` only.
    pub(crate) fn first_step() -> Self {
        Self(())
    }

    /// Called by `mounts::inside::change_root` when it is done.
    pub(in crate::subsystems) fn root_changed(self) -> InRoot {
        InRoot(())
    }
}

impl InRoot {
    /// Called by `process::inside::drop_privileges` when it is done.
    pub(in crate::subsystems) fn privileges_dropped(self) -> Unprivileged {
        Unprivileged(())
    }
}
