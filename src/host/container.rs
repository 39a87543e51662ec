//! A container that exists.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::Runtime;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::state::dir::does_not_exist;
use crate::state::lock::{self, Lock};
use crate::state::record::Init;
use crate::state::{ContainerDir, Record, Status, status};
use crate::sys;

/// How long a killed process may take to be gone: it may have much memory to give back, or wait for a disk.
pub(super) const DEATH: Duration = Duration::from_secs(10);

/// The point in time by which a wait that begins now is over.
pub(super) fn within(patience: Duration) -> Instant {
    Instant::now() + patience
}

/// A handle on a container. What it knows of it was true when it was found.
#[derive(Debug)]
pub struct Container {
    pub(super) record: Record,
    pub(super) directory: ContainerDir,
}

impl Container {
    pub(super) fn find(runtime: &Runtime, id: &str) -> Result<Self> {
        crate::state::id::check(id)?;
        let root = runtime.existing_root()?.ok_or_else(|| does_not_exist(id))?;
        let directory = root.open(id)?;
        let record = directory.read_record()?.ok_or_else(|| does_not_exist(id))?;
        Ok(Self { record, directory })
    }

    /// Locks it, and looks again at what it is: somebody may have deleted it meanwhile, and another container may have its
    /// id and its cgroup by now.
    pub(super) fn lock(&mut self) -> Result<Lock> {
        let lock = lock::exclusive(&self.directory).within(|| self.named())?;
        self.record = self.directory.read_record()?.ok_or_else(|| does_not_exist(self.id()))?;
        Ok(lock)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The user who created it: the owner of its state directory.
    pub fn owner(&self) -> Result<u32> {
        let stat =
            nix::sys::stat::fstat(&self.directory).or_call(|| "fstat(state directory)").within(|| self.named())?;
        Ok(stat.st_uid)
    }

    /// What it is doing now.
    pub fn status(&self) -> Result<Status> {
        status::derive(&self.record, &self.directory)
    }

    /// Its first process, held so that no other can be taken for it. `None`: it is gone.
    pub(super) fn init(&self) -> Result<Option<OwnedFd>> {
        self.record.init.map_or(Ok(None), hold)
    }

    /// It is doing something that does not allow what was asked for.
    pub(super) fn wrong_status(&self, why: String) -> Error {
        Error::new(Kind::WrongStatus, why).within(self.named())
    }

    /// `container "c1"`, for messages.
    pub(super) fn named(&self) -> String {
        format!("container {:?}", self.record.id)
    }
}

/// ORDER: opened first and checked then: in between nobody can take the pid.
fn hold(init: Init) -> Result<Option<OwnedFd>> {
    let pidfd = match sys::pidfd::open(init.pid) {
        Ok(pidfd) => pidfd,
        // KERNEL(before 6.13): EINVAL when the process is gone and its id lives on as that of its session.
        Err(Errno::ESRCH | Errno::EINVAL) => return Ok(None),
        Err(errno) => return Err(Error::call(format!("pidfd_open({})", init.pid), errno)),
    };
    Ok(status::is_alive(init)?.then_some(pidfd))
}

/// Sends SIGKILL. A process that is gone already is fine.
pub(super) fn kill(init: Init) -> Result<()> {
    let Some(pidfd) = hold(init)? else { return Ok(()) };
    match sys::pidfd::send_signal(&pidfd, libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::call("pidfd_send_signal(SIGKILL)", errno)),
    }
}

/// Sends SIGKILL and waits until the process is gone. One that is gone already is fine.
pub(super) fn kill_and_wait(pidfd: &OwnedFd) -> Result<()> {
    match sys::pidfd::send_signal(pidfd, libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(Error::call("pidfd_send_signal(SIGKILL)", errno)),
    }
    let gone = sys::wait::until_ready(pidfd, nix::poll::PollFlags::POLLIN, within(DEATH)).or_call(|| "poll(pidfd)")?;
    if gone {
        return Ok(());
    }
    let why = format!("still there {} s after SIGKILL", DEATH.as_secs());
    Err(Error::new(Kind::TimedOut, why)).within(|| "the container's first process")
}
