//! New limits for a container that exists: all of them, or none.

use super::directory::Directory;
use super::limits::{Change, Changes};
use crate::config::Resources;
use crate::error::{Error, Kind, Result};
use crate::machine::Machine;
use crate::subsystems::cgroups::plan::{Group, Placement, Write};
use crate::subsystems::cgroups::systemd::{self, Unit};
use crate::subsystems::cgroups::{limits, restore};

/// Sets limits; what `resources` does not name stays. If one of them cannot be set, the others are what they were.
///
/// COMPAT(containerd, runc): the rules for devices come along, and are not changed.
pub fn update(placement: &Placement, resources: &Resources, machine: &Machine) -> Result<()> {
    let resources = Resources { devices: Vec::new(), ..resources.clone() };
    if resources == Resources::default() {
        return Ok(());
    }
    if placement.groups.is_empty() {
        return Err(Error::invalid("linux.resources", "limits need a cgroup, and the container has none of its own"));
    }
    let mut update = Update { groups: &placement.groups, directories: Vec::new(), changes: Changes::default() };
    for group in &placement.groups {
        update.directories.push(Directory::open(group)?);
    }
    let writes = limits::writes(&resources, &placement.groups, machine, &|group, file| update.now(group, file))?;
    let outcome = match &placement.unit {
        None => update.make_all(&writes),
        Some(unit) => update.make_known(unit, &writes),
    };
    outcome.map_err(|error| update.take_back(error))
}

struct Update<'a> {
    groups: &'a [Group],
    /// In the order of the groups. `None`: somebody removed it.
    directories: Vec<Option<Directory>>,
    changes: Changes,
}

impl Update<'_> {
    /// What a file says. `None`: it is not there, or cannot be read.
    fn now(&self, group: &Group, file: &str) -> Option<String> {
        let index = self.groups.iter().position(|known| known == group)?;
        self.directories.get(index)?.as_ref()?.read(file).ok()
    }

    fn make_all(&mut self, writes: &[Write]) -> Result<()> {
        writes.iter().try_for_each(|write| self.make(write))
    }

    /// Tells systemd, too, and puts right what that rounds: also limits that nobody asked to change, since it writes all that
    /// it knows of a controller.
    ///
    /// ORDER: the files first, as long as nothing but our own changes is to be taken back; but not those of a controller that is
    /// off for the unit, which systemd turns on when it is told of a limit.
    fn make_known(&mut self, unit: &Unit, writes: &[Write]) -> Result<()> {
        let version = limits::version(self.groups);
        let files = systemd::files(version);
        let is_off = |write: &&Write| {
            files.contains(&write.file.as_str()) && self.now(&self.groups[write.group], &write.file).is_none()
        };
        let (off, on): (Vec<_>, Vec<_>) = writes.iter().partition(is_off);
        on.into_iter().try_for_each(|write| self.make(write))?;
        let changes = systemd::changes(unit, writes, version, &|file| self.now(self.group_of(file)?, file))?;
        let names: Vec<&str> = changes.iter().map(|property| property.name.as_str()).collect();
        let before = systemd::host::read_properties(unit, &names)?;
        let exact: Vec<Change> = files.iter().filter_map(|file| self.exact(file)).collect();
        // What they said just now need not be what was written: systemd may come by at any time.
        let mut again = writes.iter().filter(|write| files.contains(&write.file.as_str()));
        let known = systemd::host::set_properties(unit, &changes)
            // It turns controllers on before it answers again.
            .and_then(|()| if off.is_empty() { Ok(()) } else { systemd::host::read_properties(unit, &names).map(drop) })
            .and_then(|()| self.put_right(&exact))
            .and_then(|()| again.try_for_each(|write| self.make(write)));
        known.map_err(|error| match systemd::host::set_properties(unit, &before) {
            Ok(()) => error,
            Err(also) => error.also(&also),
        })
    }

    fn group_of(&self, file: &str) -> Option<&Group> {
        self.groups.get(limits::group_of(self.groups, file)?)
    }

    /// What a file says.
    fn exact(&self, file: &str) -> Option<Change> {
        let group = limits::group_of(self.groups, file)?;
        let before = self.now(&self.groups[group], file)?;
        Some(Change { group, file: file.to_owned(), before })
    }

    fn put_right(&self, exact: &[Change]) -> Result<()> {
        for Change { group, file, before } in exact {
            let Some(directory) = &self.directories[*group] else { continue };
            if self.now(&self.groups[*group], file).is_some_and(|now| now != *before) {
                log::debug!("systemd made {file:?} something else than {before:?}");
                directory.write(file, &restore::value(file, "default", before))?;
            }
        }
        Ok(())
    }

    fn make(&mut self, limit: &Write) -> Result<()> {
        let group = &self.groups[limit.group];
        let Some(directory) = &self.directories[limit.group] else {
            let why = format!("cgroup {:?} is not there any more", group.directory());
            return Err(Error::new(Kind::NotFound, why).within(limit.property.clone()));
        };
        self.changes.make(group, directory, limit)
    }

    /// The answer is the error, with what went wrong behind it.
    fn take_back(&self, error: Error) -> Error {
        let find = |group: usize| Some((&self.groups[group], self.directories[group].as_ref()?));
        self.changes.take_back(find).iter().fold(error, Error::also)
    }
}
