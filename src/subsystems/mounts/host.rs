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
use super::plan::{IdMap, MountsPlan, OpenedBy, Root, RootSwitch, What};
use crate::error::{Error, OrCall, Result, Within};
use crate::subsystems::namespaces;
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
            What::Bind(bind) if bind.opened_by == OpenedBy::Host => {
                let copy = copy_of(&bind.source, bind.reach, before, bind.attributes)
                    .within(|| "open source")
                    .within(within)?;
                if let Some(id_map) = &bind.id_map {
                    map_ids(&copy, id_map).within(within)?;
                }
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

fn map_ids(copy: &OwnedFd, id_map: &IdMap) -> Result<()> {
    let namespace = namespaces::host::mapped_user_namespace(&id_map.mappings)?;
    let user_namespace = u64::from(namespace.as_raw_fd().unsigned_abs());
    let attributes = Attributes { set: attr::IDMAP, user_namespace, ..Attributes::default() };
    set_attributes(copy, id_map.reach, &attributes).map_err(|errno| {
        let error = Error::call("mount_setattr(IDMAP)", errno);
        match errno {
            Errno::EINVAL => error.hint("its filesystem does not support id-mapped mounts, or it is mapped already"),
            _ => error,
        }
    })
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
