//! `update`.

use super::container::Container;
use crate::config::Resources;
use crate::error::{Result, Within, phrases};
use crate::machine::Machine;
use crate::state::Status;
use crate::subsystems::cgroups;

impl Container {
    /// Changes its limits. What `resources` does not name stays, and so do the rules for devices; if one limit cannot be
    /// set, all stay as they are.
    pub fn update(&mut self, resources: &Resources) -> Result<()> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Created | Status::Running | Status::Paused => {}
            other @ (Status::Creating | Status::Stopped) => {
                return Err(self.wrong_status(format!("{}: it is {other}", phrases::NOT_RUNNING)));
            }
        }
        // Looked at anew: CPUs come and go while a runtime lives.
        let machine = Machine::default();
        cgroups::host::update(&self.record.cgroups, resources, &machine).within(|| self.named())
    }
}
