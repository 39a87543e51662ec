//! What the usual container costs: system calls of `run` with the configuration that `spec` writes, counted with strace(1).
//!
//! What a container does not use must cost it nothing, so there is a ceiling, which a property that is added does not raise. Who
//! saves calls lowers it; who has to raise it says for what.
//!
//! Not counted are calls that are not the same in each run and each build: waiting, memory, and a look at each descriptor
//! (`F_GETFD`) with which Rust's library watches programs that are built for debugging. Without them both builds make as many.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::support::cgroup::{self, View};
use crate::support::peer::program;
use crate::support::run::Run;
use crate::support::{Bundle, differs, requires};

/// cgroup v1, of a machine with so many hierarchies, each of which has a group for the container. 879 or 882 were counted: three
/// more when `run` learns of the program's end by its signal before it does by the pidfd. One asks whether our own cgroup, which
/// is not the root in one of the hierarchies, is a parent that goes with the container.
const CEILING_HYBRID: u32 = 882;
const HIERARCHIES: usize = 10;

/// cgroup v2: 576 or 579, for the same reason, and seven more in the guest, where our own cgroup is one level below the root's and
/// there is a /proc/kcore to link to: 583 or 586.
const CEILING_UNIFIED: u32 = 586;

const MEMORY: [&str; 6] = ["brk", "madvise", "mmap", "mprotect", "mremap", "munmap"];
const WAITING: [&str; 4] = ["futex", "poll", "ppoll", "restart_syscall"];

/// How often each call stands in strace's output. A call that another process interrupts has a second line, `<... resumed>`.
fn counted(trace: &str) -> BTreeMap<String, u32> {
    let mut calls = BTreeMap::new();
    for line in trace.lines() {
        let Some((_, call)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        let is_name =
            name.bytes().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_');
        if is_name && ![&MEMORY[..], &WAITING].concat().contains(&name) && !arguments.contains("F_GETFD") {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

#[test]
fn run_of_the_default_configuration() {
    differs!(Runc | Crun, "the ceilings are ours");
    requires!(rustix::process::geteuid().is_root(), "root, for whom the configuration is");
    requires!(Run::new("sh").args(["-c", "strace true"]).output().status.success(), "strace, which may trace");
    requires!(cgroup::hierarchies().len() <= HIERARCHIES, "a machine with as few hierarchies");
    let bundle = Bundle::new();
    Run::new(program()).arg("spec").dir(&bundle.bundle()).output().ok().silent();
    let file = bundle.bundle().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    // A path costs more where it exists: these do everywhere, a file and a directory, of those that `spec` masks few do.
    config["linux"]["maskedPaths"] = json!(["/proc/interrupts", "/proc/tty"]);
    config["linux"]["readonlyPaths"] = json!(["/proc/fs", "/proc/irq", "/proc/sys"]);
    fs::write(&file, config.to_string()).unwrap();
    let trace = bundle.path("trace");
    let bundle = bundle.through(["strace", "--follow-forks", "--output", trace.to_str().unwrap()]);
    let least = (0..3).map(|_| {
        bundle.command("run").output().ok().silent();
        let calls = counted(&fs::read_to_string(&trace).unwrap());
        // Corten, its sealed copy and the program: nobody was missed.
        assert_eq!(calls["execve"] + calls["execveat"], 3, "{calls:#?}");
        (calls.values().sum::<u32>(), calls)
    });
    let (sum, calls) = least.min_by_key(|(sum, _)| *sum).unwrap();
    let ceiling = if cgroup::view() == View::Unified { CEILING_UNIFIED } else { CEILING_HYBRID };
    assert!(sum <= ceiling, "{sum} system calls are more than {ceiling}: {calls:#?}");
}
