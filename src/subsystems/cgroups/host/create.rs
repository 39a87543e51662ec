//! The groups of a container that is being created.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};

use super::directory::Directory;
use super::freezer::is_frozen_group;
use super::remove::remove;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::machine::systemd::Bus;
use crate::subsystems::cgroups::plan::{CgroupPlan, Group, Placement, Version, Write};
use crate::subsystems::cgroups::systemd::host::Placeholder;
use crate::subsystems::cgroups::systemd::{self, Unit, UnitPlan};
use crate::sys;
use crate::sys::bpf::Instruction;

/// The groups of a container that is being created. Dropped without [`Cgroups::keep`], what was made is removed.
#[derive(Debug, Default)]
pub struct Cgroups {
    opened: Vec<Opened>,
    /// Outermost first.
    made: Vec<PathBuf>,
    /// The unit that we started.
    unit: Option<Unit>,
    /// Whether only systemd may put the first process into it.
    is_attached: bool,
    /// What is in the unit instead of the first process.
    placeholder: Option<Placeholder>,
    /// To be written again when the placeholder does not count any more.
    after_placeholder: Vec<Write>,
}

#[derive(Debug)]
struct Opened {
    group: Group,
    directory: Directory,
    /// Whether we made it.
    is_new: bool,
}

impl Cgroups {
    /// Makes the groups and writes their limits. Nobody is inside yet.
    pub fn create(plan: &CgroupPlan) -> Result<Self> {
        let mut cgroups = Self::default();
        if let Some(unit) = &plan.unit {
            cgroups.start(unit)?;
        }
        for group in &plan.groups {
            let is_systemds = plan.unit.is_some() && systemd::is_systemds(group);
            let directory = if is_systemds { Self::of_unit(group)? } else { cgroups.make(group)? };
            // SPEC(config-linux, "cgroupsPath"): below a frozen parent nothing would ever run.
            if is_frozen_group(group, &directory)? {
                let why = format!("container's cgroup unexpectedly frozen ({:?})", group.directory());
                return Err(Error::invalid("linux.cgroupsPath", why));
            }
            let is_new = is_systemds || cgroups.made.last() == Some(&group.directory());
            cgroups.opened.push(Opened { group: group.clone(), directory, is_new });
        }
        cgroups.enable_controllers(plan)?;
        for write in &plan.writes {
            cgroups.limit(write)?;
        }
        Ok(cgroups)
    }

    /// Starts the unit, which is stopped when something fails.
    fn start(&mut self, plan: &UnitPlan) -> Result<()> {
        self.unit = Some(plan.unit.clone());
        match systemd::host::start(plan) {
            Ok(placeholder) => self.placeholder = placeholder,
            Err(error) => {
                // There is one of that name: it is somebody else's, and stays.
                if error.kind() == Kind::Busy {
                    self.unit = None;
                }
                return Err(error).within(|| "linux.cgroupsPath");
            }
        }
        self.is_attached = match &plan.common {
            None => false,
            Some(common) => Directory::at(common)?.open_file("cgroup.procs", OFlag::O_WRONLY).is_err(),
        };
        Ok(())
    }

    /// The group that systemd made.
    fn of_unit(group: &Group) -> Result<Directory> {
        let missing = || Error::new(Kind::NotFound, format!("systemd made no cgroup {:?}", group.directory()));
        Directory::open(group)?.ok_or_else(missing)
    }

    /// Where the first process is to be born, on v2 and hybrid hosts.
    ///
    /// KERNEL(6.14): nobody can be born in a group that ever received `cgroup.kill`, so only in one that is new.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified().filter(|opened| opened.is_new && !self.is_attached).map(|opened| opened.directory.as_fd())
    }

    fn unified(&self) -> Option<&Opened> {
        self.opened.iter().find(|opened| opened.group.version == Version::V2)
    }

    fn to_join(&self) -> impl Iterator<Item = &Opened> {
        self.opened.iter().filter(|opened| opened.group.version == Version::V1 || !opened.is_new)
    }

    /// Whether there are groups that can only be joined by a write: all of v1, and one of v2 that was there before.
    pub fn must_be_joined(&self) -> bool {
        self.is_attached || self.to_join().next().is_some()
    }

    /// Moves a process into all groups that it was not born in.
    ///
    /// KERNEL: the first of these writes waits for an RCU grace period when the machine was idle, 7-17 ms; the container
    /// builds its root meanwhile.
    pub fn join(&self, pid: i32) -> Result<()> {
        if let (true, Some(unit)) = (self.is_attached, &self.unit) {
            systemd::host::attach(unit, pid)?;
        }
        for opened in self.to_join() {
            opened
                .directory
                .write("cgroup.procs", &pid.to_string())
                .within(|| format!("join cgroup {:?}", opened.group.directory()))?;
        }
        Ok(())
    }

    /// The first process is inside: nobody else is needed there.
    pub fn dismiss_placeholder(&mut self) -> Result<()> {
        if self.placeholder.take().is_none() {
            return Ok(());
        }
        std::mem::take(&mut self.after_placeholder).iter().try_for_each(|write| self.write(write))
    }

    /// Attaches the device program to the v2 group.
    pub fn attach_device_program(&self, program: &[Instruction]) -> Result<()> {
        let Some(unified) = self.unified().filter(|_| !program.is_empty()) else { return Ok(()) };
        let attach = || -> Result<()> {
            let loaded = sys::bpf::load_device_program(program).or_call(|| "bpf(PROG_LOAD, CGROUP_DEVICE)")?;
            sys::bpf::attach_device_program(&unified.directory, &loaded).or_call(|| "bpf(PROG_ATTACH, CGROUP_DEVICE)")
        };
        attach().within(|| "linux.resources.devices")
    }

    /// The container is complete: its groups stay.
    pub fn keep(mut self) {
        self.opened.clear();
        self.made.clear();
        self.unit = None;
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
            current = parent.child(name).map_err(gone)?;
            // Also in one that was there: another create may have made it a moment ago and not filled it yet.
            if group.controllers.iter().any(|controller| controller == "cpuset") {
                inherit_cpuset(&parent, &current)?;
            }
        }
        Ok(current)
    }

    /// Hands every controller that there is down to the group, as runc does: engines read statistics of all of them.
    fn enable_controllers(&self, plan: &CgroupPlan) -> Result<()> {
        // What a user's manager was given is handed down by Delegate=; the groups above are not the user's.
        let is_users = self.unit.as_ref().is_some_and(|unit| unit.bus != Bus::System);
        if plan.has_v1() || is_users {
            return Ok(());
        }
        let Some(Opened { group, directory: leaf, .. }) = self.opened.first() else { return Ok(()) };
        let root = Directory::at(&group.mount_point)?;
        let arrived = leaf.controllers()?;
        if root.controllers()?.iter().all(|controller| arrived.contains(controller)) {
            return Ok(());
        }
        let mut current = root;
        for name in group.path.split('/').filter(|name| !name.is_empty()) {
            for controller in &current.controllers()? {
                // Some cannot be enabled below processes or in threaded groups. Whether that matters shows when a limit
                // of that controller is written.
                if let Err(error) = current.write("cgroup.subtree_control", &format!("+{controller}")) {
                    log::debug!("cgroup controller {controller} stays off above {name:?}: {error}");
                }
            }
            current = current.child(name)?;
        }
        Ok(())
    }

    /// One process more may be inside as long as the placeholder is: the first one must find room to be born.
    fn limit(&mut self, write: &Write) -> Result<()> {
        let limit = (write.file == "pids.max").then(|| write.value.parse::<u64>().ok()).flatten();
        let (Some(limit), Some(_)) = (limit, &self.placeholder) else { return self.write(write) };
        self.after_placeholder.push(write.clone());
        self.write(&Write { value: limit.saturating_add(1).to_string(), ..write.clone() })
    }

    fn write(&self, write: &Write) -> Result<()> {
        let Some(Opened { group, directory, .. }) = self.opened.get(write.group) else { return Ok(()) };
        directory
            .write(&write.file, &write.value)
            .within(|| format!("{}: set {:?} of cgroup {:?}", write.property, write.file, group.path))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let new = |opened: Opened| opened.is_new.then_some(opened.group);
        let groups = self.opened.drain(..).filter_map(new).collect();
        let made = std::mem::take(&mut self.made);
        let unit = self.unit.take();
        self.placeholder = None;
        // Whoever was inside was killed, and needs a moment to be gone.
        let deadline = Instant::now() + PATIENCE;
        if let Err(error) = remove(&Placement { groups, unit, made }, deadline) {
            log::warn!("after a failed create: {error}");
        }
    }
}

/// How long what is left of a failed create may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A directory that was there a moment ago.
fn gone(error: Error) -> Error {
    if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV)) { error.of_kind(Kind::NotFound) } else { error }
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
