//! The options of the v2 hierarchy, which all its mounts share.
//!
//! KERNEL: whoever mounts cgroup2 in the first cgroup namespace sets them for everybody. CRIU (its issue 3029, as of 4.2) does
//! so without any, which takes `nsdelegate` and `memory_recursiveprot` away from the machine.

use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{OrCall, Result, Within};
use crate::fs::{c_string, procfs};
use crate::sys::mount::Context;

/// Options as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HierarchyOptions {
    mount_point: PathBuf,
    options: Vec<String>,
}

impl HierarchyOptions {
    /// What they are now; `None`: there is no v2 hierarchy.
    pub fn now() -> Result<Option<Self>> {
        let table = procfs::read_own("/proc/self/mountinfo")?;
        Ok(table.lines().find_map(Self::parse))
    }

    /// proc_pid_mountinfo(5).
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = filesystem.split(' ');
        let (kind, options) = (fields.next()?, fields.nth(1)?);
        let mount_point = procfs::unescaped(mount.split(' ').nth(4)?).into();
        let options = options.split(',').filter(|option| !matches!(*option, "rw" | "ro" | "seclabel"));
        (kind == "cgroup2").then(|| Self { mount_point, options: options.map(str::to_owned).collect() })
    }

    /// Sets them again, if they are others now.
    pub fn put_back(&self) -> Result<()> {
        if Self::now()?.as_ref() == Some(self) {
            return Ok(());
        }
        let putting = || -> Result<()> {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let mount = open(&self.mount_point, flags, Mode::empty()).or_call(|| "open")?;
            let context = Context::pick(&mount).or_call(|| "fspick")?;
            for option in &self.options {
                context.set_flag(&c_string(option)?).or_call(|| format!("fsconfig({option:?})"))?;
            }
            context.reconfigure().or_call(|| "fsconfig(RECONFIGURE)")
        };
        putting().within(|| format!("put back the options of {:?}", self.mount_point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_hierarchy() {
        for (line, expected) in [
            (
                "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,seclabel,nsdelegate,memory_recursiveprot",
                Some(("/sys/fs/cgroup", &["nsdelegate", "memory_recursiveprot"][..])),
            ),
            ("30 24 0:26 / /a\\040b rw - cgroup2 none rw", Some(("/a b", &[]))),
            ("30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", None),
            ("", None),
        ] {
            let expected = expected.map(|(mount_point, options)| HierarchyOptions {
                mount_point: mount_point.into(),
                options: options.iter().map(|option| (*option).to_owned()).collect(),
            });
            assert_eq!(HierarchyOptions::parse(line), expected, "{line}");
        }
    }
}
