//! What of a container is not its own, so that CRIU does not put it into an image: it is named there, and what has that name when
//! the container is restored takes its place.
//!
//! | what | its name in an image (COMPAT(runc): the same) |
//! |---|---|
//! | a bind mount, a device that is bound | the mount point |
//! | a file that is masked | `/dev/null` |
//! | a network or pid namespace that was joined | `extRootNetNS`, `extRootPidNS` |
//! | a pipe whose other end is outside and that is a standard stream of the first process | that of the kernel, in `descriptors.json` |

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, readlink};
use nix::sys::stat::{Mode, SFlag, stat};
use serde::{Deserialize, Serialize};

use crate::config::{NamespaceChoice, NamespaceKind, Namespaces};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::procfs;
use crate::fs::rootdir::{RootDir, file_type};
use crate::machine::criu::messages::{CgroupImage, CgroupRoot, Joined, Named};
use crate::subsystems::cgroups::{Group, Placement};
use crate::subsystems::devices::DevicesPlan;
use crate::subsystems::mounts::MountsPlan;
use crate::subsystems::mounts::plan::What;

/// What a masked file is covered with.
const MASK: &str = "/dev/null";

/// A container's configuration can mean that its annotation names CRIU's configuration file.
pub const CONFIG_FILE: &str = "org.criu.config";
/// COMPAT(runc): where it is when nobody says so.
const DEFAULT_CONFIG_FILE: &str = "/etc/criu/runc.conf";

/// CRIU's configuration file for a container with these annotations; it may be missing. `None`: there is to be none.
pub fn config_file(annotations: &BTreeMap<String, String>) -> Option<String> {
    match annotations.get(CONFIG_FILE) {
        None => Some(DEFAULT_CONFIG_FILE.to_owned()),
        Some(path) => (!path.is_empty()).then(|| path.clone()),
    }
}

/// What create knows of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Externals {
    /// Why the container can be neither dumped nor restored.
    pub obstacle: Option<Error>,
    /// Bind mounts and devices that may be: where they are in the container, and on the host.
    mounts: Vec<(PathBuf, PathBuf)>,
    /// `linux.maskedPaths`.
    masked: Vec<PathBuf>,
    /// Namespaces that were joined, with their paths.
    joined: Vec<(NamespaceKind, PathBuf)>,
}

impl Externals {
    /// Sorts it out.
    pub fn new(mounts: &MountsPlan, devices: &DevicesPlan, namespaces: &Namespaces) -> Self {
        let mut found = Vec::new();
        for step in &mounts.steps {
            match &step.what {
                What::Bind(bind) => found.push((step.destination.clone(), bind.source.clone())),
                What::CgroupV1(cgroup) if !cgroup.own_namespace => {
                    let places = cgroup.hierarchies.iter();
                    found.extend(places.map(|it| (step.destination.join(&it.name), it.directory.clone())));
                }
                What::CgroupV1(_) | What::Filesystem(_) | What::Remount(_) => {}
            }
        }
        found.extend(devices.nodes.iter().map(|node| (node.path.clone(), node.path.clone())));
        let joined = NamespaceKind::ALL.into_iter().filter_map(|kind| match namespaces.of(kind) {
            NamespaceChoice::Join { path, .. } => Some((kind, path.clone())),
            NamespaceChoice::Create | NamespaceChoice::Inherit => None,
        });
        Self {
            obstacle: obstacle(mounts, namespaces),
            mounts: found,
            masked: mounts.masked.clone(),
            joined: joined.collect(),
        }
    }

    /// The mounts of the container with this first process, as they are dumped.
    pub fn dumped_mounts(&self, init: i32) -> Result<Vec<Named>> {
        let root = RootDir::new(open_directory(Path::new(&format!("/proc/{init}/root")))?);
        let mut named = self.places(&root, |place, _| Named { key: place.clone(), value: place })?;
        for path in &self.masked {
            let is_file = |file: OwnedFd| Ok::<_, Error>(file_type(&file)? != SFlag::S_IFDIR);
            if root.find(path)?.map(is_file).transpose()?.unwrap_or(false) {
                named.push(Named { key: text(&root.real_path(path)?)?, value: MASK.to_owned() });
            }
        }
        Ok(named)
    }

    /// The same, for a container that is restored on this root filesystem.
    pub fn restored_mounts(&self, rootfs: &Path) -> Result<Vec<Named>> {
        let root = RootDir::new(open_directory(rootfs)?);
        let mut named = self.places(&root, |place, source| Named { key: place, value: source })?;
        if !self.masked.is_empty() {
            named.push(Named { key: MASK.to_owned(), value: MASK.to_owned() });
        }
        Ok(named)
    }

    fn places(&self, root: &RootDir, name: impl Fn(String, String) -> Named) -> Result<Vec<Named>> {
        let place = |(path, source): &(PathBuf, PathBuf)| Ok(name(text(&root.real_path(path)?)?, text(source)?));
        self.mounts.iter().map(place).collect()
    }

    /// The network and pid namespaces, as they are named when they are dumped.
    pub fn dumped_namespaces(&self, init: i32) -> Result<Vec<String>> {
        let of_criu = self.joined.iter().filter_map(|(kind, _)| Some((kind.proc_name(), key(*kind)?)));
        let named = of_criu.map(|(name, key)| {
            let path = format!("/proc/{init}/ns/{name}");
            let inode = stat(path.as_str()).or_call(|| format!("stat({path:?})"))?.st_ino;
            Ok(format!("{name}[{inode}]:{key}"))
        });
        named.collect()
    }

    /// The same, opened for what is restored in them, with their names.
    pub fn open_namespaces(&self) -> Result<Vec<(OwnedFd, &'static str)>> {
        let of_criu = self.joined.iter().filter_map(|(kind, path)| Some((path, key(*kind)?)));
        let opened = of_criu.map(|(path, key)| {
            let file = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
            Ok((file.or_call(|| format!("open({path:?})")).within(|| "linux.namespaces")?, key))
        });
        opened.collect()
    }

    /// The other namespaces that were joined: CRIU does that itself.
    pub fn joined_namespaces(&self) -> Result<Vec<Joined>> {
        let others = self.joined.iter().filter(|(kind, _)| key(*kind).is_none());
        others.map(|(kind, path)| Ok(Joined { kind: kind.proc_name().to_owned(), path: text(path)? })).collect()
    }
}

/// What CRIU has no way to make again.
fn obstacle(mounts: &MountsPlan, namespaces: &Namespaces) -> Option<Error> {
    let id_mapped = mounts.steps.iter().find(|step| matches!(&step.what, What::Bind(bind) if bind.id_map.is_some()));
    if let Some(step) = id_mapped {
        return Some(Error::unsupported(step.property.clone(), "CRIU cannot make an id-mapped mount again"));
    }
    if !namespaces.creates(NamespaceKind::Mount) {
        let why = "CRIU needs a mount namespace that is the container's own";
        return Some(Error::unsupported("linux.namespaces", why));
    }
    match namespaces.of(NamespaceKind::Cgroup) {
        NamespaceChoice::Join { property, .. } => {
            Some(Error::unsupported(property.clone(), "CRIU cannot join a cgroup namespace"))
        }
        NamespaceChoice::Create | NamespaceChoice::Inherit => None,
    }
}

/// COMPAT(runc): its name in an image, if it is there as something from outside.
fn key(kind: NamespaceKind) -> Option<&'static str> {
    match kind {
        NamespaceKind::Network => Some("extRootNetNS"),
        NamespaceKind::Pid => Some("extRootPidNS"),
        NamespaceKind::User
        | NamespaceKind::Cgroup
        | NamespaceKind::Ipc
        | NamespaceKind::Uts
        | NamespaceKind::Time
        | NamespaceKind::Mount => None,
    }
}

/// What the standard streams of the first process are, one of `processes`: `pipe:[7]`, or any other name. One that leads to
/// another process of the container has none: it is restored with the container.
pub fn streams(init: i32, processes: &BTreeSet<i32>) -> Vec<String> {
    let name = |path: &str| readlink(path).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let streams = (0..3).map(|number| (number, name(&format!("/proc/{init}/fd/{number}"))));
    let outside = streams.map(|(number, stream)| {
        let is_inside =
            stream.starts_with(PIPE) && processes.iter().any(|pid| has_other_end(*pid, &stream, number == 0));
        if is_inside { String::new() } else { stream }
    });
    outside.collect()
}

const PIPE: &str = "pipe:";

/// Which of the streams of an image take what is at the same place now.
pub fn inherited(streams: &[String]) -> impl Iterator<Item = (i32, &String)> {
    (0..3).zip(streams).filter(|(_, name)| name.starts_with(PIPE))
}

/// Whether a process can write to this pipe (or read from it, when it is one to write to).
fn has_other_end(pid: i32, pipe: &str, writes: bool) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.filter_map(std::result::Result::ok).any(|entry| {
        let is_it = readlink(&entry.path()).is_ok_and(|name| name == pipe);
        let info = || procfs::read_own(&format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy()));
        let flags = |info: String| {
            let text = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim().to_owned();
            i32::from_str_radix(&text, 8).ok()
        };
        is_it && info().ok().and_then(flags).is_some_and(|flags| (flags & libc::O_ACCMODE != libc::O_RDONLY) == writes)
    })
}

/// The container's own groups: CRIU takes along what is below them, and makes it again there, whatever they were before.
pub fn cgroup_roots(placement: &Placement) -> Vec<CgroupRoot> {
    // CRIU names a hierarchy by all of its controllers, that of v2 by none.
    let root = |group: &Group| CgroupRoot { controller: Some(group.controllers.join(",")), path: group.path.clone() };
    placement.groups.iter().map(root).collect()
}

/// Whether a checkpoint has groups at all: without it knows where its processes were, and nothing of these places.
pub fn has_groups(image: &CgroupImage) -> bool {
    image.controllers.iter().any(|it| !it.groups.is_empty())
}

/// Whether a checkpoint has groups below the container's own: in its cgroups' image, or, if who made it looked at those of its
/// processes alone (COMPAT(runc)), as the place of one.
pub fn has_groups_below(image: &CgroupImage) -> bool {
    let below = |path: &str, prefix: Option<u32>| prefix.is_some_and(|own| path.len() > own as usize);
    let mut groups = image.controllers.iter().flat_map(|it| &it.groups);
    groups.any(|group| !group.children.is_empty())
        || has_groups(image)
            && image.sets.iter().flat_map(|set| &set.members).any(|member| below(&member.path, member.prefix))
}

/// The controllers of v2 that the container's own group handed down to those below it.
pub fn handed_down(image: &CgroupImage) -> Vec<String> {
    let unified = image.controllers.iter().filter(|it| it.names.iter().all(String::is_empty));
    let properties = unified.flat_map(|it| &it.groups).flat_map(|group| &group.properties);
    let lists = properties.filter(|property| property.name == "cgroup.subtree_control");
    lists.flat_map(|property| property.value.split_ascii_whitespace()).map(str::to_owned).collect()
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_call(|| format!("open({path:?})"))
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("{path:?} is not UTF-8, which CRIU's messages have to be"))
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn groups_in_an_image() {
        // A hierarchy without a name; with the container's group "c"; with "d" below it.
        for (message, expected) in [
            (&b"\x12\x04\x0a\x00\x18\x00"[..], false),
            (b"\x12\x07\x0a\x00\x12\x03\x0a\x01c", false),
            (b"\x12\x0c\x0a\x00\x12\x08\x0a\x01c\x12\x03\x0a\x01d", true),
            // A process in "/c/d", whose cgroup namespace is "/c": no group was taken, or one was.
            (b"\x0a\x0c\x12\x0a\x0a\x00\x12\x04/c/d\x18\x02", false),
            (b"\x0a\x0c\x12\x0a\x0a\x00\x12\x04/c/d\x18\x02\x12\x07\x0a\x00\x12\x03\x0a\x01c", true),
            (b"", false),
        ] {
            assert_eq!(has_groups_below(&CgroupImage::decode(message).unwrap()), expected, "{message:?}");
        }
    }

    #[test]
    fn controllers_that_are_handed_down() {
        let image = b"\x12\x2d\x0a\x00\x12\x29\x0a\x01c\x1a\x24\x0a\x16cgroup.subtree_control\x12\x08cpu pids\x1a\x00";
        assert_eq!(handed_down(&CgroupImage::decode(&image[..]).unwrap()), ["cpu", "pids"]);
    }
}
