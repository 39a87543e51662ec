//! The groups of a container that is there, opened for a further process.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path};

use super::directory::Directory;
use crate::error::{Error, Result, Within};
use crate::fs::procfs;
use crate::subsystems::cgroups::plan::{Group, Placement, Version};

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

/// Where a further process goes in.
#[derive(Debug)]
pub struct Entrance(Vec<Opened>);

#[derive(Debug)]
struct Opened {
    group: Group,
    directory: Directory,
    /// KERNEL(6.14): nobody can be born in a group that ever received `cgroup.kill`; one that create made did not.
    by_birth: bool,
}

impl Entrance {
    /// Opens the container's groups, or those below them that were asked for.
    pub fn open(placement: &Placement, below: &[SubGroup]) -> Result<Self> {
        check_controllers(placement, below)?;
        let mut opened = Vec::new();
        for group in &placement.groups {
            let place = place_below(group, below);
            let within = || format!("adding pid to cgroup {:?}", place.directory());
            let directory = Directory::at(&place.directory()).within(within)?;
            let by_birth = group.version == Version::V2 && placement.made.contains(&group.directory());
            opened.push(Opened { group: place, directory, by_birth });
        }
        Ok(Self(opened))
    }

    /// The groups that a process of the container is in, when its own ones take nobody: a container that hands controllers
    /// down, as systemd does, has all its processes below (cgroups(7), "no internal processes").
    pub fn beside(placement: &Placement, pid: i32) -> Result<Self> {
        let own = procfs::read_own(&format!("/proc/{pid}/cgroup"))?;
        let mut below = placement.clone();
        for group in below.groups.iter_mut().filter(|group| group.version == Version::V2) {
            if let Some(path) =
                own.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| path.starts_with(&group.path))
            {
                group.path = path.to_owned();
            }
        }
        let mut entrance = Self::open(&below, &[])?;
        for (opened, group) in entrance.0.iter_mut().zip(&placement.groups) {
            opened.by_birth = group.version == Version::V2 && placement.made.contains(&group.directory());
        }
        Ok(entrance)
    }

    /// The v2 group to be born in.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.0.iter().find(|opened| opened.by_birth).map(|opened| opened.directory.as_fd())
    }

    fn to_join(&self) -> impl Iterator<Item = &Opened> {
        self.0.iter().filter(|opened| !opened.by_birth)
    }

    /// Whether there are groups that can only be joined by a write.
    pub fn must_be_joined(&self) -> bool {
        self.to_join().next().is_some()
    }

    /// Moves a process into all groups that it was not born in.
    pub fn join(&self, pid: i32) -> Result<()> {
        self.to_join().try_for_each(|opened| {
            let write = opened.directory.write("cgroup.procs", &pid.to_string());
            write.within(|| format!("adding pid {pid} to cgroup {:?}", opened.group.directory()))
        })
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
        let placement = Placement { groups: vec![group(&["memory"])], made: vec![] };
        let error = check_controllers(&placement, &below).unwrap_err().to_string();
        assert_eq!(error, "--cgroup: unknown controller cpu");
    }
}
