//! Which functions of the program a container's life needs, in the order in which they run: for the linker (`build.rs`).
//!
//! ```text
//! order MAP CORTEN
//! ```
//!
//! Runs each command for the configurations of the benchmark, instruction by instruction (ptrace(2)), and looks up in the linker's
//! map where it was.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::zombie_processes,
    missing_docs,
    reason = "whatever is wrong ends it; what it starts it waits for by ptrace"
)]

#[allow(dead_code, reason = "shared with the benchmark")]
#[path = "../launch/bundles.rs"]
mod bundles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use bundles::Bundles;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, map, corten, ..] = arguments.as_slice() else { panic!("order MAP CORTEN") };
    let directory = tempfile::tempdir().unwrap();
    let mut order = Order { functions: functions(&fs::read_to_string(map).unwrap()), found: BTreeSet::new() };
    for (name, like_docker) in [("spec", false), ("docker", true)] {
        let bundles = Bundles::write(directory.path(), name, like_docker);
        let (ending, sleeping) = (bundles.ending.to_str().unwrap(), bundles.sleeping.to_str().unwrap());
        for words in [
            &["run", "--bundle", ending, "ordered"][..],
            &["create", "--bundle", sleeping, "ordered"],
            &["start", "ordered"],
            &["exec", "ordered", "/bin/true"],
            &["state", "ordered"],
            &["kill", "ordered", "KILL"],
            &["delete", "--force", "ordered"],
        ] {
            order.trace(Path::new(corten), &directory.path().join("state"), words);
        }
    }
}

struct Order {
    /// By their beginnings: where they end, and what they are called.
    functions: BTreeMap<u64, (u64, String)>,
    found: BTreeSet<u64>,
}

impl Order {
    /// A command, with what it clones, for as long as it is the same program.
    fn trace(&mut self, corten: &Path, state: &Path, words: &[&str]) {
        let mut command = Command::new(corten);
        command.arg("--root").arg(state).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: one system call.
        unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
        let child = command.spawn().unwrap();
        let first = Pid::from_raw(child.id().cast_signed());
        assert_eq!(waitpid(first, None), Ok(WaitStatus::Stopped(first, Signal::SIGTRAP)));
        let follow = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
        ptrace::setoptions(first, follow | Options::PTRACE_O_TRACEEXEC).unwrap();
        self.look(first);
        ptrace::step(first, None).unwrap();
        let mut traced = BTreeSet::from([first]);
        while !traced.is_empty() {
            match waitpid(None, Some(WaitPidFlag::__WALL)).unwrap() {
                WaitStatus::Exited(pid, status) => {
                    assert!(pid != first || status == 0, "{words:?}: {status}");
                    traced.remove(&pid);
                }
                WaitStatus::Signaled(pid, ..) => _ = traced.remove(&pid),
                WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                    ptrace::detach(pid, None).unwrap();
                    traced.remove(&pid);
                }
                WaitStatus::PtraceEvent(pid, ..) | WaitStatus::Stopped(pid, Signal::SIGTRAP | Signal::SIGSTOP) => {
                    traced.insert(pid);
                    self.look(pid);
                    // It may have been killed.
                    let _ = ptrace::step(pid, None);
                }
                WaitStatus::Stopped(pid, signal) => _ = ptrace::step(pid, signal),
                _ => {}
            }
        }
    }

    fn look(&mut self, pid: Pid) {
        let Ok(registers) = ptrace::getregs(pid) else { return };
        let Some((begin, (end, name))) = self.functions.range(..=registers.rip).next_back() else { return };
        if registers.rip < *end && self.found.insert(*begin) {
            println!("{name}");
        }
    }
}

/// Columns of lld's `-Map`: of output sections, and of symbols.
const SECTIONS: usize = 49;
const SYMBOLS: usize = 65;

/// Address, address again, size, alignment, and the name, of what is in `.text`.
fn functions(map: &str) -> BTreeMap<u64, (u64, String)> {
    let sections = map.lines().skip_while(|line| line.get(SECTIONS..) != Some(".text")).skip(1);
    let lines = sections.take_while(|line| line.get(SECTIONS..).is_some_and(|name| name.starts_with(' ')));
    let function = |line: &str| {
        let mut numbers = line.split_ascii_whitespace();
        let (begin, size) = (numbers.next()?, numbers.nth(1)?);
        let (begin, size) = (u64::from_str_radix(begin, 16).ok()?, u64::from_str_radix(size, 16).ok()?);
        // What has no blanks before it is the object that the symbols below come from.
        let (before, name) = line.get(SECTIONS..)?.split_at_checked(SYMBOLS - SECTIONS)?;
        if size == 0 || !before.trim().is_empty() || name.starts_with(' ') {
            return None;
        }
        Some((begin, (begin + size, name.to_owned())))
    };
    lines.filter_map(function).collect()
}
