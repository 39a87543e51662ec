//! Kills for lack of memory.

use nix::fcntl::OFlag;

use super::directory::{Directory, is_gone};
use super::tree;
use crate::error::{Error, Kind, Result, Within};
use crate::subsystems::cgroups::plan::{Placement, Version};

/// How many processes of the container the kernel has killed for lack of memory so far.
pub fn oom_kills(placement: &Placement) -> Result<u64> {
    OomCounter::open(placement)?.map_or(Ok(0), |counter| counter.read())
}

/// The count of one container.
#[derive(Debug)]
pub(super) struct OomCounter {
    pub directory: Directory,
    pub version: Version,
    key: &'static str,
}

impl OomCounter {
    /// `None`: nobody counts, as the memory controller is not there, or not any more.
    pub fn open(placement: &Placement) -> Result<Option<Self>> {
        let Some(group) = placement.group_of("memory") else { return Ok(None) };
        let Some(directory) = Directory::open(group)? else { return Ok(None) };
        let counter = Self { key: key(&directory), directory, version: group.version };
        Ok(counter.directory.open_file(counter.file(), OFlag::O_RDONLY).is_ok().then_some(counter))
    }

    /// Where it stands.
    pub fn file(&self) -> &'static str {
        match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        }
    }

    /// Reads it. A group that is not there any more has none.
    pub fn read(&self) -> Result<u64> {
        match self.version {
            Version::V2 => count(&self.directory.read(self.file())?, self.key),
            // KERNEL(cgroup v1): every group counts for itself, also when it was the limit of one above.
            Version::V1 => {
                let mut sum = 0;
                tree::outermost_first(&self.directory, |it| match it.read(self.file()) {
                    Ok(text) => count(&text, self.key).map(|kills| sum += kills),
                    Err(error) if is_gone(&error) => Ok(()),
                    Err(error) => Err(error),
                })?;
                Ok(sum)
            }
        }
        .within(|| self.file())
    }
}

/// With `memory.oom.group` one OOM kills everybody. KERNEL(5.17): that has a counter of its own.
fn key(directory: &Directory) -> &'static str {
    const GROUP_KILLS: &str = "oom_group_kill";
    let in_groups = directory.read("memory.oom.group").is_ok_and(|text| text.trim() == "1");
    let is_counted = directory.read("memory.events").is_ok_and(|text| text.contains(GROUP_KILLS));
    if in_groups && is_counted { GROUP_KILLS } else { "oom_kill" }
}

/// `oom_kill 3` among other lines.
fn count(text: &str, key: &str) -> Result<u64> {
    let value = |line: &str| line.split_once(' ').filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned());
    let value = text.lines().find_map(value).unwrap_or_else(|| "0".to_owned());
    value.trim().parse().map_err(|_| Error::new(Kind::Failed, format!("{key} {value:?} is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let v2 = "low 0\nhigh 0\nmax 54\noom 2\noom_kill 2\noom_group_kill 1\n";
        for (text, key, expected) in
            [(v1, "oom_kill", 3), (v2, "oom_kill", 2), (v2, "oom_group_kill", 1), ("low 0\n", "oom_kill", 0)]
        {
            assert_eq!(count(text, key).unwrap(), expected, "{key} of {text:?}");
        }
        assert_eq!(count("oom_kill x\n", "oom_kill").unwrap_err().to_string(), "oom_kill \"x\" is not a number");
    }
}
