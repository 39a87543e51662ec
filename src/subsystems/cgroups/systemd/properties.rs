//! Limits as properties of a unit (systemd.resource-control(5)).
//!
//! Every limit is written to the kernel's file, too, exactly and behind systemd's back, as runc does: many have no property,
//! and systemd rounds. The properties are for systemd: whenever it visits the cgroup again it writes what it knows.

use std::collections::BTreeMap;

use super::super::device_filter;
use super::super::plan::Version;
use super::super::v2::{swap_only, weight_from_shares};
use crate::config::resources::{Cpu, DeviceRule, DeviceRuleKind, Memory, Resources};
use crate::error::{Error, Result};
use crate::machine::systemd::Value;

/// One property of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Of D-Bus, not of unit files: `CPUQuotaPerSecUSec`.
    pub name: String,
    /// With the type that systemd wants.
    pub value: Value,
    /// The first version of systemd that knows it; an older one refuses the whole unit.
    pub since: u32,
}

impl Property {
    /// A property that is as old as transient units.
    pub fn new(name: &str, value: Value) -> Self {
        Self::since(0, name, value)
    }

    fn since(since: u32, name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), value, since }
    }

    fn number(name: &str, number: u64) -> Self {
        Self::new(name, Value::Uint64(number))
    }

    /// Whether a systemd of that version knows it. The limit is set all the same, in the kernel's file.
    pub fn is_known_to(&self, version: u32) -> bool {
        let known = version >= self.since;
        if !known {
            log::debug!("systemd {version} does not know {} of systemd {}", self.name, self.since);
        }
        known
    }
}

/// "No limit", "infinity".
const UNLIMITED: u64 = u64::MAX;

/// Those of `resources` that systemd has properties for. Later ones of the same name take the place of earlier ones.
pub fn of_limits(resources: &Resources, version: Version) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    match version {
        Version::V1 => {
            list.extend(resources.memory.limit.map(|limit| Property::number("MemoryLimit", or_unlimited(limit))));
            list.extend(resources.cpu.shares.map(|shares| Property::number("CPUShares", shares)));
        }
        Version::V2 => {
            list.extend(memory(&resources.memory)?);
            list.extend(cpu_weight(&resources.cpu));
            list.extend(cpuset(&resources.cpu)?);
        }
    }
    list.extend(cpu_quota(resources.cpu.quota, resources.cpu.period));
    list.extend(resources.pids_limit.map(tasks));
    list.extend(resources.block_io.weight.map(|weight| match version {
        Version::V1 => Property::number("BlockIOWeight", weight.into()),
        Version::V2 => Property::number("IOWeight", io_weight(weight.into())),
    }));
    merge(&mut list, of_unified(&resources.unified)?);
    Ok(list)
}

/// Adds properties; one of the same name is replaced.
pub fn merge(list: &mut Vec<Property>, more: impl IntoIterator<Item = Property>) {
    for property in more {
        list.retain(|known| known.name != property.name);
        list.push(property);
    }
}

/// A negative limit is none.
fn or_unlimited(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(UNLIMITED)
}

fn memory(memory: &Memory) -> Result<Vec<Property>> {
    let swap = swap_only(memory.limit, memory.swap)?;
    let values = [("MemoryMax", memory.limit), ("MemoryLow", memory.reservation), ("MemorySwapMax", swap)];
    let given = values.into_iter().filter_map(|(name, value)| Some(Property::number(name, or_unlimited(value?))));
    Ok(given.collect())
}

/// A weight of 0 is systemd's word for idle.
fn cpu_weight(cpu: &Cpu) -> Option<Property> {
    match (cpu.idle, cpu.shares) {
        (Some(1), _) => Some(Property::since(252, "CPUWeight", Value::Uint64(0))),
        (_, shares) => shares.map(|shares| Property::number("CPUWeight", weight_from_shares(shares))),
    }
}

/// Systemd counts the quota in microseconds a second, and wants whole percents of a processor: less would be rounded down.
fn cpu_quota(quota: Option<i64>, period: Option<u64>) -> Vec<Property> {
    const PERCENT: u128 = 10_000;
    if quota.is_none() && period.is_none() {
        return Vec::new();
    }
    let per_second = match quota.and_then(|quota| u128::try_from(quota).ok()).filter(|quota| *quota > 0) {
        None => UNLIMITED,
        Some(quota) => {
            let exact = quota * 1_000_000 / u128::from(period.unwrap_or(100_000).max(1));
            u64::try_from(exact.next_multiple_of(PERCENT)).unwrap_or(UNLIMITED)
        }
    };
    let period = period.map(|period| Property::since(242, "CPUQuotaPeriodUSec", Value::Uint64(period)));
    period.into_iter().chain([Property::number("CPUQuotaPerSecUSec", per_second)]).collect()
}

fn cpuset(cpu: &Cpu) -> Result<Vec<Property>> {
    let lists = [
        ("AllowedCPUs", &cpu.cpus, "linux.resources.cpu.cpus"),
        ("AllowedMemoryNodes", &cpu.mems, "linux.resources.cpu.mems"),
    ];
    let given = lists.into_iter().filter_map(|(name, list, property)| Some((name, list.as_ref()?, property)));
    given.map(|(name, list, property)| allowed(name, list, property)).collect()
}

fn allowed(name: &str, list: &str, property: &str) -> Result<Property> {
    let mask = mask(list).ok_or_else(|| Error::invalid(property, format!("{list:?} is not a list of numbers")))?;
    Ok(Property::since(244, name, Value::Array("y".to_owned(), mask.into_iter().map(Value::Byte).collect())))
}

/// `0-2,9` as bits, the lowest first.
fn mask(list: &str) -> Option<Vec<u8>> {
    /// More than any kernel has processors.
    const MOST: usize = 1 << 16;
    let mut mask = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        for number in first..=last {
            if mask.len() <= number / 8 {
                mask.resize(number / 8 + 1, 0);
            }
            mask[number / 8] |= 1 << (number % 8);
        }
    }
    Some(mask)
}

/// Systemd knows no limit of 0; the file gets it all the same.
fn tasks(limit: i64) -> Property {
    Property::number("TasksMax", or_unlimited(limit).max(1))
}

/// 10..=1000 of v1 to 1..=10000 of v2.
fn io_weight(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
}

/// Files of v2 that have a property.
fn of_unified(unified: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    for (file, text) in unified {
        let text = text.trim();
        let invalid = || {
            let why = format!("{text:?} cannot be a property of a systemd unit");
            Error::invalid(format!("linux.resources.unified[{file:?}]"), why)
        };
        let number = || limit(text).ok_or_else(invalid);
        match file.as_str() {
            "memory.min" => list.push(Property::number("MemoryMin", number()?)),
            "memory.low" => list.push(Property::number("MemoryLow", number()?)),
            "memory.high" => list.push(Property::number("MemoryHigh", number()?)),
            "memory.max" => list.push(Property::number("MemoryMax", number()?)),
            "memory.swap.max" => list.push(Property::number("MemorySwapMax", number()?)),
            "pids.max" => list.push(Property::number("TasksMax", number()?.max(1))),
            "cpu.weight" => list.push(Property::number("CPUWeight", number()?)),
            "cpu.idle" if text == "1" => list.push(Property::since(252, "CPUWeight", Value::Uint64(0))),
            "cpu.max" => list.extend(cpu_max(text).ok_or_else(invalid)?),
            "cpuset.cpus" => list.push(allowed("AllowedCPUs", text, "linux.resources.unified[\"cpuset.cpus\"]")?),
            "cpuset.mems" => {
                list.push(allowed("AllowedMemoryNodes", text, "linux.resources.unified[\"cpuset.mems\"]")?)
            }
            "memory.oom.group" => {
                let policy = if text == "1" { "kill" } else { "continue" };
                list.push(Property::since(253, "OOMPolicy", Value::text(policy)));
            }
            _ => log::debug!("linux.resources.unified[{file:?}] has no systemd property"),
        }
    }
    Ok(list)
}

fn limit(text: &str) -> Option<u64> {
    if text == "max" { Some(UNLIMITED) } else { text.parse().ok() }
}

/// `max`, `50000`, `50000 100000`.
fn cpu_max(text: &str) -> Option<Vec<Property>> {
    let mut words = text.split_ascii_whitespace();
    let quota = match words.next()? {
        "max" => -1,
        word => word.parse().ok()?,
    };
    let period = words.next().map(str::parse).transpose().ok()?;
    words.next().is_none().then(|| cpu_quota(Some(quota), period))
}

/// What v1 gets of device rules; on v2 there is nothing to say.
///
/// On v2 the device program is ours alone, and systemd, whose policy stays "auto", never touches it; with a strict policy it
/// would attach a second one, which denies what the engine's hooks allowed later (NVIDIA's do), and puts it back at each
/// `daemon-reload`. On v1 there is one list for both, and "auto" means that systemd opens it for everything when it comes by.
pub fn of_devices(rules: &[DeviceRule]) -> Vec<Property> {
    let mut allowed: Vec<DeviceRule> = Vec::new();
    for rule in rules {
        if !rule.allow && device_filter::matches_everything(rule) {
            allowed.clear();
            continue;
        }
        let kinds = match rule.kind {
            DeviceRuleKind::All => &[DeviceRuleKind::Char, DeviceRuleKind::Block][..],
            DeviceRuleKind::Char | DeviceRuleKind::Block => &[rule.kind],
        };
        for rule in kinds.iter().map(|kind| DeviceRule { kind: *kind, ..*rule }) {
            if rule.allow {
                allowed.push(rule);
            } else {
                deny(&mut allowed, &rule);
            }
        }
    }
    let entries = allowed.iter().filter_map(|rule| {
        let access = [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')];
        let access: String = access.iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect();
        let node = device_node(rule).filter(|_| !access.is_empty())?;
        Some(Value::Struct(vec![Value::text(node), Value::text(access)]))
    });
    let entries = Value::Array("(ss)".to_owned(), entries.collect());
    vec![Property::new("DevicePolicy", Value::text("strict")), Property::new("DeviceAllow", entries)]
}

/// What is taken out of a wider rule stays allowed for systemd: it cannot say it.
fn deny(allowed: &mut [DeviceRule], denied: &DeviceRule) {
    let device = |rule: &DeviceRule| (rule.kind, rule.major, rule.minor);
    for rule in allowed.iter_mut().filter(|rule| device(rule) == device(denied)) {
        rule.read &= !denied.read;
        rule.write &= !denied.write;
        rule.mknod &= !denied.mknod;
    }
}

/// `None`: systemd has no word for it.
fn device_node(rule: &DeviceRule) -> Option<String> {
    let kind = if rule.kind == DeviceRuleKind::Block { "block" } else { "char" };
    match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{kind}-{major}")),
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(minor)) => {
            log::debug!("linux.resources.devices: systemd cannot express {kind} *:{minor}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resources::BlockIo;

    fn lines(properties: &[Property]) -> Vec<String> {
        let value = |value: &Value| match value {
            Value::Uint64(UNLIMITED) => "infinity".to_owned(),
            Value::Uint64(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(_, items) if items.iter().all(|item| matches!(item, Value::Byte(_))) => {
                let byte = |item: &Value| if let Value::Byte(byte) = item { *byte } else { 0 };
                format!("{:?}", items.iter().map(byte).collect::<Vec<_>>())
            }
            Value::Array(_, items) => {
                let pair = |item: &Value| match item {
                    Value::Struct(pair) => format!("{} {}", pair[0].as_text().unwrap(), pair[1].as_text().unwrap()),
                    other => format!("{other:?}"),
                };
                items.iter().map(pair).collect::<Vec<_>>().join(", ")
            }
            other => format!("{other:?}"),
        };
        let since = |since| if since == 0 { String::new() } else { format!(" ({since})") };
        properties.iter().map(|it| format!("{}={}{}", it.name, value(&it.value), since(it.since))).collect()
    }

    #[test]
    fn limits_of_v2() {
        let memory = Memory { limit: Some(1 << 20), swap: Some(3 << 20), reservation: Some(5), ..Memory::default() };
        let cpu = Cpu {
            shares: Some(1024),
            quota: Some(25_500),
            period: Some(50_000),
            cpus: Some("0-2,9".into()),
            mems: Some("0".into()),
            ..Cpu::default()
        };
        let block_io = BlockIo { weight: Some(500), ..BlockIo::default() };
        let resources = Resources { memory, cpu, block_io, pids_limit: Some(0), ..Resources::default() };
        assert_eq!(
            lines(&of_limits(&resources, Version::V2).unwrap()),
            [
                "MemoryMax=1048576",
                "MemoryLow=5",
                "MemorySwapMax=2097152",
                "CPUWeight=100",
                "AllowedCPUs=[7, 2] (244)",
                "AllowedMemoryNodes=[1] (244)",
                "CPUQuotaPeriodUSec=50000 (242)",
                "CPUQuotaPerSecUSec=510000",
                "TasksMax=1",
                "IOWeight=4950",
            ]
        );
        assert_eq!(
            lines(&of_limits(&resources, Version::V1).unwrap()),
            [
                "MemoryLimit=1048576",
                "CPUShares=1024",
                "CPUQuotaPeriodUSec=50000 (242)",
                "CPUQuotaPerSecUSec=510000",
                "TasksMax=1",
                "BlockIOWeight=500",
            ]
        );
        assert_eq!(of_limits(&Resources::default(), Version::V2).unwrap(), []);
    }

    #[test]
    fn single_limits() {
        let memory = |memory| Resources { memory, ..Resources::default() };
        let cpu = |cpu| Resources { cpu, ..Resources::default() };
        let quota = |quota, period| cpu(Cpu { quota, period, ..Cpu::default() });
        for (resources, expected) in [
            (memory(Memory { limit: Some(-1), ..Memory::default() }), "MemoryMax=infinity MemorySwapMax=infinity"),
            (
                memory(Memory { limit: Some(7), swap: Some(-1), ..Memory::default() }),
                "MemoryMax=7 MemorySwapMax=infinity",
            ),
            (cpu(Cpu { idle: Some(1), shares: Some(5), ..Cpu::default() }), "CPUWeight=0 (252)"),
            (cpu(Cpu { idle: Some(0), shares: Some(2), ..Cpu::default() }), "CPUWeight=1"),
            (quota(Some(-1), None), "CPUQuotaPerSecUSec=infinity"),
            (quota(None, Some(20_000)), "CPUQuotaPeriodUSec=20000 (242) CPUQuotaPerSecUSec=infinity"),
            // A percent of a processor, rounded up.
            (quota(Some(1_001), None), "CPUQuotaPerSecUSec=20000"),
            (quota(Some(1_000), None), "CPUQuotaPerSecUSec=10000"),
            (quota(Some(i64::MAX), Some(1)), "CPUQuotaPeriodUSec=1 (242) CPUQuotaPerSecUSec=infinity"),
            (Resources { pids_limit: Some(-1), ..Resources::default() }, "TasksMax=infinity"),
        ] {
            assert_eq!(lines(&of_limits(&resources, Version::V2).unwrap()).join(" "), expected);
        }
    }

    #[test]
    fn unified_files_with_a_property() {
        for (file, text, expected) in [
            ("memory.min", "1", "MemoryMin=1"),
            ("memory.low", "2", "MemoryLow=2"),
            ("memory.high", "max", "MemoryHigh=infinity"),
            ("memory.max", "4\n", "MemoryMax=4"),
            ("memory.swap.max", "0", "MemorySwapMax=0"),
            ("pids.max", "0", "TasksMax=1"),
            ("cpu.weight", "7", "CPUWeight=7"),
            ("cpu.idle", "1", "CPUWeight=0 (252)"),
            ("cpu.idle", "0", ""),
            ("cpu.max", "max 1000", "CPUQuotaPeriodUSec=1000 (242) CPUQuotaPerSecUSec=infinity"),
            ("cpu.max", "50000", "CPUQuotaPerSecUSec=500000"),
            ("cpuset.cpus", "1", "AllowedCPUs=[2] (244)"),
            ("cpuset.mems", "0", "AllowedMemoryNodes=[1] (244)"),
            ("memory.oom.group", "1", "OOMPolicy=kill (253)"),
            ("memory.oom.group", "0", "OOMPolicy=continue (253)"),
            ("io.max", "8:0 rbps=1", ""),
        ] {
            let unified = [(file.to_owned(), text.to_owned())].into();
            let found = of_limits(&Resources { unified, ..Resources::default() }, Version::V2).unwrap();
            assert_eq!(lines(&found).join(" "), expected, "{file}={text}");
        }
        for (file, text) in [("memory.max", "1M"), ("cpu.max", "1 2 3"), ("cpu.max", ""), ("cpuset.cpus", "3-1")] {
            let unified = [(file.to_owned(), text.to_owned())].into();
            let error = of_limits(&Resources { unified, ..Resources::default() }, Version::V2).unwrap_err().to_string();
            assert!(error.starts_with(&format!("linux.resources.unified[{file:?}]: ")), "{error}");
        }
    }

    #[test]
    fn what_unified_says_takes_the_place_of_what_was_converted() {
        let unified = [("memory.max".to_owned(), "9".to_owned())].into();
        let memory = Memory { limit: Some(5), ..Memory::default() };
        let resources = Resources { memory, unified, ..Resources::default() };
        assert_eq!(lines(&of_limits(&resources, Version::V2).unwrap()), ["MemoryMax=9"]);
    }

    #[test]
    fn gates() {
        let property = Property::since(244, "AllowedCPUs", Value::Byte(0));
        assert_eq!([243, 244, 257].map(|version| property.is_known_to(version)), [false, true, true]);
    }

    #[test]
    fn device_rules_of_v1() {
        use DeviceRuleKind::{All, Block, Char};
        let rule = |allow, kind, major, minor, access: &str| DeviceRule {
            allow,
            kind,
            major,
            minor,
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        };
        let found = of_devices(&[
            rule(true, Char, Some(9), None, "r"),
            rule(false, All, None, None, "rwm"),
            rule(true, Char, Some(1), Some(3), "rwm"),
            rule(true, All, None, None, "m"),
            rule(true, Block, Some(8), None, "rw"),
            rule(true, Char, None, Some(7), "r"),
            rule(true, Char, Some(5), Some(5), "rw"),
            rule(false, Char, Some(5), Some(5), "w"),
            rule(true, Char, Some(6), Some(6), "r"),
            rule(false, Char, Some(6), Some(6), "r"),
        ]);
        let expected = "DeviceAllow=/dev/char/1:3 rwm, char-* m, block-* m, block-8 rw, /dev/char/5:5 r";
        assert_eq!(lines(&found), ["DevicePolicy=strict", expected]);
    }
}
