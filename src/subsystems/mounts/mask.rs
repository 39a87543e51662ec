//! `linux.maskedPaths` and `linux.readonlyPaths`.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sys::stat::SFlag;

use super::inside::Rootfs;
use crate::error::{OrCall, Result, Within};
use crate::fs::c_string;
use crate::fs::rootdir::{RootDir, file_type};
use crate::subsystems::devices;
use crate::subsystems::doors::InRoot;
use crate::sys::mount::{Attributes, Context, Reach, attach, attr, clone_tree, set_attributes};

/// Covers each path: a directory by an empty one, with this SELinux label, anything else by `/dev/null`. What is not there
/// is skipped.
pub fn mask_all(_: &InRoot, rootfs: &Rootfs, paths: &[PathBuf], label: Option<&str>) -> Result<()> {
    let mut covers = Covers { label: label.map(c_string).transpose()?, ..Covers::default() };
    for (index, path) in paths.iter().enumerate() {
        let mut mask = || -> Result<()> {
            let Some(target) = rootfs.find_to_protect(path)? else { return Ok(()) };
            let cover =
                if file_type(&target)? == SFlag::S_IFDIR { covers.directory()? } else { covers.file(&rootfs.dir)? };
            attach(&cover, &target).or_call(|| format!("move_mount({path:?})"))?;
            covers.attached(cover);
            Ok(())
        };
        mask().within(|| format!("linux.maskedPaths[{index}] {path:?}"))?;
    }
    Ok(())
}

/// Makes each path read-only, with all that is mounted below. What is not there is skipped.
pub fn make_readonly(_: &InRoot, rootfs: &Rootfs, paths: &[PathBuf]) -> Result<()> {
    for (index, path) in paths.iter().enumerate() {
        let protect = || -> Result<()> {
            let Some(target) = rootfs.find_to_protect(path)? else { return Ok(()) };
            // A copy keeps nosuid, nodev and noexec of what it copies.
            let copy = clone_tree(&target, c"", Reach::Tree).or_call(|| format!("open_tree({path:?})"))?;
            let readonly = Attributes { set: attr::RDONLY, ..Attributes::default() };
            set_attributes(&copy, Reach::Tree, &readonly).or_call(|| format!("mount_setattr({path:?}, RDONLY)"))?;
            attach(&copy, &target).or_call(|| format!("move_mount({path:?})"))
        };
        protect().within(|| format!("linux.readonlyPaths[{index}] {path:?}"))?;
    }
    Ok(())
}

/// What paths are covered with. All directories share one empty filesystem: a tmpfs each would cost a machine with many
/// containers real memory.
#[derive(Default)]
struct Covers {
    label: Option<CString>,
    empty_directory: Option<OwnedFd>,
    null: Option<OwnedFd>,
}

impl Covers {
    fn directory(&self) -> Result<OwnedFd> {
        if let Some(attached) = &self.empty_directory {
            return clone_tree(attached, c"", Reach::Mount).or_call(|| "open_tree(empty directory, CLONE)");
        }
        let context = Context::open(c"tmpfs").or_call(|| "fsopen(\"tmpfs\")")?;
        for (key, value) in [(c"source", c"tmpfs"), (c"nr_blocks", c"1"), (c"nr_inodes", c"1"), (c"mode", c"755")] {
            context.set_string(key, value).or_call(|| format!("fsconfig(\"tmpfs\", {key:?})"))?;
        }
        if let Some(label) = &self.label {
            context.set_string(c"context", label).or_call(|| format!("fsconfig(\"tmpfs\", \"context\", {label:?})"))?;
        }
        context.create().or_call(|| "fsconfig(\"tmpfs\", CREATE)")?;
        context.mount(attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC).or_call(|| "fsmount(\"tmpfs\")")
    }

    fn file(&mut self, root: &RootDir) -> Result<OwnedFd> {
        let null = match self.null.take() {
            Some(null) => null,
            None => devices::inside::null(root)?,
        };
        let copy = clone_tree(&null, c"", Reach::Mount).or_call(|| "open_tree(\"/dev/null\", CLONE)")?;
        self.null = Some(null);
        Ok(copy)
    }

    /// KERNEL: a mount can be copied from where it is attached, not (before 6.15) while it is attached nowhere.
    fn attached(&mut self, cover: OwnedFd) {
        if self.empty_directory.is_none() && file_type(&cover).is_ok_and(|kind| kind == SFlag::S_IFDIR) {
            self.empty_directory = Some(cover);
        }
    }
}
