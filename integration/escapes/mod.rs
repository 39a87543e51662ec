//! Attacks on container runtimes that worked once: a test per CVE of runc, crun and youki, each as its advisory tells it.
//!
//! A test asserts that the attacker did not get what it wanted, not how it was refused: the host's files and mounts and the
//! runtime's binary are as before ([`host`]), and nothing of the host was seen or run inside. Where the attack is a race,
//! it is run for some seconds ([`race`]). `docs/security.md` lists what stops each, and with which weakening of corten its
//! test was seen to fail.
//!
//! Every target is a file of the test's own, or something that belongs to the container's namespaces (its host name): an
//! attack that succeeds harms nobody.

mod cgroups;
mod console;
mod dev;
mod executable;
mod host;
mod kernel_filesystems;
mod kernel_writes;
mod masks;
mod messages;
mod mount_points;
mod processes;
mod race;

mod stdio;
mod users;
mod working_directory;

use crate::support::Bundle;

/// The image's own `/dev` stays in sight: no engine does this, but the specification allows it.
fn without_mounts_at_dev(mut bundle: Bundle) -> Bundle {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle
}
