//! New limits for a container that exists: all of them, or none.

use super::directory::Directory;
use super::limits::{is_due, write};
use crate::config::Resources;
use crate::error::{Error, Kind, Result, Within};
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
    let mut update = Update { groups: &placement.groups, directories: Vec::new(), changes: Vec::new() };
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
    /// What was changed so far, in order.
    changes: Vec<Change>,
}

/// A file that was written to, and what takes that back.
struct Change {
    group: usize,
    file: String,
    before: String,
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

    /// Tells systemd, too.
    ///
    /// ORDER: once before, as long as nothing but our own changes is to be taken back; once more after systemd, which rounds.
    fn make_known(&mut self, unit: &Unit, writes: &[Write]) -> Result<()> {
        let changes = systemd::changes(unit, writes, limits::version(self.groups))?;
        self.make_all(writes)?;
        let names: Vec<&str> = changes.iter().map(|property| property.name.as_str()).collect();
        let before = systemd::host::read_properties(unit, &names)?;
        systemd::host::set_properties(unit, &changes)?;
        self.make_all(writes).map_err(|error| match systemd::host::set_properties(unit, &before) {
            Ok(()) => error,
            Err(also) => error.also(&also),
        })
    }

    fn make(&mut self, limit: &Write) -> Result<()> {
        let group = &self.groups[limit.group];
        let Some(directory) = &self.directories[limit.group] else {
            let why = format!("cgroup {:?} is not there any more", group.directory());
            return Err(Error::new(Kind::NotFound, why).within(limit.property.clone()));
        };
        if !is_due(directory, limit)? {
            return Ok(());
        }
        // ORDER: asked for just before the write, as those before it may have changed it, and are taken back after it.
        let before = directory.read(&limit.file);
        let along: Vec<Change> = match &before {
            Ok(before) => self.set_along(limit, before),
            Err(_) => Vec::new(),
        };
        write(group, directory, limit)?;
        self.changes.extend(along);
        match before {
            Ok(before) => {
                let before = restore::value(&limit.file, &limit.value, &before);
                self.changes.push(Change { group: limit.group, file: limit.file.clone(), before });
            }
            // Files such as memory.reclaim do something, and have no value.
            Err(error) => log::debug!("{:?} could not be taken back: {error}", limit.file),
        }
        Ok(())
    }

    fn set_along(&self, limit: &Write, before: &str) -> Vec<Change> {
        let value = |file: &&str| {
            let before = self.now(&self.groups[limit.group], file)?.trim().to_owned();
            Some(Change { group: limit.group, file: (*file).to_owned(), before })
        };
        restore::set_along(&limit.file, before).iter().filter_map(value).collect()
    }

    /// Writes the old values again, the last one first.
    fn take_back(&self, error: Error) -> Error {
        self.changes.iter().rev().fold(error, |error, Change { group, file, before }| {
            let Some(directory) = &self.directories[*group] else { return error };
            let path = &self.groups[*group].path;
            match directory.write(file, before).within(|| format!("set {file:?} of cgroup {path:?} back")) {
                Ok(()) => error,
                Err(also) => error.also(&also),
            }
        })
    }
}
