//! `linux.resources` as a list of writes: the same for create, where nothing is known of the files, and for update, where
//! they have values that the new ones must agree with.

use std::borrow::Cow;

use super::plan::{Group, Version, When, Write};
use super::{v1, v2};
use crate::config::resources::{Cpu, Memory, Resources};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::machine::online::Online;

/// What a file of a group says now. `None`: the group is not made yet, or has no such file.
pub type Now<'a> = dyn Fn(&Group, &str) -> Option<String> + 'a;

/// The writes that give the groups these limits, in the order in which the kernel accepts them.
pub fn writes(resources: &Resources, groups: &[Group], machine: &Machine, now: &Now<'_>) -> Result<Vec<Write>> {
    check_online("linux.resources.cpu.cpus", "CPU", resources.cpu.cpus.as_deref(), || machine.cpus())?;
    check_online("linux.resources.cpu.mems", "memory node", resources.cpu.mems.as_deref(), || machine.memory_nodes())?;
    match version(groups) {
        Version::V1 => v1::writes(resources, groups, now),
        Version::V2 => v2::writes(resources, groups, now),
    }
}

/// Which interface the controllers have. On a hybrid host the v2 group has none of them.
pub fn version(groups: &[Group]) -> Version {
    match groups.iter().any(|group| group.version == Version::V1) {
        true => Version::V1,
        false => Version::V2,
    }
}

/// KERNEL: v2 takes what is not online without a word, and the group uses all that its parent has.
fn check_online<'a>(
    property: &str,
    what: &str,
    wanted: Option<&str>,
    online: impl FnOnce() -> Option<&'a Online>,
) -> Result<()> {
    let Some((wanted, online)) = wanted.zip(wanted.and_then(|_| online())) else { return Ok(()) };
    match online.first_missing(wanted) {
        None => Ok(()),
        Some(missing) => {
            let why = format!("{what} {missing} of {wanted:?} is not online (this machine has {})", online.list());
            Err(Error::invalid(property.to_owned(), why))
        }
    }
}

/// Writes, and what they build upon.
pub(super) struct List<'a> {
    groups: &'a [Group],
    now: &'a Now<'a>,
    pub(super) writes: Vec<Write>,
}

impl<'a> List<'a> {
    pub(super) fn new(groups: &'a [Group], now: &'a Now<'a>) -> Self {
        Self { groups, now, writes: Vec::new() }
    }

    /// The group with this file: on v1 by the controller, with which every name begins.
    fn group(&self, file: &str) -> Option<usize> {
        group_of(self.groups, file)
    }

    /// A write to a file that has to be there.
    pub(super) fn write(
        &mut self,
        file: impl Into<String>,
        value: impl ToString,
        property: impl Into<Cow<'static, str>>,
    ) -> Result<()> {
        self.write_when(When::Always, file, value, property)
    }

    pub(super) fn write_when(
        &mut self,
        when: When,
        file: impl Into<String>,
        value: impl ToString,
        property: impl Into<Cow<'static, str>>,
    ) -> Result<()> {
        let (file, property) = (file.into(), property.into());
        let Some(group) = self.group(&file) else {
            let why = format!("this machine has no cgroup controller {:?}", controller(&file));
            return Err(Error::unsupported(property, why));
        };
        self.writes.push(Write { group, file, value: value.to_string(), property, when });
        Ok(())
    }

    /// What a file says now.
    pub(super) fn now(&self, file: &str) -> Option<String> {
        let group = &self.groups[self.group(file)?];
        (self.now)(group, file).map(|content| content.trim().to_owned())
    }

    /// The first number in a file; -1 is no limit.
    pub(super) fn number(&self, file: &str) -> Option<i64> {
        let content = self.now(file)?;
        let first = content.split_ascii_whitespace().next()?;
        if first == "max" { Some(-1) } else { first.parse().ok() }
    }
}

/// The group with this file.
pub(super) fn group_of(groups: &[Group], file: &str) -> Option<usize> {
    match version(groups) {
        Version::V2 => (!groups.is_empty()).then_some(0),
        Version::V1 => groups.iter().position(|group| group.is_of(controller(file))),
    }
}

/// By the name of a file: `memory` of `memory.max`.
pub(super) fn controller(file: &str) -> &str {
    file.split_once('.').map_or(file, |(controller, _)| controller)
}

/// A limit as a number that can be compared: none is above all others.
pub(super) fn bound(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

/// SPEC(config-linux, memory.checkBeforeUpdate): a limit below what is used now is refused. v1 kernels may do that by
/// themselves, v2 kernels kill. Usages are bytes, the second one with swap.
pub(super) fn check_usage(memory: &Memory, usage: Option<i64>, with_swap: Option<i64>) -> Result<()> {
    if !memory.check_before_update {
        return Ok(());
    }
    for (property, what, limit, usage) in [
        ("linux.resources.memory.swap", "memory+swap limit", memory.swap, with_swap),
        ("linux.resources.memory.limit", "memory limit", memory.limit, usage),
    ] {
        if let (Some(limit), Some(usage)) = (limit, usage)
            && bound(limit) < bound(usage)
        {
            let why = format!("rejecting {what} {limit}: {usage} bytes are in use (checkBeforeUpdate is set)");
            return Err(Error::invalid(property, why));
        }
    }
    Ok(())
}

/// What update is asked for must agree with what stays as it is; all that is given was checked with the configuration.
pub(super) fn check_cpu(cpu: &Cpu, quota: Option<i64>, burst: Option<i64>) -> Result<()> {
    let invalid = |property: &str, why: String| Err(Error::invalid(format!("linux.resources.cpu.{property}"), why));
    match (cpu.quota.or(quota), cpu.burst.or(burst.and_then(|burst| u64::try_from(burst).ok()))) {
        (Some(quota), Some(burst)) if burst > bound(quota) && cpu.quota.is_some() => {
            invalid("quota", format!("{quota} is less than the burst {burst}"))
        }
        (Some(quota), Some(burst)) if burst > bound(quota) && cpu.burst.is_some() => {
            invalid("burst", format!("{burst} is more than the quota {quota}"))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// A value, and who asks for it.
pub(super) type Asked = (String, String);

/// `cpu.idle`, and a weight in the file of that name. A group that is idle has no weight, and one that gets a weight is idle no
/// more.
///
/// COMPAT(runc): as systemd sees it, to which idle is a weight of 0; without systemd the kernel would refuse.
pub(super) fn idle_or_weight(
    list: &mut List<'_>,
    idle: Option<Asked>,
    (file, weight): (&str, Option<Asked>),
) -> Result<()> {
    let is_idle = || list.number("cpu.idle") == Some(1);
    let ended = || weight.as_ref().filter(|_| is_idle()).map(|(_, property)| ("0".to_owned(), property.clone()));
    let idle = idle.or_else(ended);
    let will_be_idle = idle.as_ref().is_some_and(|(idle, _)| idle == "1");
    // ORDER: setting or clearing idle sets the weight, too.
    if let Some((idle, property)) = idle {
        list.write("cpu.idle", idle, property)?;
    }
    match weight {
        Some((weight, property)) if will_be_idle => {
            log::warn!("{property}: unable to apply both {weight} and idle: an idle cgroup has no weight");
            Ok(())
        }
        Some((weight, property)) => list.write(file, weight, property),
        None => Ok(()),
    }
}

/// What the tables of both versions are written with.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// The files that a group has, with what they say.
    pub type Files<'a> = &'a [(&'a str, &'a str)];

    /// One v1 group for each of `controllers`; without any, one of v2.
    pub fn groups(controllers: &[&str]) -> Vec<Group> {
        let group = |controllers: &[&str], version| Group {
            mount_point: "/sys/fs/cgroup".into(),
            path: "/c1".to_owned(),
            controllers: controllers.iter().map(|it| (*it).to_owned()).collect(),
            version,
        };
        match controllers {
            [] => vec![group(&[], Version::V2)],
            several => several.iter().map(|one| group(&[one], Version::V1)).collect(),
        }
    }

    /// Each write as one word and a value, `file=value`, with a mark: `file?` if it is there, `file|other` without it.
    pub fn lines(groups: &[Group], resources: &Resources, files: Files<'_>) -> Result<Vec<String>> {
        let now = |_: &Group, file: &str| {
            files.iter().find(|(name, _)| *name == file).map(|(_, content)| format!("{content}\n"))
        };
        let line = |write: &Write| match write.when {
            When::Always => format!("{}={}", write.file, write.value),
            When::IfThere => format!("{}?={}", write.file, write.value),
            When::Without(other) => format!("{}|{other}={}", write.file, write.value),
        };
        writes(resources, groups, &Machine::default(), &now).map(|writes| writes.iter().map(line).collect())
    }

    /// A row: what is wanted, what the files say, what is written or the beginning of the error.
    pub type Row<'a> = (Resources, Files<'a>, std::result::Result<&'a [&'a str], &'a str>);

    pub fn check(controllers: &[&str], rows: &[Row<'_>]) {
        for (resources, files, expected) in rows {
            match (lines(&groups(controllers), resources, files), expected) {
                (Ok(lines), Ok(expected)) => assert_eq!(lines, *expected, "now: {files:?}"),
                (Err(error), Err(expected)) => assert!(error.to_string().starts_with(expected), "{error}"),
                (got, expected) => panic!("{resources:?}: {got:?} instead of {expected:?}"),
            }
        }
    }

    pub fn memory(memory: Memory) -> Resources {
        Resources { memory, ..Resources::default() }
    }

    pub fn cpu(cpu: Cpu) -> Resources {
        Resources { cpu, ..Resources::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{check, cpu};
    use super::*;

    #[test]
    fn what_is_not_online_is_refused_by_both() {
        let cpus = || cpu(Cpu { cpus: Some("0,4000".to_owned()), ..Cpu::default() });
        let expected = "linux.resources.cpu.cpus: CPU 4000 of \"0,4000\" is not online (this machine has 0";
        let mems = || cpu(Cpu { mems: Some("999".to_owned()), ..Cpu::default() });
        let nodes = "linux.resources.cpu.mems: memory node 999 of \"999\" is not online (this machine has 0";
        for controllers in [&["cpuset"][..], &[]] {
            check(controllers, &[(cpus(), &[], Err(expected))]);
            if Machine::default().memory_nodes().is_some() {
                check(controllers, &[(mems(), &[], Err(nodes))]);
            }
        }
    }
}
