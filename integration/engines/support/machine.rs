//! What the cases must leave as it was.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::mountinfo::Mountinfo;
use super::wait::try_until;

/// The mounts, processes and network interfaces of our namespaces, in words.
pub struct Machine {
    things: BTreeSet<String>,
}

/// Whether engines confine containers with their own profiles of AppArmor, which deny mounts and user namespaces.
pub fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|it| it == "Y\n")
}

/// Whether there is CRIU, and a kernel and rights for it.
pub fn has_criu() -> bool {
    let check = Command::new("criu").arg("check").output();
    check.is_ok_and(|output| output.status.success())
}

/// What engines keep for the next time: their bridges.
const KEPT: [&str; 2] = ["interface docker0", "interface cni-podman0"];

impl Machine {
    pub fn now() -> Self {
        Self { things: [mounts(), processes(), interfaces()].into_iter().flatten().collect() }
    }

    /// What is there that was not, once those had time to go who are about to.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        try_until(|| {
            let is_new = |it: &&String| !self.things.contains(*it) && !KEPT.contains(&it.as_str());
            left = Self::now().things.iter().filter(is_new).cloned().collect();
            left.is_empty().then_some(())
        });
        left
    }
}

fn mounts() -> Vec<String> {
    let mounts = Mountinfo::of_self().lines;
    mounts.iter().map(|it| format!("mount {} of {} from {}", it.target, it.kind, it.source)).collect()
}

/// Without those that are about to be reaped by the first one, whose wait is under way.
fn processes() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|it| it.ok()?.file_name().into_string().ok());
    let words = |pid: String| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
        (!command.is_empty()).then(|| format!("process {pid} {command}"))
    };
    processes.filter(|pid| pid.parse::<u32>().is_ok()).filter_map(words).collect()
}

fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap();
    table.lines().filter_map(|line| Some(format!("interface {}", line.split_once(':')?.0.trim()))).collect()
}
