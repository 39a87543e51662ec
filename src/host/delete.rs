//! `delete`, and taking down what failed.

use super::container::{Container, DEATH, within};
use super::{Runtime, container};
use crate::error::{Error, Kind, Result, Within};
use crate::state::{Record, Status, lock};
use crate::subsystems::hooks::{self, Surroundings};
use crate::subsystems::mounts::host::HostMount;
use crate::subsystems::{cgroups, rdt};
use crate::timing::phase;

impl Container {
    /// Removes it (runtime-spec, "Delete"). One that was created and never started is killed first, as every runtime does
    /// and engines rely on; one that runs is refused.
    pub fn delete(mut self) -> Result<()> {
        let _lock = self.lock()?;
        let status = self.status()?;
        match status {
            Status::Stopped | Status::Created => destroy(&self),
            Status::Creating | Status::Running | Status::Paused => {
                let why = format!("cannot delete container {} that is not stopped: {status}", self.id());
                Err(Error::new(Kind::WrongStatus, why))
            }
        }
    }
}

/// In whatever status, and also when there is only what an interrupted create left. Nothing there is success.
pub(super) fn delete_forcibly(runtime: &Runtime, id: &str) -> Result<()> {
    crate::state::id::check(id)?;
    let Some(root) = runtime.existing_root()? else { return Ok(()) };
    let directory = match root.open(id) {
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    // ORDER: before the lock: whoever holds it may be waiting for this process, which may be stopped.
    if let Some(init) = directory.read_record()?.and_then(|record| record.init) {
        container::kill(init)?;
    }
    let _lock = lock::exclusive(&directory)?;
    match directory.read_record()? {
        Some(record) => destroy(&Container { record, directory }),
        // The id was reserved and that was all: or it is the directory of another runtime, which stays as it is not empty.
        None => directory.remove(),
    }
}

/// Destroys a container that failed to start, unless somebody else was faster. The answer is the error, with what went wrong
/// behind it.
pub(super) fn after_failure(container: &mut Container, error: Error) -> Error {
    match container.lock().and_then(|_lock| destroy(container)) {
        Err(also) if also.kind() != Kind::NotFound => error.also(&also),
        _ => error,
    }
}

/// Kills, and undoes what create did: SPEC(runtime, Lifecycle 12-13). Everything is tried; the first error is returned.
pub(super) fn destroy(container: &Container) -> Result<()> {
    let record = &container.record;
    let steps: [&dyn Fn() -> Result<()>; 4] = [
        &|| phase("kill everybody", || kill_everybody(container)),
        &|| phase("remove the cgroups", || cgroups::host::remove(&record.cgroups, within(DEATH))),
        &|| record.rdt.as_ref().map_or(Ok(()), rdt::host::remove),
        &|| record.host_mount.as_ref().map_or(Ok(()), HostMount::undo),
    ];
    let mut failure: Option<Error> = None;
    for step in steps {
        if let Err(error) = step() {
            failure = Some(match failure {
                Some(first) => first.also(&error),
                None => error,
            });
        }
    }
    if let Some(error) = failure {
        // The record stays, so that another attempt finds everything.
        return Err(error).within(|| container.named());
    }
    container.directory.remove()?;
    run_poststop(record);
    Ok(())
}

fn kill_everybody(container: &Container) -> Result<()> {
    let init = container.init()?;
    if let Some(init) = &init {
        // ORDER: a frozen process takes its signal when it is thawed, so the signal is sent first.
        let _ = crate::sys::pidfd::send_signal(init, libc::SIGKILL);
    }
    cgroups::host::kill_all(&container.record.cgroups)?;
    match init {
        Some(init) => container::kill_and_wait(&init),
        None => Ok(()),
    }
}

/// SPEC(runtime, Lifecycle 13): failures are warnings.
pub(super) fn run_poststop(record: &Record) {
    let state = record.hook_state("stopped", 0);
    // The bundle may be gone.
    let directory = Some(record.bundle.as_path()).filter(|path| path.is_dir());
    let surroundings = Surroundings { name: "poststop", env: None, directory };
    hooks::run_all_the_same(&record.hooks.poststop, &state, surroundings);
}
