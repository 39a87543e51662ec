//! Control groups: where a container's processes are counted and limited.
//!
//! ```text
//! linux.cgroupsPath ─► path ─► groups: one per hierarchy ─┐
//! linux.resources ──► limits: v1 | v2: a list of writes ──┴─► host: make, write, be born in or join, freeze, kill, remove
//! the kernel's files ◄── host: read ◄── stats: what was used; host: watch: OOM kills, and the end
//! ```
//!
//! With systemd's driver a transient unit comes before the groups ([`systemd`]); the rest is the same.
//!
//! The plan is a value: every file that would be written, with the property that asks for it. The host's side carries it
//! out before anybody is inside. On v2 the container's first process is *born* in its group (CLONE_INTO_CGROUP); a write
//! to `cgroup.procs` would cost a grace period of 7-17 ms on an idle machine. On v1 there is no other way, so the write
//! is made while the container builds its root.
//!
//! An update is the same list again, planned from what the files say now; `restore` knows how each write is taken back.

pub mod device_filter;
pub mod host;
pub mod limits;
pub mod path;
pub mod plan;
mod restore;
pub mod stats;
pub mod systemd;
mod v1;
mod v2;

pub use plan::{CgroupPlan, Driver, Group, IfDenied, Placement, Version, When, Wishes, Write};
pub use stats::Stats;
