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
        if everybody && signal == libc::SIGKILL {
            // Whoever is in the cgroup must be of this container.
            let _lock = self.lock()?;
            let was_alive = self.status()?.is_alive();
            cgroups::host::kill_all(&self.record.cgroups).within(|| self.named())?;
            return if was_alive || whom == Whom::Everybody { Ok(()) } else { Err(self.not_running()) };
        }
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
