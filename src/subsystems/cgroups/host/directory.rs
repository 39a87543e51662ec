//! One cgroup's directory, held open: no path is resolved twice.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Error, OrCall, Result};
use crate::fs::c_string;
use crate::subsystems::cgroups::plan::Group;
use crate::sys;

/// How directories are opened.
const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// A cgroup's directory.
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
    /// A directory that is there for certain: a mount point.
    pub fn at(path: &Path) -> Result<Self> {
        open(path, DIRECTORY, Mode::empty()).map(Self).or_call(|| format!("open({path:?})"))
    }

    /// A container's group; `None`: it is not there.
    pub fn open(group: &Group) -> Result<Option<Self>> {
        Self::find(&group.directory())
    }

    /// The same by its path.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        match open(path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(directory) => Ok(Some(Self(directory))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::call(format!("open({path:?})"), errno)),
        }
    }

    /// A group below it.
    pub fn child(&self, name: &str) -> Result<Self> {
        self.open_file(name, DIRECTORY).map(Self)
    }

    /// One of its files.
    pub fn open_file(&self, name: &str, flags: OFlag) -> Result<OwnedFd> {
        let resolve =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        sys::fd::openat2(&self.0, &c_string(name)?, flags, Mode::empty(), resolve)
            .or_call(|| format!("openat2({name:?})"))
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

    /// What `cgroup.controllers` of v2 says.
    pub fn controllers(&self) -> Result<Vec<String>> {
        Ok(self.read("cgroup.controllers")?.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// The processes in it, without those below.
    pub fn processes(&self) -> Result<Vec<i32>> {
        Ok(self.read("cgroup.procs")?.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// The names of the groups below it.
    pub fn children(&self) -> Result<Vec<String>> {
        let mut entries = nix::dir::Dir::openat(&self.0, ".", DIRECTORY, Mode::empty()).or_call(|| "opendir")?;
        let mut names = Vec::new();
        for entry in entries.iter() {
            let entry = entry.or_call(|| "readdir")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type() == Some(nix::dir::Type::Directory) && name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}
