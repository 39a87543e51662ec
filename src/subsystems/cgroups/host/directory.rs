//! One cgroup's directory, held open: no path is resolved twice.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, open};
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use nix::unistd::{Whence, lseek};

use crate::error::{Error, OrCall, Result};
use crate::fs::c_string;
use crate::subsystems::cgroups::plan::Group;
use crate::sys;

/// How directories are opened.
const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Where v2 tells what happens to a group; poll(2) says POLLPRI when it changes.
const EVENTS: &str = "cgroup.events";

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
    /// A directory that is there for certain: a mount point, or the parent of one that is there.
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
        let file = match self.open_file(name, OFlag::O_WRONLY) {
            Ok(file) => file,
            Err(error) => {
                let controller = name.split_once('.').map_or(name, |(controller, _)| controller);
                return Err(error.hint(format!("is the cgroup controller {controller:?} enabled?")));
            }
        };
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

    /// Whether `cgroup.events` of v2 has this line.
    pub fn has_event(&self, event: &str) -> Result<bool> {
        Ok(self.read(EVENTS)?.lines().any(|line| line == event))
    }

    /// Waits until it has. `false`: `deadline` came first.
    pub fn wait_for_event(&self, event: &str, deadline: Instant) -> Result<bool> {
        let events = self.open_file(EVENTS, OFlag::O_RDONLY)?;
        loop {
            let content = sys::fd::read_all(&events).or_call(|| format!("read({EVENTS:?})"))?;
            if String::from_utf8_lossy(&content).lines().any(|line| line == event) {
                return Ok(true);
            }
            if !sys::wait::until_ready(&events, PollFlags::POLLPRI, deadline).or_call(|| format!("poll({EVENTS:?})"))? {
                return Ok(false);
            }
            lseek(&events, 0, Whence::SeekSet).or_call(|| format!("lseek({EVENTS:?})"))?;
        }
    }

    /// The processes in it, without those below and those that our pid namespace does not show.
    pub fn processes(&self) -> Result<Vec<i32>> {
        match self.read("cgroup.procs") {
            Ok(content) => Ok(content.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()),
            // A threaded group: its processes stand in the first group above that is none.
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Calls `visit` with every group below it and then with itself. One that goes away meanwhile is left out.
    pub fn visit(&self, visit: &mut dyn FnMut(&Self) -> Result<()>) -> Result<()> {
        let is_gone = |error: &Error| matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV));
        let mut go = || -> Result<()> {
            for name in self.children()? {
                match self.child(&name) {
                    Ok(child) => child.visit(visit)?,
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            visit(self)
        };
        go().or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })
    }

    /// The names of the groups below it.
    pub fn children(&self) -> Result<Vec<String>> {
        self.entries(Type::Directory)
    }

    /// The names of its files.
    pub fn files(&self) -> Result<Vec<String>> {
        self.entries(Type::File)
    }

    fn entries(&self, kind: Type) -> Result<Vec<String>> {
        let mut entries = Dir::openat(&self.0, ".", DIRECTORY, Mode::empty()).or_call(|| "opendir")?;
        let mut names = Vec::new();
        for entry in entries.iter() {
            let entry = entry.or_call(|| "readdir")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type() == Some(kind) && name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}
