//! Whether a container may have the groups that it asks for, and what making them will leave behind.

use nix::errno::Errno;

use super::directory::Directory;
use super::freezer::is_frozen_group;
use super::tree;
use crate::error::{Error, Result};
use crate::subsystems::cgroups::plan::{CgroupPlan, Group, Placement};
use crate::subsystems::cgroups::systemd;

/// SPEC(config-linux, "cgroupsPath"): a group that is in use or frozen is refused.
///
/// ORDER: before the groups stand in a record: whatever is in them later is the container's, and is killed with it.
pub fn check_fitness(plan: &CgroupPlan) -> Result<()> {
    for group in &plan.groups {
        let Some(directory) = Directory::open(group)? else { continue };
        let unfit = |why: String| Err(Error::invalid("linux.cgroupsPath", format!("{why} ({:?})", group.directory())));
        let count = count_processes(&directory)?;
        if count > 0 {
            return unfit(format!("container's cgroup is not empty: {count} process(es) found"));
        }
        if is_frozen_group(group, &directory)? {
            return unfit("container's cgroup unexpectedly frozen".to_owned());
        }
    }
    Ok(())
}

/// Also of those below: whatever is there is killed with the container.
fn count_processes(directory: &Directory) -> Result<usize> {
    let mut count = 0;
    tree::outermost_first(directory, |group| {
        count += group.count_processes()?;
        Ok(())
    })?;
    Ok(count)
}

/// Where the container will be, and which directories create will have to make for it. Parents too: a relative path often has new ones, and
/// SPEC(runtime, "Delete"): what create made MUST go again.
pub fn expected(plan: &CgroupPlan) -> Result<Placement> {
    let mut missing = Vec::new();
    let is_systemds = |group: &&Group| plan.unit.is_some() && systemd::is_systemds(group);
    for group in plan.groups.iter().filter(|group| !is_systemds(group)) {
        let mut path = group.directory();
        let first = missing.len();
        while path != group.mount_point {
            match nix::unistd::access(&path, nix::unistd::AccessFlags::F_OK) {
                Ok(()) => break,
                Err(Errno::ENOENT) => missing.insert(first, path.clone()),
                Err(errno) => return Err(Error::call(format!("access({path:?})"), errno)),
            }
            path.pop();
        }
    }
    let unit = plan.unit.as_ref().map(|plan| plan.unit.clone());
    Ok(Placement { groups: plan.groups.clone(), unit, made: missing })
}
