//! `tmpcopyup`: a new tmpfs begins as a copy of the directory that it covers.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};

use crate::error::{OrCall, Result};
use crate::sys;

/// Copies everything below `from` to below `to`, with owners and modes, through descriptors only and following no symlink.
pub fn copy_tree(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    // The handles are O_PATH; reading a directory needs a real one.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let from = openat(from, ".", flags, Mode::empty()).or_call(|| "open source directory")?;
    let to = openat(to, ".", flags, Mode::empty()).or_call(|| "open tmpfs")?;
    copy_entries(&from, &to)
}

fn copy_entries(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let mut entries = Dir::openat(from, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_call(|| "opendir")?;
    for entry in entries.iter() {
        let entry = entry.or_call(|| "readdir")?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name)?;
        }
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<()> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).or_call(|| format!("fstatat({name:?})"))?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::from_bits_truncate(0o700)).or_call(|| format!("mkdirat({name:?})"))?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let below = openat(from, name, flags, Mode::empty()).or_call(|| format!("openat({name:?})"))?;
            let made = openat(to, name, flags, Mode::empty()).or_call(|| format!("openat({name:?})"))?;
            copy_entries(&below, &made)?;
        }
        SFlag::S_IFLNK => {
            let target = readlinkat(from, name).or_call(|| format!("readlinkat({name:?})"))?;
            symlinkat(target.as_os_str(), to, name).or_call(|| format!("symlinkat({name:?})"))?;
            let (owner, group) = owner(&stat);
            return fchownat(to, name, owner, group, AtFlags::AT_SYMLINK_NOFOLLOW)
                .or_call(|| format!("fchownat({name:?})"));
        }
        SFlag::S_IFREG => copy_file(from, to, name)?,
        kind => mknodat(to, name, kind, mode, stat.st_rdev).or_call(|| format!("mknodat({name:?})"))?,
    }
    let (owner, group) = owner(&stat);
    fchownat(to, name, owner, group, AtFlags::AT_SYMLINK_NOFOLLOW).or_call(|| format!("fchownat({name:?})"))?;
    // ORDER: after the change of owner, which takes away set-user-ID.
    fchmodat(to, name, mode, FchmodatFlags::FollowSymlink).or_call(|| format!("fchmodat({name:?})"))
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<()> {
    let source = openat(from, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        .or_call(|| format!("openat({name:?})"))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let made = openat(to, name, flags, Mode::from_bits_truncate(0o600)).or_call(|| format!("openat({name:?})"))?;
    let stat = fstat(&source).or_call(|| format!("fstat({name:?})"))?;
    let (owner, group) = owner(&stat);
    fchown(&made, owner, group).or_call(|| format!("fchown({name:?})"))?;
    let content = sys::fd::read_all(&source).or_call(|| format!("read({name:?})"))?;
    sys::fd::write_all(&made, &content).or_call(|| format!("write({name:?})"))
}

fn owner(stat: &FileStat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}
