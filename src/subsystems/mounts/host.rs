//! The host's side: the root, and sources that the container's side could not open, as copies that are attached nowhere and
//! already have their attributes.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::copies::{copy_of, copy_of_root, propagation_of_copy};
use super::plan::{Bind, MountsPlan, OpenedBy, Root, RootSwitch, What};
use crate::config::{IdMappings, NamespaceKind};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::rootdir::{Missing, RootDir};
use crate::subsystems::namespaces::host::{among_mounts_of, mapped_user_namespace, namespace_of};
use crate::sys::clone::Child;
use crate::sys::fd::Luggage;
use crate::sys::mount::{Attributes, Reach, attr, mount_id, set_attributes};

/// Opens the root and all sources, and packs them for the child.
pub fn open_sources(plan: &mut MountsPlan, luggage: &mut Luggage) -> Result<()> {
    if plan.root.opened_by == OpenedBy::Host {
        plan.root.tree = Some(luggage.pack(copy_of_root(&plan.root)?));
    }
    for step in &mut plan.steps {
        let within = || format!("{} {:?}", step.property, step.destination);
        let before = propagation_of_copy(&plan.root, &step.propagation);
        match &mut step.what {
            What::Bind(bind) if bind.is_opened_ahead() => {
                let copy = open_source(bind, before).within(within)?;
                bind.copy = Some(luggage.pack(copy));
            }
            What::CgroupV1(cgroup) if !cgroup.own_namespace => {
                for hierarchy in &mut cgroup.hierarchies {
                    let copy = copy_of(&hierarchy.directory, Reach::Mount, before, cgroup.attributes).within(within)?;
                    hierarchy.copy = Some(luggage.pack(copy));
                }
            }
            What::Bind(_) | What::CgroupV1(_) | What::Filesystem(_) | What::Remount(_) => {}
        }
    }
    Ok(())
}

fn open_source(bind: &Bind, propagation: Option<u64>) -> Result<OwnedFd> {
    copy_of(&bind.source, bind.reach, propagation, bind.attributes).within(|| "open source")
}

/// The sources that the container's side asks for, each when its turn comes.
#[derive(Debug, Default)]
pub struct Sources {
    /// One for all mounts with the same mappings.
    namespaces: Vec<(IdMappings, OwnedFd)>,
}

impl Sources {
    /// The source of that step of the plan, for the first process of the container, id-mapped if it is to be. `refusal` is
    /// what the process was told when it tried itself, which stands when we may do no more than it.
    pub fn open(&mut self, plan: &MountsPlan, step: usize, process: &Child, refusal: Option<Error>) -> Result<OwnedFd> {
        let no_step = || Error::new(Kind::Failed, format!("step {step} is no bind mount"));
        let step = plan.steps.get(step).ok_or_else(no_step)?;
        let What::Bind(bind) = &step.what else { return Err(no_step()) };
        let opening = || {
            let before = propagation_of_copy(&plan.root, &step.propagation);
            let copy = match bind.opened_by {
                OpenedBy::Host => open_source(bind, before)?,
                OpenedBy::Inside => {
                    among_mounts_of(process, || open_source(bind, before)).map_err(|error| refusal.unwrap_or(error))?
                }
            };
            if let Some(id_map) = &bind.id_map {
                let namespace = match &id_map.mappings {
                    Some(mappings) => self.namespace_of(mappings, &step.property)?,
                    None => &namespace_of(process.pid, NamespaceKind::User)?,
                };
                map_ids(&copy, id_map.reach, namespace, &bind.source)?;
            }
            Ok(copy)
        };
        opening().within(|| format!("{} {:?}", step.property, step.destination))
    }

    fn namespace_of(&mut self, mappings: &IdMappings, property: &str) -> Result<&OwnedFd> {
        let index = match self.namespaces.iter().position(|(known, _)| known == mappings) {
            Some(index) => index,
            None => {
                let namespace =
                    mapped_user_namespace(mappings, property).within(|| "make a user namespace for the mapping")?;
                self.namespaces.push((mappings.clone(), namespace));
                self.namespaces.len() - 1
            }
        };
        Ok(&self.namespaces[index].1)
    }
}

fn map_ids(copy: &OwnedFd, reach: Reach, namespace: &OwnedFd, source: &Path) -> Result<()> {
    let user_namespace = u64::from(namespace.as_raw_fd().unsigned_abs());
    let attributes = Attributes { set: attr::IDMAP, user_namespace, ..Attributes::default() };
    set_attributes(copy, reach, &attributes).map_err(|errno| {
        let error = Error::call(format!("mount_setattr({source:?}, IDMAP)"), errno);
        match (errno, reach) {
            (Errno::EINVAL, Reach::Mount) => error.hint("its filesystem does not support id-mapped mounts"),
            (Errno::EINVAL, Reach::Tree) => {
                error.hint("its filesystem, or that of a mount below it, does not support id-mapped mounts")
            }
            (Errno::EPERM, _) => {
                error.hint("it is id-mapped already, its filesystem is not ours, or the user namespace maps nothing")
            }
            (Errno::ENOSYS, _) => error.hint("id-mapped mounts need Linux 5.12"),
            _ => error,
        }
    })
}

/// Makes the mount points that are files of the host's, for a root filesystem that may be a new one: what CRIU restores are the
/// mounts on them, and what is in filesystems that are the container's own.
pub fn make_mount_points(plan: &MountsPlan) -> Result<()> {
    for (index, step) in plan.steps.iter().enumerate() {
        let covering = plan.steps[..index]
            .iter()
            .rfind(|other| other.destination != step.destination && step.destination.starts_with(&other.destination));
        let (base, rest) = match covering.map(|other| (&other.what, &other.destination)) {
            None => (&plan.root.path, step.destination.as_path()),
            Some((What::Bind(bind), place)) => (&bind.source, step.destination.strip_prefix(place).unwrap_or(place)),
            Some((What::Filesystem(_) | What::Remount(_) | What::CgroupV1(_), _)) => continue,
        };
        let making = || -> Result<()> {
            let missing = match &step.what {
                What::Bind(bind) if !bind.source.is_dir() => Missing::File,
                What::Bind(_) | What::Filesystem(_) | What::Remount(_) | What::CgroupV1(_) => Missing::Directory,
            };
            let root = open(base, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                .or_call(|| format!("open({base:?})"))?;
            RootDir::new(root).find_or_make(&Path::new("/").join(rest), missing).map(drop)
        };
        making().within(|| format!("{} {:?}: make its mount point", step.property, step.destination))?;
    }
    Ok(())
}

/// A mount that a container without a mount namespace of its own has in ours: recorded, and undone at delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMount {
    /// Where the root filesystem was attached over itself.
    pub path: PathBuf,
    /// What was mounted there before.
    pub covered: u64,
}

impl HostMount {
    /// What will have to be undone, noted before it is done.
    pub fn expected(root: &Root) -> Result<Option<Self>> {
        if root.switch != RootSwitch::Chroot {
            return Ok(None);
        }
        let missing = || Error::call(format!("open({:?})", root.path), Errno::ENOENT);
        let place = open_place(&root.path)?.ok_or_else(missing)?;
        let covered = mount_id(&place).or_call(|| format!("statx({:?})", root.path))?;
        Ok(Some(Self { path: root.path.clone(), covered }))
    }

    /// Takes it away with everything below it, if it is there.
    pub fn undo(&self) -> Result<()> {
        // The bundle may be gone, and with it the mount.
        let Some(place) = open_place(&self.path)? else { return Ok(()) };
        if mount_id(&place).or_call(|| format!("statx({:?})", self.path))? == self.covered {
            return Ok(());
        }
        // The very mount that was looked at: the path may contain symlinks.
        match umount2(crate::sys::fd::proc_path(&place).as_str(), MntFlags::MNT_DETACH) {
            // Not a mount point: somebody took ours and what it covered away already.
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(errno) => Err(Error::call(format!("umount2({:?}, DETACH)", self.path), errno)),
        }
    }
}

fn open_place(path: &Path) -> Result<Option<OwnedFd>> {
    match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::call(format!("open({path:?})"), errno)),
    }
}
