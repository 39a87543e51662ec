//! The groups of a container that is being created.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};

use super::controllers;
use super::delegation;
use super::directory::{Directory, is_gone};
use super::freezer::is_frozen_group;
use super::limits;
use super::oom::oom_kills;
use super::remove::remove;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::subsystems::cgroups::plan::{CgroupPlan, Group, Placement, Version, Write};
use crate::sys;
use crate::sys::bpf::Instruction;

/// The groups of a container that is being created. Dropped without [`Cgroups::keep`], what was made is removed.
#[derive(Debug, Default)]
pub struct Cgroups {
    opened: Vec<Opened>,
    /// Outermost first.
    made: Vec<PathBuf>,
    /// See [`CgroupPlan::devices_are_optional`].
    devices_are_optional: bool,
}

#[derive(Debug)]
struct Opened {
    group: Group,
    directory: Directory,
    /// Whether we made it.
    is_new: bool,
    /// KERNEL: at a limit of 0 processes nobody can be born in it, but anybody can be moved into it.
    bears_none: bool,
}

impl Cgroups {
    /// Makes the groups and writes their limits. Nobody is inside yet.
    pub fn create(plan: &CgroupPlan) -> Result<Self> {
        let mut cgroups =
            Self { opened: Vec::new(), made: Vec::new(), devices_are_optional: plan.devices_are_optional };
        for group in &plan.groups {
            let directory = cgroups.make(group)?;
            // SPEC(config-linux, "cgroupsPath"): below a frozen parent nothing would ever run.
            if is_frozen_group(group, &directory)? {
                let why = format!("container's cgroup unexpectedly frozen ({:?})", group.directory());
                return Err(Error::invalid("linux.cgroupsPath", why));
            }
            let is_new = cgroups.made.last() == Some(&group.directory());
            cgroups.opened.push(Opened { group: group.clone(), directory, is_new, bears_none: false });
        }
        if let (Some(unified), false) = (cgroups.unified(), plan.has_v1()) {
            controllers::hand_down(&unified.group, &unified.directory, &plan.writes)?;
        }
        for write in &plan.writes {
            cgroups.write(write)?;
        }
        if let (Some(user), Some(unified)) = (plan.delegate_to, cgroups.unified()) {
            delegation::give(&unified.directory, user)
                .within(|| format!("delegate cgroup {:?}", unified.group.directory()))?;
        }
        Ok(cgroups)
    }

    /// Where the first process is to be born, on v2 and hybrid hosts.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified().filter(|opened| opened.is_birthplace()).map(|opened| opened.directory.as_fd())
    }

    fn unified(&self) -> Option<&Opened> {
        self.opened.iter().find(|opened| opened.group.version == Version::V2)
    }

    fn to_join(&self) -> impl Iterator<Item = &Opened> {
        self.opened.iter().filter(|opened| !opened.is_birthplace())
    }

    /// Whether there are groups that can only be joined by a write: all of v1, and one of v2 that was there before or
    /// may have no processes.
    pub fn must_be_joined(&self) -> bool {
        self.to_join().next().is_some()
    }

    /// How many OOM kills there were before; in a group that is new there was none.
    pub fn earlier_oom_kills(&self) -> Result<u64> {
        if self.opened.iter().all(|opened| opened.is_new) {
            return Ok(0);
        }
        let groups = self.opened.iter().map(|opened| opened.group.clone()).collect();
        oom_kills(&Placement { groups, made: Vec::new() })
    }

    /// Moves a process into all groups that it was not born in.
    ///
    /// KERNEL: the first of these writes waits for an RCU grace period when the machine was idle, 7-17 ms; the container
    /// builds its root meanwhile.
    pub fn join(&self, pid: i32) -> Result<()> {
        for opened in self.to_join() {
            opened
                .directory
                .write("cgroup.procs", &pid.to_string())
                .within(|| format!("join cgroup {:?}", opened.group.directory()))?;
        }
        Ok(())
    }

    /// Attaches the device program to the v2 group.
    pub fn attach_device_program(&self, program: &[Instruction]) -> Result<()> {
        let Some(unified) = self.unified().filter(|_| !program.is_empty()) else { return Ok(()) };
        let attach = || -> Result<()> {
            let loaded = sys::bpf::load_device_program(program).or_call(|| "bpf(PROG_LOAD, CGROUP_DEVICE)")?;
            sys::bpf::attach_device_program(&unified.directory, &loaded).or_call(|| "bpf(PROG_ATTACH, CGROUP_DEVICE)")
        };
        self.unless_optional(attach().within(|| DEVICES))
    }

    /// The container is complete: its groups stay.
    pub fn keep(mut self) {
        self.opened.clear();
        self.made.clear();
    }

    /// Another container that goes may take a parent along that it made, at any moment: then we begin again.
    fn make(&mut self, group: &Group) -> Result<Directory> {
        const ATTEMPTS: usize = 16;
        let within = || format!("create cgroup {:?}", group.directory());
        for _ in 1..ATTEMPTS {
            match self.make_once(group).within(within) {
                Err(error) if error.kind() == Kind::NotFound => log::debug!("once more: {error}"),
                other => return other,
            }
        }
        self.make_once(group).within(within)
    }

    fn make_once(&mut self, group: &Group) -> Result<Directory> {
        let mut path = group.mount_point.clone();
        let mut current = Directory::at(&path)?;
        for name in group.path.split('/').filter(|name| !name.is_empty()) {
            path.push(name);
            let made = match mkdirat(&current, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(gone(Error::call(format!("mkdir({path:?})"), errno))),
            };
            if made {
                self.made.push(path.clone());
            }
            let parent = current;
            current = parent.child(name.as_ref()).map_err(gone)?;
            // Also in one that was there: another create may have made it a moment ago and not filled it yet.
            if group.controllers.iter().any(|controller| controller == "cpuset") {
                inherit_cpuset(&parent, &current)?;
            }
        }
        Ok(current)
    }

    fn write(&mut self, write: &Write) -> Result<()> {
        let Some(opened) = self.opened.get_mut(write.group) else { return Ok(()) };
        if write.file == "pids.max" {
            opened.bears_none = write.value == "0";
        }
        let written = limits::write(&opened.group, &opened.directory, write);
        if write.property.starts_with(DEVICES) { self.unless_optional(written) } else { written }
    }

    fn unless_optional(&self, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if self.devices_are_optional && error.kind() == Kind::Denied => {
                log::debug!("device rules are given up: {error}");
                Ok(())
            }
            other => other,
        }
    }
}

impl Opened {
    /// KERNEL(6.14): nobody can be born in a group that ever received `cgroup.kill`, so only in one that is new.
    fn is_birthplace(&self) -> bool {
        self.group.version == Version::V2 && self.is_new && !self.bears_none
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let new = |opened: Opened| opened.is_new.then_some(opened.group);
        let groups = self.opened.drain(..).filter_map(new).collect();
        let made = std::mem::take(&mut self.made);
        // Whoever was inside was killed, and needs a moment to be gone.
        let deadline = Instant::now() + PATIENCE;
        if let Err(error) = remove(&Placement { groups, made }, deadline) {
            log::warn!("after a failed create: {error}");
        }
    }
}

const DEVICES: &str = "linux.resources.devices";

/// How long what is left of a failed create may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A directory that was there a moment ago.
fn gone(error: Error) -> Error {
    if is_gone(&error) { error.of_kind(Kind::NotFound) } else { error }
}

/// A new v1 cpuset has no CPU and no memory node, and nobody can be moved into it.
fn inherit_cpuset(parent: &Directory, child: &Directory) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if child.read(name)?.trim().is_empty() {
            child.write(name, parent.read(name)?.trim())?;
        }
    }
    Ok(())
}
