//! Integration tests: everything that needs root, a kernel or another program.
//!
//! A file per subsystem. Each test makes a bundle, lets the program under test make a real container of it, and looks at
//! it from inside and from outside. `CORTEN=/usr/sbin/runc` runs the same tests against another runtime: what runc or
//! crun does differently is skipped there with a printed reason, so that a failure says something about us.
//!
//! With `CORTEN_ALL=1` the known differences are tried too, to see whether they still are.
//!
//! The suite runs in two views of the machine's cgroups: as they are (v1 hierarchies with cgroup2 beside them), and with
//! cgroup2 alone, for which the whole binary is started by `integration/cgroup2-view`. [`support::cgroup::view`] tells
//! which one it is. A third run is in a guest with systemd and all controllers (`integration/vm`). Further ones there have the
//! tests that may differ (`integration/vm/passes`): as a user without privileges, under his own service manager and in a
//! session beside it, and with systemd on cgroup v1. What a test needs it says itself, with `requires!`, and
//! `integration/coverage` finds the tests that no run has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on fails; its name says what it is about"
)]
#![cfg(target_os = "linux")]

use corten::error::phrases;

mod support;

mod busy_parents;
mod capabilities;
mod cgroup_removal;
mod cgroups;
mod churn;
mod cli;
mod concurrency;
mod delegation;
mod devices;
mod engine_configs;
mod errors;
mod escapes;
mod events;
mod exec;
mod fds;
mod hooks;
mod idmap;
mod keyring;
mod kill_delete;
mod lifecycle;
mod logging;
mod lsm;
mod masked_readonly;
mod mount_options;
mod mounts;
mod namespaces;
mod nested;
mod net_devices;
mod pause;
mod pidfile;
mod process;
mod propagation;
mod ps;
mod rdt;
mod readiness;
mod resources;
mod rlimits;
mod rootfs;
mod rootless;
mod scheduling;
mod seccomp;
mod selinux;
mod spec_rules;
mod state_and_list;
mod sysctl;
mod system_calls;
mod systemd;
mod systemd_life;
mod systemd_update;
mod terminal;
mod timing;
mod troubled_machines;
mod update;
mod users;
