//! `start`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::container::{Container, within};
use super::delete;
use crate::channel::{FromInside, HostEnd};
use crate::error::{Error, Kind, OrCall, Result, phrases};
use crate::state::Status;
use crate::state::dir::{REPORT, START};
use crate::subsystems::hooks::{self, Surroundings};
use crate::subsystems::readiness::Readiness;
use crate::subsystems::seccomp;
use crate::sys;
use crate::timing::phase;

/// From "go" to the program's first instruction.
const PATIENCE: Duration = Duration::from_secs(60);

impl Container {
    /// Runs the program (runtime-spec, "Start"). Comes back when it was executed and the poststart hooks have run.
    pub fn start(&mut self) -> Result<()> {
        self.execute(None).map(drop)
    }

    /// The same, and waits until the program says that it is ready, or ends. Then the service manager `notify_socket` is told,
    /// as [`super::CreateRequest::notify_socket`] has it. A container that was created without one is not waited for.
    pub fn start_until_ready(&mut self, notify_socket: &Path) -> Result<()> {
        // Nobody else is locked out meanwhile: it takes as long as the program takes.
        let (init, readiness) = self.execute(Some(notify_socket))?;
        if let Some(readiness) = readiness {
            readiness.wait(&init, self.record.init.map_or(0, |init| init.pid));
        }
        Ok(())
    }

    /// Locked: executes the program, and hears what it says to be handed on to `manager`.
    fn execute(&mut self, manager: Option<&Path>) -> Result<(OwnedFd, Option<Readiness>)> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Created => {}
            Status::Stopped => return Err(self.wrong_status(phrases::START_STOPPED.to_owned())),
            Status::Running => return Err(self.wrong_status(phrases::START_RUNNING.to_owned())),
            other @ (Status::Creating | Status::Paused) => {
                return Err(self.wrong_status(format!("cannot start a container in the {other} state")));
            }
        }
        if !self.record.has_process {
            return Err(Error::invalid("process", "is not set: there is no program to start"));
        }
        let init = self.init()?.ok_or_else(|| self.wrong_status(phrases::START_STOPPED.to_owned()))?;
        let readiness = manager.and_then(|manager| self.listen(manager));
        self.release(&init).and_then(|()| after_start(self)).map_err(|error| {
            // SPEC(runtime, Lifecycle 7-9): stop the container and continue at step 12.
            match delete::destroy(self) {
                Ok(()) => error,
                Err(also) => error.also(&also),
            }
        })?;
        Ok((init, readiness))
    }

    /// Listens to what the program will say of its readiness. A manager that is not there is a warning: the container is to run.
    pub(super) fn listen(&self, manager: &Path) -> Option<Readiness> {
        let listening = || match self.directory.open_notify_directory()? {
            Some(directory) => Readiness::open(&directory, manager).map(Some),
            None => Ok(None),
        };
        listening().unwrap_or_else(|error| {
            log::warn!("{error}");
            None
        })
    }

    /// From "go" to the program; startContainer hooks have timeouts of their own.
    pub(super) fn start_patience(&self) -> Option<Duration> {
        (!self.record.has_start_hooks).then_some(PATIENCE)
    }

    /// Its filter may be the reason.
    pub(super) fn explain(&self, error: Error) -> Error {
        match self.directory.read_snapshot() {
            Ok(known) => seccomp::host::explain(error, known.filter.as_ref(), known.listener.as_ref()),
            Err(_) => error,
        }
    }

    /// ORDER: the report is opened before the byte is written, so that nothing can be missed.
    fn release(&self, init: &OwnedFd) -> Result<()> {
        let open = |name: &str, end| self.directory.open_fifo(name, end).or_call(|| format!("open({name:?})"));
        let report = HostEnd::new(open(REPORT, OFlag::O_RDONLY)?);
        let go = open(START, OFlag::O_WRONLY)?;
        sys::fd::write_all(&go, b"g").or_call(|| format!("write({START:?})"))?;
        drop(go);
        let outcome = phase("wait for the program", || see_it_execute(&report, init, self.start_patience()));
        let outcome = outcome.map_err(|error| self.explain(error));
        self.directory.remove_fifos();
        outcome
    }
}

/// Waits until the program is executed: the process says that it is about to, and then its end is closed by execve.
/// `patience` is for what comes before; without, it takes as long as it takes.
pub(super) fn see_it_execute(report: &HostEnd, process: &OwnedFd, patience: Option<Duration>) -> Result<()> {
    let mut executing = false;
    loop {
        let patience = if executing { Some(PATIENCE) } else { patience };
        match report.receive(process.as_fd(), patience.map(within))? {
            Some((FromInside::Executing, _)) => executing = true,
            Some((FromInside::Failed(error), _)) => return Err(error),
            Some((message, _)) => {
                return Err(Error::new(Kind::Failed, format!("unexpected message {message:?}")));
            }
            // Gone after that word: either the program runs, or it ran and has ended already. Both are success.
            None if executing => return Ok(()),
            None => {
                return Err(Error::new(Kind::ProcessGone, "the process died before it executed the program"));
            }
        }
    }
}

/// SPEC(runtime, Lifecycle 9): the poststart hooks. Their state says "running" even when the program was a short one.
pub(super) fn after_start(container: &Container) -> Result<()> {
    let record = &container.record;
    let state = record.hook_state("running", record.init.map_or(0, |init| init.pid));
    let surroundings = Surroundings { name: "poststart", env: None, directory: Some(record.bundle.as_path()) };
    phase("poststart", || hooks::run_all(&record.hooks.poststart, &state, surroundings))
}
