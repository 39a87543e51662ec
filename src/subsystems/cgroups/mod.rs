//! Control groups: where a container's processes are counted and limited.
//!
//! ```text
//! linux.cgroupsPath ─► path ─► groups: one per hierarchy ─┐
//! linux.resources ──► v1 | v2: a list of writes ──────────┴─► host: make, write, be born in or join, kill, remove
//! ```
//!
//! With systemd's driver a transient unit comes before the groups ([`systemd`]); the rest is the same.
//!
//! The plan is a value: every file that would be written, with the property that asks for it. The host's side carries it
//! out before anybody is inside. On v2 the container's first process is *born* in its group (CLONE_INTO_CGROUP); a write
//! to `cgroup.procs` would cost a grace period of 7-17 ms on an idle machine. On v1 there is no other way, so the write
//! is made while the container builds its root.

pub mod device_filter;
pub mod host;
pub mod path;
pub mod plan;
pub mod systemd;
mod v1;
mod v2;

pub use plan::{CgroupPlan, Driver, Group, Placement, Version, Write};
