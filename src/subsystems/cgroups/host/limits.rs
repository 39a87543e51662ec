//! Carrying out the writes of a plan.

use std::collections::BTreeSet;

use nix::errno::Errno;

use super::directory::Directory;
use crate::error::{Error, Result, Within};
use crate::subsystems::cgroups::plan::{Group, Version, When, Write};
use crate::subsystems::cgroups::{limits, restore};

/// Sets one limit. A failure says what the group has instead, or what it uses now.
pub fn write(group: &Group, directory: &Directory, write: &Write) -> Result<()> {
    if is_due(directory, write)? { set(group, directory, write) } else { Ok(()) }
}

fn set(group: &Group, directory: &Directory, write: &Write) -> Result<()> {
    directory
        .write(&write.file, &write.value)
        .map_err(|error| explain(error, group, directory, write))
        .within(|| format!("{}: set {:?} of cgroup {:?}", write.property, write.file, group.path))
}

/// What a file of a group says. `None`: it is not there, or cannot be read.
pub fn now(group: &Group, file: &str) -> Option<String> {
    Directory::open(group).ok()??.read(file).ok()
}

/// A file that was written to, and what takes that back.
#[derive(Debug)]
pub struct Change {
    /// Index of the group.
    pub group: usize,
    pub file: String,
    pub before: String,
}

/// What was changed so far, in order.
#[derive(Debug, Default)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// Sets one limit.
    pub fn make(&mut self, group: &Group, directory: &Directory, limit: &Write) -> Result<()> {
        if !is_due(directory, limit)? {
            return Ok(());
        }
        // ORDER: asked for just before the write, as those before it may have changed it, and are taken back after it.
        let before = directory.read(&limit.file);
        let along = before.as_ref().map(|before| set_along(directory, limit, before)).unwrap_or_default();
        set(group, directory, limit)?;
        self.0.extend(along);
        match before {
            Ok(before) => {
                let before = restore::value(&limit.file, &limit.value, &before);
                self.0.push(Change { group: limit.group, file: limit.file.clone(), before });
            }
            // Files such as memory.reclaim do something, and have no value.
            Err(error) => log::debug!("{:?} could not be taken back: {error}", limit.file),
        }
        Ok(())
    }

    /// Writes the old values again, the last one first. Everything is tried; the answer is what went wrong.
    pub fn take_back<'a>(&self, find: impl Fn(usize) -> Option<(&'a Group, &'a Directory)>) -> Vec<Error> {
        let take_back = |change: &Change| {
            let Change { group, file, before } = change;
            let (group, directory) = find(*group)?;
            let written = directory.write(file, before);
            written.within(|| format!("set {file:?} of cgroup {:?} back", group.path)).err()
        };
        self.0.iter().rev().filter_map(take_back).collect()
    }
}

fn set_along(directory: &Directory, limit: &Write, before: &str) -> Vec<Change> {
    let value = |file: &&str| {
        let before = directory.read(file).ok()?.trim().to_owned();
        Some(Change { group: limit.group, file: (*file).to_owned(), before })
    };
    restore::set_along(&limit.file, before).iter().filter_map(value).collect()
}

/// Whether the group has what the write is for.
fn is_due(directory: &Directory, write: &Write) -> Result<bool> {
    match write.when {
        When::Always => Ok(true),
        When::IfThere => directory.has(&write.file),
        When::Without(other) => Ok(!directory.has(other)?),
    }
}

fn explain(error: Error, group: &Group, directory: &Directory, write: &Write) -> Error {
    let controller = limits::controller(&write.file);
    let file = write.file.strip_prefix(controller).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
    match (error.errno(), controller, file) {
        (Some(Errno::ENOENT), _, _) => match what_there_is(group, directory, controller) {
            Some(there_is) => error.hint(there_is),
            None => error,
        },
        (Some(Errno::EBUSY), "memory", "limit_in_bytes") => error.within(in_use(directory, write, "memory limit", "")),
        (Some(Errno::EBUSY), "memory", "memsw.limit_in_bytes") => {
            error.within(in_use(directory, write, "memory+swap limit", "memsw."))
        }
        (Some(Errno::EOPNOTSUPP), "io", "weight") => {
            error.hint("weights of a device need BFQ, or io.cost.qos enabled for it in the root cgroup")
        }
        _ => error,
    }
}

/// Which controllers, or which sizes of huge pages, there are in place of what was asked for.
fn what_there_is(group: &Group, directory: &Directory, controller: &str) -> Option<String> {
    if group.version == Version::V2 {
        let controllers = directory.controllers().ok()?;
        if !controllers.iter().any(|known| known == controller) && controller != "cgroup" {
            return Some(format!("the cgroup has no controller {controller:?}, but {}", words(controllers)));
        }
    }
    (controller == "hugetlb").then(|| format!("this machine has huge pages of {}", words(page_sizes(group))))
}

fn words(words: impl IntoIterator<Item = String>) -> String {
    let words: Vec<_> = words.into_iter().collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

/// By the files of the controller: `hugetlb.2MB.max`.
fn page_sizes(group: &Group) -> BTreeSet<String> {
    let files = std::fs::read_dir(group.directory()).into_iter().flatten().flatten();
    let size = |name: &str| name.strip_prefix("hugetlb.")?.split_once('.').map(|(size, _)| size.to_owned());
    files.filter_map(|file| size(file.file_name().to_str()?)).collect()
}

/// COMPAT(runc): these words.
fn in_use(directory: &Directory, write: &Write, what: &str, part: &str) -> String {
    let bytes = |file: &str| directory.read(&format!("memory.{part}{file}")).unwrap_or_default().trim().to_owned();
    let (usage, peak) = (bytes("usage_in_bytes"), bytes("max_usage_in_bytes"));
    format!("unable to set {what} to {} (current usage: {usage}, peak usage: {peak})", write.value)
}
