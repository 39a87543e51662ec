//! The sealed executable: what the container's processes are made from cannot be changed through them.
//!
//! CVE-2019-5736: a process in the container opens `/proc/PID/exe` of ours, waits until we are gone, and writes to it: to
//! the host's binary, which root runs next. So first processes are made from a copy that nobody can write to:
//!
//! 1. the file seen through a read-only overlay of two directories, mounted nowhere. There is no writable layer, and
//!    nothing below the mount that could be reached through it. 0.15-0.3 ms.
//! 2. where overlayfs cannot be used (no CAP_SYS_ADMIN over the host, binary on overlayfs twice): a copy in memory with all
//!    seals set (memfd_create(2)). About 1 ms, and memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlink};
use nix::sys::sendfile::sendfile;
use nix::sys::stat::{Mode, fstat};

use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::c_path;
use crate::sys;
use crate::sys::mount::{Context, attr};

/// A sealed copy, and what keeps it alive.
#[derive(Debug)]
pub struct Sealed {
    executable: OwnedFd,
    _mount: Option<OwnedFd>,
}

impl Sealed {
    /// Seals `image`. `other` is any directory beside the image's own.
    pub fn new(image: &Path, other: &Path) -> Result<Self> {
        let sealing = || -> Result<Self> {
            let original = open(image, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                .or_call(|| format!("open({image:?})"))?;
            match overlay(image, &original, other) {
                Ok(sealed) => {
                    log::debug!("exeseal: using overlayfs for sealed {image:?}");
                    Ok(sealed)
                }
                Err(error) => {
                    log::debug!("the executable is copied to memory, not sealed with overlayfs: {error}");
                    in_memory(&original)
                }
            }
        };
        sealing().within(|| "seal the executable")
    }

    /// For execveat(2).
    pub fn executable(&self) -> BorrowedFd<'_> {
        self.executable.as_fd()
    }
}

fn overlay(image: &Path, original: &OwnedFd, other: &Path) -> Result<Sealed> {
    let path = match readlink(image) {
        Ok(target) => target.into(),
        // Not a link: the path itself.
        Err(Errno::EINVAL) => image.to_owned(),
        Err(errno) => return Err(Error::call(format!("readlink({image:?})"), errno)),
    };
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(Kind::Failed, format!("{path:?} is not a file")));
    };
    let context = Context::open(c"overlay").or_call(|| "fsopen(\"overlay\")")?;
    let lower = format!("{}:{}", escaped(directory), escaped(other));
    let lower = c_path(Path::new(&lower))?;
    for (key, value) in [(c"source", c"corten"), (c"lowerdir", lower.as_c_str()), (c"xino", c"off")] {
        context.set_string(key, value).or_call(|| format!("fsconfig(\"overlay\", {key:?}, {value:?})"))?;
    }
    context.create().or_call(|| "fsconfig(\"overlay\", CREATE)")?;
    let mount = context.mount(attr::RDONLY | attr::NODEV | attr::NOSUID).or_call(|| "fsmount(\"overlay\")")?;
    let executable = openat(&mount, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        .or_call(|| format!("openat(overlay, {name:?})"))?;
    let (seen, meant) = (fstat(&executable).or_call(|| "fstat")?, fstat(original).or_call(|| "fstat")?);
    if (seen.st_ino, seen.st_size) != (meant.st_ino, meant.st_size) {
        return Err(Error::new(Kind::Failed, format!("{path:?} is another file now")));
    }
    Ok(Sealed { executable, _mount: Some(mount) })
}

/// `:` separates layers.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:")
}

/// All that one sendfile(2) copies, and more than our executable has.
const MOST: usize = 0x7fff_f000;

fn in_memory(original: &OwnedFd) -> Result<Sealed> {
    let executable = sys::memfd::executable(c"corten").or_call(|| "memfd_create")?;
    while sendfile(&executable, original, None, MOST).or_call(|| "sendfile(memfd)")? > 0 {}
    sys::memfd::seal(&executable).or_call(|| "fcntl(F_ADD_SEALS)")?;
    Ok(Sealed { executable, _mount: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_in_memory_cannot_be_written() {
        let original = open("/proc/self/exe", OFlag::O_RDONLY, Mode::empty()).unwrap();
        let sealed = in_memory(&original).unwrap();
        assert_eq!(nix::unistd::write(&sealed.executable, b"x"), Err(Errno::EPERM));
        let size = fstat(&original).unwrap().st_size;
        assert_eq!(fstat(sealed.executable()).unwrap().st_size, size);
    }
}
