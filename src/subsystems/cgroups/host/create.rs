//! The groups of a container that is being created.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};

use super::controllers;
use super::delegation;
use super::directory::{Directory, is_gone};
use super::entrance::{Entrance, Opened};
use super::freezer::is_frozen_group;
use super::limits::{self, Changes};
use super::oom::oom_kills;
use super::parents;
use super::remove::remove;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::subsystems::cgroups::plan::{CgroupPlan, Group, Placement, Version, Write};
use crate::subsystems::cgroups::systemd::host::Placeholder;
use crate::subsystems::cgroups::systemd::{self, UnitPlan};
use crate::sys;
use crate::sys::bpf::Instruction;

/// The groups of a container that is being created. Dropped without [`Cgroups::keep`], what was made is removed.
#[derive(Debug, Default)]
pub struct Cgroups {
    entrance: Entrance,
    /// What was made so far.
    placement: Placement,
    /// What is in systemd's unit until the first process is.
    placeholder: Option<Placeholder>,
    /// How many processes are inside besides the first one until it is known.
    helpers: u64,
    /// Limits to be written again when they are not.
    after_helpers: Vec<Write>,
    /// In groups that were there before.
    changes: Changes,
    /// The device program, if it is attached to such a group.
    attached: Option<OwnedFd>,
    /// See [`CgroupPlan::devices_are_optional`].
    devices_are_optional: bool,
}

impl Cgroups {
    /// Makes the groups and writes their limits. Nobody is inside yet.
    ///
    /// `helpers` says how many processes there will be before the first one.
    pub fn create(plan: &CgroupPlan, helpers: u64) -> Result<Self> {
        let mut cgroups = Self::default();
        cgroups.devices_are_optional = plan.devices_are_optional;
        cgroups.helpers = helpers + u64::from(plan.unit.is_some());
        if let Some(unit) = &plan.unit {
            cgroups.start(unit)?;
        }
        for group in &plan.groups {
            cgroups.add(group)?;
        }
        cgroups.entrance.ask_systemd(&cgroups.placement)?;
        if let Some(unified) = cgroups.entrance.unified().filter(|_| !plan.has_v1()) {
            controllers::hand_down(&unified.group, &unified.directory, &plan.writes)?;
        }
        for write in &plan.writes {
            cgroups.limit(write)?;
        }
        if let (Some(user), Some(unified)) = (plan.delegate_to, cgroups.entrance.unified()) {
            delegation::give(&unified.directory, user)
                .within(|| format!("delegate cgroup {:?}", unified.group.directory()))?;
        }
        Ok(cgroups)
    }

    /// Starts the unit, which is stopped when something fails.
    fn start(&mut self, plan: &UnitPlan) -> Result<()> {
        self.placement.unit = Some(plan.unit.clone());
        let started = systemd::host::start(plan);
        if started.as_ref().is_err_and(|error| error.kind() == Kind::Busy) {
            // There is one of that name: it is somebody else's, and stays.
            self.placement.unit = None;
        }
        self.placeholder = started?;
        Ok(())
    }

    fn add(&mut self, group: &Group) -> Result<()> {
        let directory = match &self.placement.unit {
            Some(_) if systemd::is_systemds(group) => {
                let missing = || Error::new(Kind::NotFound, format!("systemd made no cgroup {:?}", group.directory()));
                Directory::open(group)?.ok_or_else(missing)?
            }
            _ => self.make(group)?,
        };
        // SPEC(config-linux, "cgroupsPath"): below a frozen parent nothing would ever run.
        if is_frozen_group(group, &directory)? {
            let why = format!("container's cgroup unexpectedly frozen ({:?})", group.directory());
            return Err(Error::invalid("linux.cgroupsPath", why));
        }
        let is_new = self.placement.has_made(group);
        if is_new {
            self.placement.groups.push(group.clone());
        }
        let by_birth = is_new && group.version == Version::V2;
        self.entrance.add(Opened { group: group.clone(), directory, by_birth });
        Ok(())
    }

    /// Where the first process goes in.
    pub fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// How many OOM kills there were before; in a group that is new there was none.
    pub fn earlier_oom_kills(&self) -> Result<u64> {
        let groups: Vec<_> = self.entrance.opened().iter().map(|opened| opened.group.clone()).collect();
        if groups == self.placement.groups {
            return Ok(0);
        }
        oom_kills(&Placement { groups, ..Placement::default() })
    }

    /// The first process is inside: nobody else is needed there. If it has ended already, systemd takes the group away: what the
    /// process says of its end is to be heard.
    pub fn dismiss_helpers(&mut self) -> Result<()> {
        self.placeholder = None;
        let again = std::mem::take(&mut self.after_helpers);
        match again.iter().try_for_each(|limit| self.write(limit)) {
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }

    /// Lets the v2 group hand these controllers down: everybody is, and will be, in a group below it. Without any, somebody else
    /// may do so from now on.
    pub fn hand_down(&mut self, controllers: &[String]) -> Result<()> {
        self.placeholder = None;
        let Some(unified) = self.entrance.unified().filter(|_| !controllers.is_empty()) else { return Ok(()) };
        let wanted: Vec<_> = controllers.iter().map(|controller| format!("+{controller}")).collect();
        unified.directory.write("cgroup.subtree_control", &wanted.join(" "))
    }

    /// Attaches the device program to the v2 group.
    pub fn attach_device_program(&mut self, program: &[Instruction]) -> Result<()> {
        let Some(unified) = self.entrance.unified().filter(|_| !program.is_empty()) else { return Ok(()) };
        let attach = || -> Result<OwnedFd> {
            let loaded = sys::bpf::load_device_program(program).or_call(|| "bpf(PROG_LOAD, CGROUP_DEVICE)")?;
            sys::bpf::attach_device_program(&unified.directory, &loaded)
                .or_call(|| "bpf(PROG_ATTACH, CGROUP_DEVICE)")?;
            Ok(loaded)
        };
        match attach().within(|| DEVICES) {
            Ok(program) => {
                self.attached = (!self.placement.has_made(&unified.group)).then_some(program);
                Ok(())
            }
            Err(error) => self.unless_optional(Err(error)),
        }
    }

    /// The container is complete: its groups stay.
    pub fn keep(mut self) {
        self.placement = Placement::default();
        self.changes = Changes::default();
        self.attached = None;
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
        let mut names = group.path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            path.push(name);
            let made = match mkdirat(&current, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(gone(Error::call(format!("mkdir({path:?})"), errno))),
            };
            if made {
                self.placement.made.push(path.clone());
            }
            let parent = current;
            current = parent.child(name.as_ref()).map_err(gone)?;
            if made && names.peek().is_some() {
                parents::mark(&current, &path);
            }
            // Also in one that was there: another create may have made it a moment ago and not filled it yet.
            if group.controllers.iter().any(|controller| controller == "cpuset") {
                inherit_cpuset(&parent, &current).map_err(gone)?;
            }
        }
        Ok(current)
    }

    /// KERNEL: at a limit of 0 processes nobody can be born in a group, but anybody can be moved into it. As long as there are
    /// helpers, there is room for them, too.
    fn limit(&mut self, write: &Write) -> Result<()> {
        let Some(limit) = (write.file == "pids.max").then(|| write.value.parse::<u64>().ok()).flatten() else {
            return self.write(write);
        };
        if let Some(opened) = self.entrance.opened_mut(write.group).filter(|_| limit == 0) {
            opened.by_birth = false;
        }
        if self.helpers == 0 {
            return self.write(write);
        }
        self.after_helpers.push(write.clone());
        self.write(&Write { value: limit.saturating_add(self.helpers).to_string(), ..write.clone() })
    }

    fn write(&mut self, write: &Write) -> Result<()> {
        let Some(opened) = self.entrance.opened().get(write.group) else { return Ok(()) };
        let written = match self.placement.has_made(&opened.group) {
            true => limits::write(&opened.group, &opened.directory, write),
            false => self.changes.make(&opened.group, &opened.directory, write),
        };
        if write.property.starts_with(DEVICES) { self.unless_optional(written) } else { written }
    }

    /// What was changed in groups that stay.
    fn take_back(&self) {
        let opened = self.entrance.opened();
        let find = |group: usize| opened.get(group).map(|opened| (&opened.group, &opened.directory));
        for error in self.changes.take_back(find) {
            log::warn!("after a failed create: {error}");
        }
        if let (Some(program), Some(unified)) = (&self.attached, self.entrance.unified())
            && let Err(errno) = sys::bpf::detach_device_program(&unified.directory, program)
        {
            log::warn!("after a failed create: detach the device program: {errno}");
        }
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

impl Drop for Cgroups {
    fn drop(&mut self) {
        // ORDER: systemd waits long for processes that do not end by SIGTERM, as this one.
        drop(self.placeholder.take());
        self.take_back();
        // Whoever was inside was killed, and needs a moment to be gone.
        let deadline = Instant::now() + PATIENCE;
        if let Err(error) = remove(&self.placement, deadline) {
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
