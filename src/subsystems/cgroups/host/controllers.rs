//! Which controllers of v2 reach the group, and what kind of group it has to be for that (cgroups(7), "Cgroups v2 subtree
//! control", "no internal processes", "thread mode").

use std::collections::BTreeMap;
use std::path::Path;

use nix::errno::Errno;

use super::directory::Directory;
use crate::error::{Error, Kind, Result, Within};
use crate::subsystems::cgroups::limits;
use crate::subsystems::cgroups::plan::{Group, Write};

/// Those that count threads, and work in threaded groups.
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];

/// The controllers that limits need, and who asked for them.
struct Wanted<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Wanted<'a> {
    fn by(writes: &'a [Write]) -> Self {
        let controller = |write: &'a Write| (limits::controller(&write.file), &*write.property);
        Self(writes.iter().map(controller).filter(|(name, _)| *name != "cgroup").collect())
    }

    /// One that does not work in threaded groups.
    fn of_domains(&self) -> Option<(&str, &str)> {
        self.0.iter().find(|(name, _)| !THREADED.contains(name)).map(|(name, property)| (*name, *property))
    }
}

/// Hands every controller that there is down to the group, as runc does: engines read statistics of all of them. One that
/// does not get there is an error if a limit needs it.
pub fn hand_down(group: &Group, leaf: &Directory, writes: &[Write]) -> Result<()> {
    let wanted = Wanted::by(writes);
    let mut current = Directory::at(&group.mount_point)?;
    let arrived = leaf.controllers()?;
    let all_arrived = current.controllers()?.iter().all(|controller| arrived.contains(controller));
    if all_arrived && !is_invalid(leaf)? {
        return Ok(());
    }
    let mut path = group.mount_point.clone();
    for name in group.path.split('/').filter(|name| !name.is_empty()) {
        enable(&current, &path, &wanted)?;
        path.push(name);
        current = current.child(name.as_ref())?;
        if is_invalid(&current)? {
            become_threaded(&current, &path, &wanted)?;
        }
    }
    Ok(())
}

/// Enables controllers for the groups in `parent`.
///
/// KERNEL: in a group with processes of its own, a controller that works with threads would make it the root of a threaded
/// tree, in which whatever is made later can only be threaded. So there, only what is needed is enabled.
fn enable(parent: &Directory, path: &Path, wanted: &Wanted<'_>) -> Result<()> {
    let enabled = parent.read("cgroup.subtree_control")?;
    let enabled: Vec<_> = enabled.split_ascii_whitespace().collect();
    let is_busy = !is_root(parent)? && !parent.read("cgroup.threads")?.is_empty();
    for controller in parent.controllers()?.iter().filter(|controller| !enabled.contains(&controller.as_str())) {
        let property = wanted.0.get(controller.as_str());
        if is_busy && property.is_none() {
            log::debug!("cgroup controller {controller} stays off below {path:?}, which has processes of its own");
            continue;
        }
        match (parent.write("cgroup.subtree_control", &format!("+{controller}")), property) {
            (Ok(()), _) => {}
            (Err(error), None) => log::debug!("cgroup controller {controller} stays off below {path:?}: {error}"),
            (Err(error), Some(property)) => {
                let error = explained(error, is_busy);
                return Err(error)
                    .within(|| format!("enable cgroup controller {controller:?} below {path:?}"))
                    .within(|| *property);
            }
        }
    }
    Ok(())
}

fn explained(error: Error, is_busy: bool) -> Error {
    match error.errno() {
        Some(Errno::EBUSY | Errno::EOPNOTSUPP) if is_busy => {
            error.hint("it has processes of its own, and such a cgroup cannot hand this controller down")
        }
        Some(Errno::EOPNOTSUPP) => error.hint("it is part of a threaded tree, which does not have this controller"),
        _ => error,
    }
}

/// A group that is neither a domain nor threaded takes nobody. It is below a threaded one, and can be that as well, if
/// nothing is asked for that only domains have.
fn become_threaded(group: &Directory, path: &Path, wanted: &Wanted<'_>) -> Result<()> {
    if let Some((controller, property)) = wanted.of_domains() {
        let why = format!("cgroup {path:?} is in a threaded tree, which does not have the controller {controller:?}");
        return Err(Error::new(Kind::Unsupported, why)).within(|| property);
    }
    log::debug!("cgroup {path:?} becomes threaded, as those above it are");
    group.write("cgroup.type", "threaded").within(|| format!("make cgroup {path:?} threaded"))
}

fn is_invalid(group: &Directory) -> Result<bool> {
    Ok(!is_root(group)? && group.read("cgroup.type")?.trim() == "domain invalid")
}

/// Whether it is the root of the whole hierarchy, which is no group of any kind, and may do all this with processes in it.
fn is_root(group: &Directory) -> Result<bool> {
    group.has("cgroup.type").map(|has| !has)
}
