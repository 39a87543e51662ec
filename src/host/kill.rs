//! `kill`.

use nix::errno::Errno;

use super::container::Container;
use crate::error::{Error, Result, Within, phrases};
use crate::state::Status;
use crate::subsystems::cgroups;
use crate::sys;

/// Who gets the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The first process (runtime-spec, "Kill").
    Init,
    /// `--all`: everybody, also when the first process is gone already, which is then no error.
    Everybody,
}

impl Container {
    /// Sends a signal.
    pub fn kill(&mut self, signal: i32, whom: Whom) -> Result<()> {
        let everybody = whom == Whom::Everybody || (signal == libc::SIGKILL && !self.record.own_pid_namespace);
        // Without a cgroup there is nobody else that could be found.
        if everybody && !self.record.cgroups.groups.is_empty() {
            self.kill_everybody(signal, whom)
        } else {
            self.kill_init(signal, whom)
        }
    }

    /// COMPAT(containerd's shim): also when the first process is gone, which may have left others behind.
    fn kill_everybody(&mut self, signal: i32, whom: Whom) -> Result<()> {
        // Whoever is in the cgroup must be of this container.
        let _lock = self.lock()?;
        let was_alive = self.status()?.is_alive();
        let cgroups = &self.record.cgroups;
        match signal {
            libc::SIGKILL => cgroups::host::kill_all(cgroups),
            _ => cgroups::host::signal_all(cgroups, signal),
        }
        .within(|| self.named())?;
        if was_alive || whom == Whom::Everybody { Ok(()) } else { Err(self.not_running()) }
    }

    fn kill_init(&self, signal: i32, whom: Whom) -> Result<()> {
        match self.status()? {
            Status::Stopped if whom == Whom::Everybody => return Ok(()),
            Status::Stopped => return Err(self.not_running()),
            Status::Creating | Status::Created | Status::Running | Status::Paused => {}
        }
        let init = self.init()?.ok_or_else(|| self.not_running())?;
        match sys::pidfd::send_signal(&init, signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Err(self.not_running()),
            Err(errno) => {
                return Err(Error::call(format!("pidfd_send_signal({signal})"), errno)).within(|| self.named());
            }
        }
        if signal == libc::SIGKILL {
            // COMPAT(Docker): SIGKILL ends a paused container.
            cgroups::host::thaw_all(&self.record.cgroups).within(|| self.named())?;
        }
        Ok(())
    }

    fn not_running(&self) -> Error {
        self.wrong_status(phrases::NOT_RUNNING.to_owned())
    }
}
