//! A directory of one of the kernel's own filesystems, held open: no path is resolved twice.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, open, openat};
use nix::sys::stat::Mode;

use super::{c_path, c_string};
use crate::error::{Error, OrCall, Result};
use crate::sys;

/// How directories are opened.
const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Names are taken as they are, and lead nowhere else.
const BENEATH: ResolveFlag =
    ResolveFlag::RESOLVE_BENEATH.union(ResolveFlag::RESOLVE_NO_SYMLINKS).union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

/// Such a directory: a group, where groups are directories.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl From<OwnedFd> for Directory {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Directory {
    /// A directory that is there for certain: a mount point, or the parent of one that is there.
    pub fn at(path: &Path) -> Result<Self> {
        open(path, DIRECTORY, Mode::empty()).map(Self).or_call(|| format!("open({path:?})"))
    }

    /// One that may be missing: `None`.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        match open(path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(directory) => Ok(Some(Self(directory))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::call(format!("open({path:?})"), errno)),
        }
    }

    /// The same, held once more.
    pub fn itself(&self) -> Result<Self> {
        self.0.try_clone().map(Self).or_call(|| "dup")
    }

    /// A group in it.
    pub fn child(&self, name: &OsStr) -> Result<Self> {
        let name = c_path(Path::new(name))?;
        sys::fd::openat2(&self.0, &name, DIRECTORY, Mode::empty(), BENEATH)
            .map(Self)
            .or_call(|| format!("openat2({name:?})"))
    }

    /// The same; `None`: it is not there, or not any more.
    pub fn find_child(&self, name: &OsStr) -> Result<Option<Self>> {
        match self.child(name) {
            Err(error) if is_gone(&error) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The group that it is in, also when it was removed itself.
    pub fn parent(&self) -> Result<Self> {
        openat(&self.0, "..", DIRECTORY, Mode::empty()).map(Self).or_call(|| "openat(\"..\")")
    }

    /// One of its files.
    pub fn open_file(&self, name: &str, flags: OFlag) -> Result<OwnedFd> {
        sys::fd::openat2(&self.0, &c_string(name)?, flags, Mode::empty(), BENEATH)
            .or_call(|| format!("openat2({name:?})"))
    }

    /// Whether it has a file of that name.
    pub fn has(&self, name: &str) -> Result<bool> {
        match self.open_file(name, OFlag::O_PATH) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes to one of its files, in one call.
    pub fn write(&self, name: &str, value: &str) -> Result<()> {
        let file = self.open_file(name, OFlag::O_WRONLY)?;
        nix::unistd::write(&file, value.as_bytes()).or_call(|| format!("write({name:?}, {value:?})")).map(drop)
    }

    /// The content of one of its files.
    pub fn read(&self, name: &str) -> Result<String> {
        let file = self.open_file(name, OFlag::O_RDONLY)?;
        let content = sys::fd::read_all(&file).or_call(|| format!("read({name:?})"))?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    /// The names of the groups in it; none when it was removed.
    pub fn children(&self) -> Result<Vec<OsString>> {
        self.entries(Type::Directory)
    }

    /// The names of its files.
    pub fn files(&self) -> Result<Vec<String>> {
        Ok(self.entries(Type::File)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn entries(&self, kind: Type) -> Result<Vec<OsString>> {
        let mut directory = match Dir::openat(&self.0, ".", DIRECTORY, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            other => other.or_call(|| "opendir")?,
        };
        let mut listing = || -> nix::Result<Vec<OsString>> {
            let mut names = Vec::new();
            for entry in directory.iter() {
                let entry = entry?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if entry.file_type() == Some(kind) && name != "." && name != ".." {
                    names.push(name.to_owned());
                }
            }
            Ok(names)
        };
        match listing() {
            Err(Errno::ENOENT) => Ok(Vec::new()),
            other => other.or_call(|| "readdir"),
        }
    }
}

/// What the kernel says of a group that was there a moment ago: of its name, and of its files when they are open.
pub fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV))
}
