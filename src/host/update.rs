//! `update`.

use super::container::Container;
use crate::config::Resources;
use crate::config::rdt::Schemata;
use crate::error::{Error, Result, Within, phrases};
use crate::machine::Machine;
use crate::state::Status;
use crate::subsystems::{cgroups, rdt};

impl Container {
    /// Changes its limits, and its share of caches and memory bandwidth if it was given one by create. What is not named
    /// stays, and so do the rules for devices; if one limit cannot be set, all stay as they are.
    pub fn update(&mut self, resources: &Resources, schemata: &Schemata) -> Result<()> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Created | Status::Running | Status::Paused => {}
            other @ (Status::Creating | Status::Stopped) => {
                return Err(self.wrong_status(format!("{}: it is {other}", phrases::NOT_RUNNING)));
            }
        }
        // Looked at anew: CPUs come and go while a runtime lives.
        let machine = Machine::default();
        let limits = || cgroups::host::update(&self.record.cgroups, resources, &machine);
        let updated = match (schemata.0.first(), &self.record.rdt) {
            (None, _) => limits(),
            (Some(_), Some(placement)) => rdt::host::update(placement, schemata, limits),
            (Some(schema), None) => {
                let why = "the container was created without linux.intelRdt";
                Err(Error::invalid(schema.property.clone(), why))
            }
        };
        updated.within(|| self.named())
    }
}
