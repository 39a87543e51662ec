//! `pause` and `resume`.

use std::time::Duration;

use super::container::{Container, within};
use crate::error::{Result, Within, phrases};
use crate::state::Status;
use crate::subsystems::cgroups;

/// How long its processes may take to stop, or to go on.
const PATIENCE: Duration = Duration::from_secs(10);

impl Container {
    /// Freezes all its processes. If one of them cannot be frozen, none is.
    pub fn pause(&mut self) -> Result<()> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Created | Status::Running => {}
            other @ (Status::Creating | Status::Paused | Status::Stopped) => {
                return Err(self.wrong_status(format!("{}: it is {other}", phrases::NOT_RUNNING)));
            }
        }
        cgroups::host::freeze(&self.record.cgroups, within(PATIENCE)).within(|| self.named())
    }

    /// Lets them go on.
    pub fn resume(&mut self) -> Result<()> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Paused => {}
            other @ (Status::Creating | Status::Created | Status::Running | Status::Stopped) => {
                return Err(self.wrong_status(format!("{}: it is {other}", phrases::NOT_PAUSED)));
            }
        }
        cgroups::host::thaw(&self.record.cgroups, within(PATIENCE)).within(|| self.named())
    }
}
