//! The groups that a process goes into: the container's first one, and further ones.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path};

use super::directory::Directory;
use crate::error::{Error, Result, Within};
use crate::fs::procfs;
use crate::machine::cgroups::unified_path;
use crate::subsystems::cgroups::plan::{Group, Placement, Version};
use crate::subsystems::cgroups::systemd::{self, Unit};

/// `--cgroup` of exec: a group below the container's, in the hierarchies of some controllers or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubGroup {
    /// Empty: all that are not named by another one.
    pub controllers: Vec<String>,
    /// Relative to the container's group.
    pub path: String,
}

impl SubGroup {
    /// Reads `[CONTROLLER[,CONTROLLER]:]PATH`.
    pub fn parse(text: &str) -> Result<Self> {
        let (controllers, path) = text.split_once(':').unwrap_or(("", text));
        if Path::new(path).components().any(|component| component == Component::ParentDir) {
            return Err(Error::invalid(format!("{text:?}"), "bad sub cgroup path: it contains \"..\""));
        }
        let controllers = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok(Self { controllers, path: path.to_owned() })
    }
}

/// Where a process goes into: groups that are held open.
#[derive(Debug, Default)]
pub struct Entrance {
    opened: Vec<Opened>,
    /// The systemd that alone may move a process into the v2 group, and where below its unit that is.
    by_systemd: Option<(Unit, String)>,
}

/// One group.
#[derive(Debug)]
pub struct Opened {
    pub group: Group,
    pub directory: Directory,
    /// Whether a process can be born in it; else it can only be moved there.
    ///
    /// KERNEL(6.14): nobody can be born in a group that ever received `cgroup.kill`; one that create made did not.
    pub by_birth: bool,
}

impl Entrance {
    /// Opens the container's groups, or those below them that were asked for.
    pub fn open(placement: &Placement, below: &[SubGroup]) -> Result<Self> {
        check_controllers(placement, below)?;
        Self::at(placement, |group| place_below(group, below))
    }

    /// The groups that a process of the container is in, when its own ones take nobody: a container that hands controllers
    /// down, as systemd does, has all its processes below (cgroups(7), "no internal processes").
    pub fn beside(placement: &Placement, pid: i32) -> Result<Self> {
        let own = procfs::read_own(&format!("/proc/{pid}/cgroup"))?;
        let unified = unified_path(&own);
        Self::at(placement, |group| match unified.filter(|path| path.starts_with(&group.path)) {
            Some(path) if group.version == Version::V2 => Group { path: path.to_owned(), ..group.clone() },
            _ => group.clone(),
        })
    }

    fn at(placement: &Placement, place: impl Fn(&Group) -> Group) -> Result<Self> {
        let mut entrance = Self::default();
        for group in &placement.groups {
            let place = place(group);
            let within = || format!("adding pid to cgroup {:?}", place.directory());
            let directory = Directory::at(&place.directory()).within(within)?;
            let by_birth = group.version == Version::V2 && placement.has_made(group);
            entrance.add(Opened { group: place, directory, by_birth });
        }
        entrance.ask_systemd(placement)?;
        Ok(entrance)
    }

    /// One group more.
    pub fn add(&mut self, opened: Opened) {
        self.opened.push(opened);
    }

    /// Who may not move a process into the unit himself has its systemd do that.
    pub fn ask_systemd(&mut self, placement: &Placement) -> Result<()> {
        let (Some(unit), Some(top)) = (&placement.unit, placement.unified()) else { return Ok(()) };
        let Some(opened) = self.opened.iter_mut().find(|opened| opened.group.version == Version::V2) else {
            return Ok(());
        };
        if systemd::host::is_out_of_reach(unit, &opened.group)? {
            opened.by_birth = false;
            let below = opened.group.path.strip_prefix(&top.path).unwrap_or_default();
            self.by_systemd = Some((unit.clone(), below.to_owned()));
        }
        Ok(())
    }

    /// The v2 group to be born in.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.opened.iter().find(|opened| opened.by_birth).map(|opened| opened.directory.as_fd())
    }

    fn to_join(&self) -> impl Iterator<Item = &Opened> {
        self.opened.iter().filter(|opened| !opened.by_birth)
    }

    /// Whether there are groups that can only be joined by a write: all of v1, and of v2 those that were there before or may
    /// have no processes.
    pub fn must_be_joined(&self) -> bool {
        self.to_join().next().is_some()
    }

    /// Moves a process into all groups that it was not born in.
    ///
    /// KERNEL: the first of these writes waits for an RCU grace period when the machine was idle, 7-17 ms; the process works
    /// meanwhile.
    pub fn join(&self, pid: i32) -> Result<()> {
        self.to_join().try_for_each(|opened| self.move_to(opened, pid))
    }

    /// Moves a process that was born elsewhere into all groups.
    pub fn admit(&self, pid: i32) -> Result<()> {
        self.opened.iter().try_for_each(|opened| self.move_to(opened, pid))
    }

    fn move_to(&self, opened: &Opened, pid: i32) -> Result<()> {
        let joined = match &self.by_systemd {
            Some((unit, below)) if opened.group.version == Version::V2 => systemd::host::attach(unit, below, pid),
            _ => opened.directory.write("cgroup.procs", &pid.to_string()),
        };
        joined.within(|| format!("adding pid {pid} to cgroup {:?}", opened.group.directory()))
    }

    /// The groups.
    pub fn opened(&self) -> &[Opened] {
        &self.opened
    }

    /// One of them, by its index in the plan.
    pub fn opened_mut(&mut self, index: usize) -> Option<&mut Opened> {
        self.opened.get_mut(index)
    }

    /// That of v2.
    pub fn unified(&self) -> Option<&Opened> {
        self.opened.iter().find(|opened| opened.group.version == Version::V2)
    }
}

/// The place in the hierarchy of `group` that was asked for; its own if none was.
fn place_below(group: &Group, below: &[SubGroup]) -> Group {
    let named = |sub: &&SubGroup| sub.controllers.iter().any(|name| group.controllers.contains(name));
    let sub = below.iter().find(named).or_else(|| below.iter().find(|sub| sub.controllers.is_empty()));
    let mut place = group.clone();
    if let Some(sub) = sub {
        for component in Path::new(&sub.path).components() {
            if let Component::Normal(name) = component {
                place.path.push('/');
                place.path.push_str(&name.to_string_lossy());
            }
        }
    }
    place
}

fn check_controllers(placement: &Placement, below: &[SubGroup]) -> Result<()> {
    let known = |name: &&String| !placement.groups.iter().any(|group| group.controllers.contains(name));
    match below.iter().flat_map(|sub| &sub.controllers).find(known) {
        Some(name) => Err(Error::invalid("--cgroup", format!("unknown controller {name}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_below() {
        let group = |controllers: &[&str]| Group {
            mount_point: "/m".into(),
            path: "/c1".to_owned(),
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            version: Version::V1,
        };
        let below = [SubGroup::parse("cpu,cpuacct:a/./b").unwrap(), SubGroup::parse("rest").unwrap()];
        assert_eq!(place_below(&group(&["cpuacct", "cpu"]), &below).path, "/c1/a/b");
        assert_eq!(place_below(&group(&["memory"]), &below).path, "/c1/rest");
        assert_eq!(place_below(&group(&["memory"]), &below[..1]).path, "/c1");
        assert_eq!(place_below(&group(&["memory"]), &[SubGroup::parse("/").unwrap()]).path, "/c1");
        let error = SubGroup::parse("a/../..").unwrap_err().to_string();
        assert_eq!(error, "\"a/../..\": bad sub cgroup path: it contains \"..\"");
        let placement = Placement { groups: vec![group(&["memory"])], ..Placement::default() };
        let error = check_controllers(&placement, &below).unwrap_err().to_string();
        assert_eq!(error, "--cgroup: unknown controller cpu");
    }
}
