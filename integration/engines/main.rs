//! The program under test below real engines: what their users see, and what the kernel says.
//!
//! `integration/engines/suite` runs this apart from the machine, in mount, pid and network namespaces of its own. An engine is
//! started when its first case begins, serves all of them side by side, and is stopped at the end. Then nothing may be left:
//! neither a process nor a mount, a cgroup, a container's state or a network interface.
//!
//! `CORTEN=/usr/sbin/runc` runs the same cases with runc below the engines. Where corten does otherwise, the case says why
//! (`differs!`); what fails only with corten is a defect of corten.
//!
//! `CORTEN_CASES` are parts of names, of which a case must have one to run: for some of many.
//!
//! A new engine is a type with [`Engine`], its cases, and a line in [`main`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on fails; its name says what it is about"
)]
#![cfg(target_os = "linux")]

use std::process::ExitCode;

use libtest_mimic::Arguments;

use support::engine::Group;
use support::machine::Machine;

mod containerd;
mod cri;
mod docker;
mod podman;
mod support;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    support::case::remember_panics();
    let before = Machine::now();
    let docker = Group::<docker::Docker>::new();
    let remapped = Group::<docker::remapped::Remapped>::new();
    let containerd = Group::<containerd::Containerd>::new();
    let podman = Group::<podman::Podman>::new();
    let trials = match podman::is_a_users() {
        true => vec![podman.trials()],
        false => vec![docker.trials(), remapped.trials(), containerd.trials(), podman.trials()],
    };
    let wanted = std::env::var("CORTEN_CASES").unwrap_or_default();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.split_whitespace().any(|part| name.contains(part));
    let trials = trials.into_iter().flatten().filter(|it| is_wanted(it.name())).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if arguments.list {
        // That is not apart from the machine, where others come and go.
        return conclusion.exit_code();
    }
    let mut left = [docker.stop(), remapped.stop(), containerd.stop(), podman.stop()].concat();
    left.extend(before.left());
    left.iter().for_each(|it| println!("left behind: {it}"));
    if left.is_empty() { conclusion.exit_code() } else { ExitCode::FAILURE }
}
