//! Making nodes and links below the root, while the host's `/dev` can still be seen.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mknodat, umask};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};

use super::plan::{DevicesPlan, LINKS, Route};
use crate::config::Device;
use crate::config::linux::DeviceKind;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::c_path;
use crate::fs::rootdir::{Missing, RootDir, file_type};
use crate::subsystems::doors::{InRoot, Inside};
use crate::sys::mount::{Reach, attach, clone_tree_at};

/// Makes all nodes, and the links of `/dev`.
pub fn make_all(_: &Inside, root: &RootDir, plan: &DevicesPlan) -> Result<()> {
    // mknod applies the umask; the modes are meant as they are.
    let before = umask(Mode::empty());
    let made = make_nodes(root, plan);
    umask(before);
    made?;
    if plan.in_dev { make_links(root) } else { Ok(()) }
}

fn make_nodes(root: &RootDir, plan: &DevicesPlan) -> Result<()> {
    // Most are in one directory: it is resolved once.
    let mut last: Option<(&Path, OwnedFd)> = None;
    for device in &plan.nodes {
        if !plan.in_dev && device.path.starts_with("/dev") {
            continue;
        }
        let within = || format!("{} {:?}", device.property, device.path);
        let directory = device.path.parent().unwrap_or(Path::new("/"));
        let parent = match last.take() {
            Some((path, parent)) if path == directory => parent,
            _ => root.make_directories(directory).within(within)?,
        };
        make_node(root, &parent, device, plan.route).within(within)?;
        last = Some((directory, parent));
    }
    Ok(())
}

fn make_node(root: &RootDir, parent: &OwnedFd, device: &Device, route: Route) -> Result<()> {
    let name = device.path.file_name().ok_or_else(|| Error::call("mknodat", Errno::EINVAL))?;
    if route == Route::Bind && device.kind != DeviceKind::Fifo {
        return bind_node(root, device);
    }
    let number = makedev(device.major.into(), device.minor.into());
    match mknodat(parent, name, type_bits(device.kind), Mode::from_bits_truncate(device.mode), number) {
        Ok(()) => set_owner(parent, name, device),
        Err(Errno::EEXIST) => check_existing(root, device),
        Err(Errno::EPERM) if device.kind != DeviceKind::Fifo => {
            log::debug!("{:?} is bound instead of made: mknod is not permitted here", device.path);
            bind_node(root, device)
        }
        Err(errno) => Err(Error::call(format!("mknodat({:?})", device.path), errno)),
    }
}

fn type_bits(kind: DeviceKind) -> SFlag {
    match kind {
        DeviceKind::Char => SFlag::S_IFCHR,
        DeviceKind::Block => SFlag::S_IFBLK,
        DeviceKind::Fifo => SFlag::S_IFIFO,
    }
}

fn set_owner(parent: &OwnedFd, name: &OsStr, device: &Device) -> Result<()> {
    if (device.uid, device.gid) == (0, 0) {
        return Ok(());
    }
    let (owner, group) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    fchownat(parent, name, Some(owner), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)
        .or_call(|| format!("fchownat({:?}, {}:{})", device.path, device.uid, device.gid))
}

/// SPEC(config-linux, "Devices"): a file that is there already and is not the device asked for is an error.
fn check_existing(root: &RootDir, device: &Device) -> Result<()> {
    let Some(existing) = root.find_itself(&device.path)? else {
        return Err(Error::call(format!("openat2({:?})", device.path), Errno::ENOENT));
    };
    if is_device(&existing, device)? {
        return Ok(());
    }
    Err(Error::new(Kind::InvalidConfig, "there is a file already, and it is not this device"))
}

fn is_device(file: &OwnedFd, device: &Device) -> Result<bool> {
    let stat = fstat(file).or_call(|| "fstat")?;
    let is_type = file_type(file)? == type_bits(device.kind);
    let is_number =
        device.kind == DeviceKind::Fifo || stat.st_rdev == makedev(device.major.into(), device.minor.into());
    Ok(is_type && is_number)
}

const NULL: &str = "/dev/null";

/// A handle of the container's null device.
///
/// CVE-2025-31133: an image's `/dev/null` can be a symlink to a file of procfs, and mounting that over a masked path gives
/// it to the container, writable. Only the character device 1:3 itself will do.
pub fn null(root: &RootDir) -> Result<OwnedFd> {
    match root.find_itself(Path::new(NULL))? {
        Some(found) if is_null(&found)? => Ok(found),
        Some(_) => Err(Error::new(Kind::Denied, "/dev/null of the container is not the null device")),
        None => Err(Error::call(format!("openat2({NULL:?})"), Errno::ENOENT)),
    }
}

/// Opens it, for a program to read and write.
pub fn open_null(_: &InRoot, root: &RootDir) -> Result<OwnedFd> {
    // ORDER: verified before it is opened, because opening some devices has effects, and afterwards, because it may have
    // been exchanged meanwhile.
    null(root)?;
    let opened = root.open(Path::new(NULL), OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY)?;
    if is_null(&opened)? {
        Ok(opened)
    } else {
        Err(Error::new(Kind::Denied, "/dev/null of the container was exchanged"))
    }
}

/// Whether it is the null device, whatever its name.
pub fn is_null(file: impl AsFd) -> Result<bool> {
    let stat = fstat(file.as_fd()).or_call(|| "fstat")?;
    Ok(file_type(file)? == SFlag::S_IFCHR && stat.st_rdev == makedev(1, 3))
}

fn bind_node(root: &RootDir, device: &Device) -> Result<()> {
    let source = clone_tree_at(&c_path(&device.path)?, Reach::Mount)
        .or_call(|| format!("open_tree({:?}, CLONE)", device.path))
        .within(|| "open the host's node")?;
    if !is_device(&source, device)? {
        let number = format!("{}:{}", device.major, device.minor);
        return Err(Error::new(Kind::InvalidConfig, format!("the host's {:?} is not device {number}", device.path)));
    }
    let target = root.find_or_make(&device.path, Missing::File)?;
    attach(source, target).or_call(|| format!("move_mount({:?})", device.path))
}

fn make_links(root: &RootDir) -> Result<()> {
    let dev = root.make_directories(Path::new("/dev"))?;
    for (name, target) in LINKS {
        // Those below self are there wherever /proc is, and looking would be looking at ourselves.
        if !target.starts_with("/proc/self/") && root.find_itself(Path::new(target))?.is_none() {
            continue;
        }
        make_link(&dev, name, target)?;
    }
    // The one of the container's own devpts, whatever an image has there.
    match unlinkat(&dev, "ptmx", UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => make_link(&dev, "ptmx", "pts/ptmx"),
        Err(errno) => Err(Error::call("unlinkat(\"/dev/ptmx\")", errno)),
    }
}

fn make_link(dev: &OwnedFd, name: &str, target: &str) -> Result<()> {
    let within = || format!("link \"/dev/{name}\" to {target:?}");
    match symlinkat(target, dev, name) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) => match readlinkat(dev, name) {
            Ok(there) if there == OsStr::new(target) => Ok(()),
            _ => Err(Error::call("symlinkat", Errno::EEXIST)).within(within),
        },
        Err(errno) => Err(Error::call("symlinkat", errno)).within(within),
    }
}
