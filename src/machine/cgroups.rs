//! Where the cgroup hierarchies are (cgroups(7)): pure v2, pure v1, or hybrid.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::error::{Error, Kind, OrCall, Result};
use crate::fs::procfs;

/// The place that everybody agrees on.
pub const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// What is mounted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupLayout {
    /// One hierarchy for everything.
    V2(Hierarchy),
    /// A hierarchy for each set of controllers, and on hybrid hosts v2 beside them, without controllers.
    V1 {
        /// The controllers' hierarchies, named ones too.
        hierarchies: Vec<Hierarchy>,
        /// The v2 hierarchy of a hybrid host.
        unified: Option<Hierarchy>,
    },
}

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Its v1 controllers, or `name=systemd`; empty for v2.
    pub controllers: Vec<String>,
    /// Our own cgroup, below the mount point, beginning with a slash.
    pub own: String,
}

impl Hierarchy {
    /// Whether this is the v1 hierarchy of `controller`.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }
}

/// The place in the v2 hierarchy, from what `/proc/PID/cgroup` says (cgroups(7)).
pub fn unified_path(content: &str) -> Option<&str> {
    content.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Looks at the machine.
pub fn probe() -> Result<CgroupLayout> {
    let own = procfs::read_own("/proc/self/cgroup")?;
    let kind = statfs(MOUNT_POINT).or_call(|| format!("statfs({MOUNT_POINT:?})"))?.filesystem_type();
    if kind == CGROUP2_SUPER_MAGIC {
        // Only one line counts, and mountinfo, which can be long, need not be read.
        let own = unified_path(&own).unwrap_or("/").to_owned();
        return Ok(CgroupLayout::V2(Hierarchy { mount_point: MOUNT_POINT.into(), controllers: Vec::new(), own }));
    }
    v1(&procfs::read_own("/proc/self/mountinfo")?, &own)
}

fn v1(mountinfo: &str, own: &str) -> Result<CgroupLayout> {
    let mut hierarchies = Vec::new();
    let mut unified = None;
    for line in mountinfo.lines() {
        let Some(mount) = CgroupMount::parse(line) else { continue };
        let seen = |known: &Hierarchy| known.controllers == mount.controllers;
        match mount.kind {
            "cgroup" if !hierarchies.iter().any(seen) => hierarchies.push(mount.hierarchy(own)),
            "cgroup2" if unified.is_none() => unified = Some(mount.hierarchy(own)),
            _ => {}
        }
    }
    if hierarchies.is_empty() {
        return Err(Error::new(Kind::Unsupported, format!("no cgroup hierarchy is mounted at {MOUNT_POINT}")));
    }
    Ok(CgroupLayout::V1 { hierarchies, unified })
}

struct CgroupMount<'a> {
    kind: &'a str,
    root: &'a str,
    mount_point: &'a str,
    controllers: Vec<String>,
}

impl<'a> CgroupMount<'a> {
    /// `36 35 0:30 /root /mount/point rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct` (proc_pid_mountinfo(5)).
    fn parse(line: &'a str) -> Option<Self> {
        let (place, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let kind = filesystem.next().filter(|kind| kind.starts_with("cgroup"))?;
        let options = filesystem.nth(1)?;
        let mut place = place.split(' ');
        let (root, mount_point) = (place.nth(3)?, place.next()?);
        if !Path::new(mount_point).starts_with(MOUNT_POINT) {
            return None;
        }
        let is_controller = |word: &&str| match kind {
            "cgroup2" => false,
            _ => {
                !matches!(
                    *word,
                    "rw" | "ro" | "xattr" | "clone_children" | "noprefix" | "nofavordynmods" | "favordynmods"
                ) && !word.starts_with("release_agent=")
            }
        };
        let controllers = options.split(',').filter(is_controller).map(str::to_owned).collect();
        Some(Self { kind, root, mount_point, controllers })
    }

    fn hierarchy(self, own: &str) -> Hierarchy {
        let path = own
            .lines()
            .find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (controllers, path) = (fields.next()?, fields.next()?);
                let ours = match self.controllers.first() {
                    Some(first) => controllers.split(',').any(|controller| controller == first),
                    None => controllers.is_empty(),
                };
                ours.then_some(path)
            })
            .unwrap_or("/");
        // In a container without a cgroup namespace only a part of the hierarchy is mounted.
        let below = path.strip_prefix(self.root.trim_end_matches('/')).unwrap_or(path);
        let own = if below.is_empty() { "/".to_owned() } else { below.to_owned() };
        Hierarchy { mount_point: self.mount_point.into(), controllers: self.controllers, own }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / /proc rw,relatime - proc proc rw
33 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
34 32 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
35 32 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 32 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
37 32 0:30 / /mnt/elsewhere rw - cgroup cgroup rw,cpu,cpuacct
";

    #[test]
    fn a_hybrid_host() {
        let own = "4:memory:/docker/abc/deep\n3:cpu,cpuacct:/mine\n2:name=systemd:/\n0::/unified\n";
        let hierarchy = |point: &str, controllers: &[&str], own: &str| Hierarchy {
            mount_point: Path::new(MOUNT_POINT).join(point),
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            own: own.to_owned(),
        };
        assert_eq!(
            v1(HYBRID, own).unwrap(),
            CgroupLayout::V1 {
                hierarchies: vec![
                    hierarchy("cpu,cpuacct", &["cpu", "cpuacct"], "/mine"),
                    hierarchy("systemd", &["name=systemd"], "/"),
                    hierarchy("memory", &["memory"], "/deep"),
                ],
                unified: Some(hierarchy("unified", &[], "/unified")),
            }
        );
    }

    #[test]
    fn nothing_mounted_is_an_error() {
        assert_eq!(v1("", "").unwrap_err().to_string(), "no cgroup hierarchy is mounted at /sys/fs/cgroup");
    }
}
