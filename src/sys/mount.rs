//! The mount API of Linux 5.2: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2).
//!
//! A mount is a file descriptor here until it is attached, and stays one afterwards: nothing is opened again by its path.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use serde::{Deserialize, Serialize};

/// `MOUNT_ATTR_*` of mount_setattr(2) and fsmount(2).
pub mod attr {
    #![expect(missing_docs, reason = "the names are mount_setattr(2)'s")]
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    /// The field of the access time mode: must be in `clear` whenever one of its values is in `set`.
    pub const ATIME: u64 = 0x70;
    pub const RELATIME: u64 = 0x00;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    /// Since 5.14 in mount_setattr.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
    pub const IDMAP: u64 = 0x10_0000;
}

const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const AT_RECURSIVE: u32 = 0x8000;
const AT_EMPTY_PATH: u32 = 0x1000;
const AT_NO_AUTOMOUNT: u32 = 0x800;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;

/// Whether a clone or a change covers the mounts below too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Reach {
    Mount,
    Tree,
}

/// A filesystem that is being configured (fsopen(2), since 5.2).
#[derive(Debug)]
pub struct Context(OwnedFd);

impl Context {
    /// Starts to configure a filesystem of type `kind`.
    pub fn open(kind: &CStr) -> nix::Result<Self> {
        // SAFETY: the string outlives the call.
        super::answer_fd(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) }).map(Self)
    }

    /// Starts to reconfigure the filesystem of an existing mount (fspick(2), since 5.2).
    pub fn pick(mount: impl AsFd) -> nix::Result<Self> {
        let flags = FSPICK_CLOEXEC | FSPICK_EMPTY_PATH;
        // SAFETY: the string outlives the call.
        super::answer_fd(unsafe { libc::syscall(libc::SYS_fspick, mount.as_fd().as_raw_fd(), c"".as_ptr(), flags) })
            .map(Self)
    }

    /// Sets a parameter without a value.
    pub fn set_flag(&self, key: &CStr) -> nix::Result<()> {
        self.configure(FSCONFIG_SET_FLAG, Some(key), None)
    }

    /// Sets a parameter with a value.
    pub fn set_string(&self, key: &CStr, value: &CStr) -> nix::Result<()> {
        self.configure(FSCONFIG_SET_STRING, Some(key), Some(value))
    }

    /// Makes the filesystem, or finds the existing one that it is the same as.
    pub fn create(&self) -> nix::Result<()> {
        self.configure(FSCONFIG_CMD_CREATE, None, None)
    }

    /// Applies what was set to a filesystem that was picked.
    pub fn reconfigure(&self) -> nix::Result<()> {
        self.configure(FSCONFIG_CMD_RECONFIGURE, None, None)
    }

    /// Makes a mount of it, attached to nothing; `attributes` are those of [`attr`].
    pub fn mount(&self, attributes: u64) -> nix::Result<OwnedFd> {
        let attributes = u32::try_from(attributes).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the call takes three integers.
        super::answer_fd(unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
    }

    /// What the kernel has to say about the last failure, such as "tmpfs: Unknown parameter 'x'".
    pub fn complaint(&self) -> Option<String> {
        let mut text = [0_u8; 1024];
        let mut complaints = Vec::new();
        while let Ok(count) = nix::unistd::read(&self.0, &mut text) {
            let line = String::from_utf8_lossy(&text[..count]);
            // "e " error, "w " warning, "i " information.
            complaints.push(line.trim_end().get(2..).unwrap_or_default().to_owned());
        }
        (!complaints.is_empty()).then(|| complaints.join(", "))
    }

    fn configure(&self, command: u32, key: Option<&CStr>, value: Option<&CStr>) -> nix::Result<()> {
        let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: both strings outlive the call; null is what the commands without them want.
        super::answer(unsafe {
            libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, pointer(key), pointer(value), 0)
        })?;
        Ok(())
    }
}

/// A copy of the mount at `path`, attached to nothing (open_tree(2) with OPEN_TREE_CLONE, since 5.2).
///
/// An empty path is `dir` itself.
pub fn clone_tree(dir: impl AsFd, path: &CStr, reach: Reach) -> nix::Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT;
    if path.is_empty() {
        flags |= AT_EMPTY_PATH;
    }
    if reach == Reach::Tree {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the string outlives the call.
    super::answer_fd(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_fd().as_raw_fd(), path.as_ptr(), flags) })
}

/// The same from a path of the calling process.
pub fn clone_tree_at(path: &CStr, reach: Reach) -> nix::Result<OwnedFd> {
    clone_tree(AT_FDCWD, path, reach)
}

/// Attaches a mount to the place that `target` holds (move_mount(2), since 5.2).
pub fn attach(mount: impl AsFd, target: impl AsFd) -> nix::Result<()> {
    let empty = c"";
    // SAFETY: the strings outlive the call.
    super::answer(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_fd().as_raw_fd(),
            empty.as_ptr(),
            target.as_fd().as_raw_fd(),
            empty.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// A change of a mount's attributes, as mount_setattr(2) wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are mount_setattr(2)'s")]
pub struct Attributes {
    pub set: u64,
    pub clear: u64,
    /// `MS_PRIVATE` and so on, or 0.
    pub propagation: u64,
    pub user_namespace: u64,
}

/// Changes a mount, attached or not (mount_setattr(2), since 5.12).
pub fn set_attributes(mount: impl AsFd, reach: Reach, attributes: &Attributes) -> nix::Result<()> {
    set_attributes_at(mount.as_fd(), c"", reach, attributes)
}

fn set_attributes_at(dir: BorrowedFd<'_>, path: &CStr, reach: Reach, attributes: &Attributes) -> nix::Result<()> {
    let mut flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
    if reach == Reach::Tree {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the string and the structure outlive the call, and the size is the structure's.
    super::answer(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    })?;
    Ok(())
}

/// Makes the working directory the root, and puts the old root on top of it (pivot_root(2), the `pivot_root(".", ".")`
/// of its notes): no directory for the old root is needed.
pub fn pivot_to_cwd() -> nix::Result<()> {
    // SAFETY: both strings outlive the call.
    super::answer(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    Ok(())
}

/// The id of the mount that a descriptor is on, unique since boot where the kernel can say (statx(2), since 6.8), else
/// the id of mountinfo (since 5.8).
pub fn mount_id(fd: impl AsFd) -> nix::Result<u64> {
    const STATX_MNT_ID: u32 = 0x1000;
    const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
    // SAFETY: an all-zero statx is a valid value.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the string and the structure outlive the call.
    let result = unsafe {
        libc::statx(
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
            STATX_MNT_ID | STATX_MNT_ID_UNIQUE,
            &raw mut answer,
        )
    };
    super::answer(result.into())?;
    Ok(answer.stx_mnt_id)
}
