//! The host's side: every source is opened here, as a copy that is attached nowhere and already has its attributes.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag};
use serde::{Deserialize, Serialize};

use super::copies::{copy_of, propagation_of_copy};
use super::options::Change;
use super::plan::{MountsPlan, Root, RootSwitch, What};
use crate::error::{Error, OrCall, Result, Within};
use crate::fs::rootdir::file_type;
use crate::sys::fd::Luggage;
use crate::sys::mount::{Reach, mount_id};

/// Opens the root and all sources, and packs them for the child.
pub fn open_sources(plan: &mut MountsPlan, luggage: &mut Luggage) -> Result<()> {
    open_root(&mut plan.root, luggage)?;
    for step in &mut plan.steps {
        let within = || format!("{} {:?}", step.property, step.destination);
        let before = propagation_of_copy(&plan.root, &step.propagation);
        match &mut step.what {
            What::Bind(bind) => {
                let copy = copy_of(&bind.source, bind.reach, before, bind.attributes)
                    .within(|| "open source")
                    .within(within)?;
                bind.directory = file_type(&copy).within(within)? == SFlag::S_IFDIR;
                bind.copy = Some(luggage.pack(copy));
            }
            What::CgroupV1(cgroup) if !cgroup.own_namespace => {
                for hierarchy in &mut cgroup.hierarchies {
                    let copy = copy_of(&hierarchy.directory, Reach::Mount, before, cgroup.attributes).within(within)?;
                    hierarchy.copy = Some(luggage.pack(copy));
                }
            }
            What::CgroupV1(_) | What::Filesystem(_) | What::Remount(_) => {}
        }
    }
    Ok(())
}

fn open_root(root: &mut Root, luggage: &mut Luggage) -> Result<()> {
    let within = || format!("root.path: open {:?}", root.path);
    let copy = copy_of(&root.path, Reach::Tree, Some(root.before), Change::default()).within(within)?;
    if file_type(&copy)? != SFlag::S_IFDIR {
        return Err(Error::call(format!("open_tree({:?})", root.path), Errno::ENOTDIR)).within(within);
    }
    root.tree = Some(luggage.pack(copy));
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
        umount2(crate::sys::fd::proc_path(&place).as_str(), MntFlags::MNT_DETACH)
            .or_call(|| format!("umount2({:?}, DETACH)", self.path))
    }
}

fn open_place(path: &Path) -> Result<Option<OwnedFd>> {
    match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::call(format!("open({path:?})"), errno)),
    }
}
