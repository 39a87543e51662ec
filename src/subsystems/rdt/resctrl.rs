//! The filesystem (Documentation/filesystems/resctrl).

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::directory::{Directory, is_gone};
use crate::fs::lock::{self, Lock};
use crate::fs::procfs;

/// The directory in a group, or in the root, whose directories count.
pub const MONITORS: &str = "mon_groups";

/// How long others may work on the groups.
const PATIENCE: Duration = Duration::from_secs(10);

/// Its root.
#[derive(Debug)]
pub struct Resctrl(Directory);

/// The kernel makes this directory for it, on machines that have it.
const USUAL: &str = "/sys/fs/resctrl";

/// Where it is mounted.
pub fn mount_point() -> Result<PathBuf> {
    if Resctrl::at(Path::new(USUAL))?.is_some() {
        return Ok(USUAL.into());
    }
    let table = procfs::read_own("/proc/self/mountinfo")?;
    for place in mount_points(&table) {
        // Something else may be mounted over it.
        if Resctrl::at(&place)?.is_some() {
            return Ok(place);
        }
    }
    let why = "resctrl is not mounted";
    Err(Error::new(Kind::Unsupported, why)
        .hint(format_args!("mount -t resctrl resctrl {USUAL}, if this machine has it")))
}

/// `36 35 0:30 / /sys/fs/resctrl rw shared:9 - resctrl resctrl rw` (proc_pid_mountinfo(5)). A bind mount of a group has another
/// root.
fn mount_points(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        let (place, filesystem) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, mount_point) = (place.next()?, place.next()?);
        (filesystem.starts_with("resctrl ") && root == "/").then(|| procfs::unescaped(mount_point).into())
    })
}

impl Resctrl {
    /// Opens it. `None`: it is not there, or not any more; with it all groups are gone.
    pub fn at(mount_point: &Path) -> Result<Option<Self>> {
        let Some(root) = Directory::find(mount_point)? else { return Ok(None) };
        let kind = fstatfs(&root).or_call(|| format!("fstatfs({mount_point:?})"))?.filesystem_type();
        Ok((kind.0 == libc::RDTGROUP_SUPER_MAGIC).then_some(Self(root)))
    }

    /// While this is held, nobody who asks makes, changes or removes a group.
    pub fn lock(&self) -> Result<Lock> {
        let busy = || Error::new(Kind::Busy, format!("somebody else has held its lock for {} s", PATIENCE.as_secs()));
        lock::exclusive(&self.0, PATIENCE).within(|| "resctrl")?.ok_or_else(busy)
    }

    /// A group. `None`: it is not there.
    pub fn find(&self, name: Option<&str>) -> Result<Option<Directory>> {
        match name {
            None => self.0.itself().map(Some),
            Some(name) => self.0.find_child(name.as_ref()),
        }
    }

    /// A group that a container was put into.
    pub fn group(&self, name: Option<&str>) -> Result<Directory> {
        let gone = || Error::new(Kind::NotFound, format!("{} is not there", named(name)));
        self.find(name)?.ok_or_else(gone)
    }

    /// Makes a directory in one of its own. `false`: it is there already.
    pub fn make(&self, parent: &Directory, name: &str) -> Result<bool> {
        match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(self.explain(Error::call(format!("mkdirat({name:?})"), errno))),
        }
    }

    /// The same for a group.
    pub fn make_group(&self, name: &str) -> Result<bool> {
        self.make(&self.0, name)
    }

    /// Removes a group. One that is gone is fine.
    pub fn remove_group(&self, name: &str) -> Result<()> {
        remove(&self.0, name)
    }

    /// Writes to a file of a group.
    pub fn write(&self, group: &Directory, file: &str, value: &str) -> Result<()> {
        group.write(file, value).map_err(|error| self.explain(error))
    }

    /// To which multiples the kernel rounds a bandwidth.
    pub fn step(&self, resource: &str) -> Option<u64> {
        self.info(resource, "bandwidth_gran")?.parse().ok()
    }

    /// What the machine has, of a resource such as `L3`.
    pub fn info(&self, resource: &str, file: &str) -> Option<String> {
        let resource = self.0.child("info".as_ref()).and_then(|info| info.child(resource.as_ref())).ok()?;
        Some(resource.read(file).ok()?.trim().to_owned())
    }

    /// The kernel says here what it means by EINVAL.
    fn explain(&self, error: Error) -> Error {
        let status = self.0.child("info".as_ref()).and_then(|info| info.read("last_cmd_status"));
        match status.as_deref().map(str::trim) {
            Ok("" | "ok") | Err(_) => error,
            Ok(status) => error.hint(status),
        }
    }
}

/// For tests, which have no such filesystem.
#[cfg(test)]
impl From<Directory> for Resctrl {
    fn from(root: Directory) -> Self {
        Self(root)
    }
}

/// A group, for messages.
pub fn named(group: Option<&str>) -> String {
    group.map_or_else(|| "the default group".to_owned(), |name| format!("group {name:?}"))
}

/// Removes a directory. One that is gone is fine.
pub fn remove(parent: &Directory, name: &str) -> Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir).or_call(|| format!("rmdir({name:?})")) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_mounted() {
        let table = "\
24 1 0:22 / /proc rw,relatime - proc proc rw
30 1 0:40 /gold /srv/gold rw - resctrl resctrl rw
31 1 0:41 / /srv/resctrl rw - tmpfs resctrl rw
32 1 0:40 / /sys/fs/resctrl rw,nosuid shared:9 - resctrl resctrl rw,mba_MBps
33 1 0:40 / /srv/with\\040blank rw - resctrl none rw
";
        let found: Vec<_> = mount_points(table).collect();
        assert_eq!(found, [Path::new("/sys/fs/resctrl"), Path::new("/srv/with blank")]);
    }

    #[test]
    fn another_filesystem_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Resctrl::at(directory.path()).unwrap().is_none());
        assert!(Resctrl::at(&directory.path().join("missing")).unwrap().is_none());
    }
}
