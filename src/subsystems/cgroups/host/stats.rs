//! Reading what was used.

use nix::errno::Errno;

use super::directory::Directory;
use crate::error::{Result, Within};
use crate::subsystems::cgroups::plan::{Placement, Version};
use crate::subsystems::cgroups::stats::{self, Files, Stats};

impl Files for Directory {
    fn read(&self, name: &str) -> Result<Option<String>> {
        match Directory::read(self, name) {
            Ok(content) => Ok(Some(content)),
            Err(error) => match error.errno() {
                // The controller or the group is not there; EOPNOTSUPP: pressure is not counted on this machine.
                Some(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
                _ => Err(error),
            },
        }
    }

    fn names(&self) -> Result<Vec<String>> {
        self.files()
    }
}

/// What the container has used so far.
pub fn read_stats(placement: &Placement) -> Result<Stats> {
    let mut stats = Stats::default();
    let of = |version: Version| placement.groups.iter().filter(move |group| group.version == version);
    for group in of(Version::V2).chain(of(Version::V1)) {
        if let Some(directory) = Directory::open(group)? {
            stats::add(&mut stats, group.version, &group.controllers, &directory)
                .within(|| format!("cgroup {:?}", group.directory()))?;
        }
    }
    Ok(stats)
}
