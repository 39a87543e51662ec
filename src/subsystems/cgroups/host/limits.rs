//! Carrying out the writes of a plan.

use std::collections::BTreeSet;

use nix::errno::Errno;

use super::directory::Directory;
use crate::error::{Error, Result, Within};
use crate::subsystems::cgroups::plan::{Group, Version, When, Write};

/// Sets one limit. A failure says what the group has instead, or what it uses now.
pub fn write(group: &Group, directory: &Directory, write: &Write) -> Result<()> {
    if !is_due(directory, write)? {
        return Ok(());
    }
    directory
        .write(&write.file, &write.value)
        .map_err(|error| explain(error, group, directory, write))
        .within(|| format!("{}: set {:?} of cgroup {:?}", write.property, write.file, group.path))
}

/// Whether the group has what the write is for.
pub fn is_due(directory: &Directory, write: &Write) -> Result<bool> {
    match write.when {
        When::Always => Ok(true),
        When::IfThere => directory.has(&write.file),
        When::Without(other) => Ok(!directory.has(other)?),
    }
}

fn explain(error: Error, group: &Group, directory: &Directory, write: &Write) -> Error {
    let (controller, file) = write.file.split_once('.').unwrap_or((&write.file, ""));
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
