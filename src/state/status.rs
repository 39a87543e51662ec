//! What a container is doing, and what may be done to it.

use std::fmt;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::dir::{ContainerDir, START, START_PENDING};
use super::record::{Init, Record};
use crate::error::{Error, Result, Within};
use crate::fs::procfs;
use crate::subsystems::cgroups;

/// The specification's four, and one more that every runtime has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// create is at work.
    Creating,
    /// The first process waits for start.
    Created,
    /// The program runs.
    Running,
    /// It runs, but is frozen.
    Paused,
    /// The first process is gone.
    Stopped,
}

impl Status {
    /// The word of the state document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    /// Whether there is a first process.
    pub fn is_alive(self) -> bool {
        match self {
            Self::Creating | Self::Created | Self::Running | Self::Paused => true,
            Self::Stopped => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Looks. It is a fact about other processes: true now, perhaps not a moment later.
pub fn derive(record: &Record, directory: &ContainerDir) -> Result<Status> {
    let Some(init) = record.init else {
        // Either create is about to make it, or create died before it did.
        return Ok(Status::Stopped);
    };
    if !is_alive(init)? {
        return Ok(Status::Stopped);
    }
    match directory.open_fifo(START, OFlag::O_WRONLY) {
        // Somebody has it open for reading: the first process, which waits.
        Ok(_) => Ok(if cgroups::host::is_frozen(&record.cgroups)? { Status::Paused } else { Status::Created }),
        Err(Errno::ENOENT) if directory.has_fifo(START_PENDING) => Ok(Status::Creating),
        Err(Errno::ENOENT | Errno::ENXIO) => {
            Ok(if cgroups::host::is_frozen(&record.cgroups)? { Status::Paused } else { Status::Running })
        }
        Err(errno) => Err(Error::call(format!("open({START:?})"), errno)).within(|| "state directory"),
    }
}

/// Whether it is still that process, and not only a zombie.
pub fn is_alive(init: Init) -> Result<bool> {
    Ok(procfs::start_time(init.pid)? == Some(init.start_time))
}
