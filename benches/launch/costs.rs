//! What is not time: system calls and memory.

use std::fmt::Write;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::bundles::Bundles;
use crate::runtime::Runtime;

const HEAD: &str = "\
| | configuration | system calls of `run` | peak RSS of `run` | waiting init: RSS | PSS | charged to its cgroup | the program's size |
|---|---|---|---|---|---|---|---|
";

/// A row per runtime and configuration.
pub fn render(runtimes: &[Runtime], configurations: &[(&str, &Bundles)]) -> String {
    let mut text = HEAD.to_owned();
    for runtime in runtimes {
        for (name, bundles) in configurations {
            let mut cells = vec![runtime.name.clone(), (*name).to_owned(), system_calls(runtime, bundles).to_string()];
            if runtime.is_floor() {
                cells.resize(8, String::new());
            } else {
                let init = waiting_init(runtime, &bundles.sleeping);
                cells.extend([peak_of_run(runtime, &bundles.ending), init.rss, init.pss].map(kib));
                cells.push(init.charged.map_or_else(|| "no memory controller".to_owned(), kib));
                cells.push(kib(fs::metadata(&runtime.path).unwrap().len()));
            }
            writeln!(text, "| {} |", cells.join(" | ")).unwrap();
        }
    }
    text
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}

/// Those of the container's process, and of its program, too.
fn system_calls(runtime: &Runtime, bundles: &Bundles) -> u64 {
    let summary = bundles.ending.join("strace");
    let mut strace = Command::new("strace");
    strace.args(["--follow-forks", "--summary-only", "--output", summary.to_str().unwrap()]);
    let traced = runtime.command(&["run", "--bundle", bundles.ending.to_str().unwrap(), "bench"]);
    let status = strace.arg(traced.get_program()).args(traced.get_args()).status().unwrap();
    assert!(status.success(), "strace of {}: {status}", runtime.name);
    // `100.00    0.012345          12       987       123 total`
    let summary = fs::read_to_string(summary).unwrap();
    let total = summary.lines().find(|line| line.ends_with(" total")).unwrap();
    total.split_whitespace().nth(3).unwrap().parse().unwrap()
}

/// The process between `create` and `start`, in bytes.
struct WaitingInit {
    rss: u64,
    /// Its share of what it has in common with others.
    pss: u64,
    /// With what the kernel holds for it, since it is in its cgroup.
    charged: Option<u64>,
}

fn waiting_init(runtime: &Runtime, bundle: &Path) -> WaitingInit {
    let file = bundle.join("pid");
    runtime.call(&["create", "--bundle", bundle.to_str().unwrap(), "--pid-file", file.to_str().unwrap(), "bench"]);
    let pid = fs::read_to_string(&file).unwrap();
    let proc = Path::new("/proc").join(pid.trim());
    let rollup = fs::read_to_string(proc.join("smaps_rollup")).unwrap();
    let groups = fs::read_to_string(proc.join("cgroup")).unwrap();
    let charged = usage_file(&groups).and_then(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    runtime.call(&["delete", "--force", "bench"]);
    runtime.wait_for_end();
    WaitingInit { rss: figure(&rollup, "Rss:"), pss: figure(&rollup, "Pss:"), charged }
}

/// Where the kernel tells what is charged to a process' cgroup, from its `/proc/PID/cgroup`.
fn usage_file(groups: &str) -> Option<PathBuf> {
    let path = |prefix: &str| groups.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(prefix));
    let v1 = path("memory:/").map(|path| format!("memory/{path}/memory.usage_in_bytes"));
    let file = v1.or_else(|| Some(format!("{}/memory.current", path(":/")?)))?;
    Some(Path::new("/sys/fs/cgroup").join(file))
}

/// The most that the command itself, without the container, ever had resident, in bytes.
fn peak_of_run(runtime: &Runtime, bundle: &Path) -> u64 {
    let mut command = runtime.command(&["run", "--bundle", bundle.to_str().unwrap(), "bench"]);
    // SAFETY: traceme is one system call on constants.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    // Stopped at execve, then at its exit, when it is still all there.
    waitpid(pid, None).unwrap();
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACEEXIT).unwrap();
    let mut signal = None;
    let peak = loop {
        ptrace::cont(pid, signal).unwrap();
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceEvent(..) => {
                break figure(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), "VmHWM:");
            }
            // It executed itself again.
            WaitStatus::Stopped(_, Signal::SIGTRAP) => signal = None,
            WaitStatus::Stopped(_, other) => signal = Some(other),
            other => panic!("{}: {other:?}", runtime.name),
        }
    };
    ptrace::cont(pid, None).unwrap();
    assert!(child.wait().unwrap().success());
    peak
}

/// A figure of a file of /proc, which has it in KiB, in bytes.
fn figure(text: &str, name: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    rest.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
