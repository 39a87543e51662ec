//! The options of the v2 hierarchy, which all its mounts share.
//!
//! KERNEL: whoever mounts cgroup2 in the first cgroup namespace sets them for everybody. CRIU (its issue 3029, as of 4.2) does
//! so without any, which takes `nsdelegate` and `memory_recursiveprot` away from the machine.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{OrCall, Result, Within};
use crate::fs::{c_string, procfs};
use crate::sys::mount::Context;
use crate::sys::xattr;

/// KERNEL: an attribute of the hierarchy's first group stays for as long as the machine is up.
const REMEMBERED: &CStr = c"trusted.corten.options";
/// Of all options that there are.
const LENGTH: usize = 1024;

/// Options as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HierarchyOptions {
    mount_point: PathBuf,
    options: BTreeSet<String>,
}

impl HierarchyOptions {
    /// Does what a CRIU is in, and puts the options back, whatever came of it.
    pub fn kept<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Self::before_criu()?;
        let result = work();
        if let Some(Err(error)) = before.map(|before| before.put_back()) {
            log::warn!("{error}");
        }
        result
    }

    /// What they were before any CRIU of ours; `None`: there is no v2 hierarchy.
    ///
    /// While another one runs, and after one whose corten was killed, they are not what they were. So the first one of all
    /// leaves them on the hierarchy, before its CRIU starts; what somebody has added since counts as well.
    fn before_criu() -> Result<Option<Self>> {
        let Some(mut options) = Self::now()? else { return Ok(None) };
        match options.remembered() {
            Ok(Some(known)) => options.options.extend(known),
            Ok(None) => {}
            // In a container, whose CRIU changes nothing outside.
            Err(errno) => log::debug!("{:?}: its options cannot be remembered: {errno}", options.mount_point),
        }
        Ok(Some(options))
    }

    /// What is on the hierarchy; `None`: now it is these.
    fn remembered(&self) -> nix::Result<Option<Vec<String>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let group = open(&self.mount_point, flags, Mode::empty())?;
        let options: Vec<_> = self.options.iter().map(String::as_str).collect();
        match xattr::create(&group, REMEMBERED, options.join(",").as_bytes()) {
            Ok(()) => Ok(None),
            Err(Errno::EEXIST) => {
                let known = xattr::get::<LENGTH>(&group, REMEMBERED)?;
                let known = String::from_utf8_lossy(&known);
                Ok(Some(known.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect()))
            }
            Err(errno) => Err(errno),
        }
    }

    fn now() -> Result<Option<Self>> {
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
    fn put_back(&self) -> Result<()> {
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
