//! Limits as properties of a unit (systemd.resource-control(5)).
//!
//! They are read off the writes of the plan, which are carried out, too, exactly and behind systemd's back, as runc does:
//! many limits have no property, and systemd rounds. The properties are for systemd: whenever it visits the cgroup again it
//! writes what it knows.

use super::super::device_filter;
use super::super::plan::{Version, Write};
use crate::config::resources::{DeviceRule, DeviceRuleKind};
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
    /// The annotation that asks for it.
    pub annotation: Option<String>,
}

impl Property {
    /// A property that is as old as transient units.
    pub fn new(name: &str, value: Value) -> Self {
        Self::since(0, name, value)
    }

    fn since(since: u32, name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), value, since, annotation: None }
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

/// What a file of the unit's group says when all is written. `None`: the group is not there yet.
pub type Now<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The files that systemd writes to, when it comes by.
pub fn files(version: Version) -> &'static [&'static str] {
    match version {
        Version::V1 => &[
            "memory.limit_in_bytes",
            "pids.max",
            "cpu.shares",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
            "blkio.weight",
        ],
        Version::V2 => &[
            "memory.min",
            "memory.low",
            "memory.high",
            "memory.max",
            "memory.swap.max",
            "pids.max",
            "cpu.idle",
            "cpu.weight",
            "cpu.max",
            "cpuset.cpus",
            "cpuset.mems",
            "io.weight",
            "io.bfq.weight",
        ],
    }
}

/// Those of the writes that systemd has properties for. Later ones of the same name take the place of earlier ones.
pub fn of_writes(writes: &[Write], version: Version, now: &Now<'_>) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    for write in writes {
        let found = match version {
            Version::V1 => of_v1(write, writes, now),
            Version::V2 => of_v2(write, now),
        };
        let refused = || Error::invalid(write.property.clone(), format!("{:?} {CANNOT_BE_SAID}", write.value));
        merge(&mut list, found.ok_or_else(refused)?);
    }
    Ok(list)
}

const CANNOT_BE_SAID: &str = "cannot be a property of a systemd unit";

/// Adds properties; one of the same name is replaced.
pub fn merge(list: &mut Vec<Property>, more: impl IntoIterator<Item = Property>) {
    for property in more {
        list.retain(|known| known.name != property.name);
        list.push(property);
    }
}

/// `None`: what is written is not what systemd expects there.
fn of_v2(write: &Write, now: &Now<'_>) -> Option<Vec<Property>> {
    let value = write.value.trim();
    let number = |name: &str| Some(vec![Property::number(name, limit(value)?)]);
    match write.file.as_str() {
        "memory.min" => number("MemoryMin"),
        "memory.low" => number("MemoryLow"),
        "memory.high" => number("MemoryHigh"),
        "memory.max" => number("MemoryMax"),
        "memory.swap.max" => number("MemorySwapMax"),
        "memory.oom.group" => {
            let policy = if value == "1" { "kill" } else { "continue" };
            Some(vec![Property::since(253, OOM_POLICY, Value::text(policy))])
        }
        "pids.max" => tasks(value),
        "cpu.weight" => number("CPUWeight"),
        // A weight of 0 is systemd's word for idle.
        "cpu.idle" if value == "1" => Some(vec![Property::since(252, "CPUWeight", Value::Uint64(0))]),
        "cpu.idle" => {
            let weight = now("cpu.weight").and_then(|weight| limit(weight.trim()));
            Some(weight.map(|weight| Property::number("CPUWeight", weight)).into_iter().collect())
        }
        "cpu.max" => {
            let mut words = value.split_ascii_whitespace();
            let (quota, period) = (words.next()?, words.next().map(str::to_owned));
            let period = period.or_else(|| now("cpu.max")?.split_ascii_whitespace().nth(1).map(str::to_owned));
            words.next().is_none().then(|| cpu_quota(quota, period.as_deref()))?
        }
        "cpuset.cpus" => Some(vec![allowed("AllowedCPUs", value)?]),
        "cpuset.mems" => Some(vec![allowed("AllowedMemoryNodes", value)?]),
        // A weight for one device, or none at all, has no property.
        "io.weight" => Some(limit(value).map(|weight| Property::number("IOWeight", weight)).into_iter().collect()),
        _ => Some(Vec::new()),
    }
}

/// The same. Quota and period are two files, but mean something only together.
fn of_v1(write: &Write, all: &[Write], now: &Now<'_>) -> Option<Vec<Property>> {
    let value = write.value.trim();
    let number = |name: &str| Some(vec![Property::number(name, limit(value)?)]);
    let other = |file: &str| match all.iter().rfind(|write| write.file == file) {
        Some(write) => Some(write.value.clone()),
        None => now(file).map(|value| value.trim().to_owned()),
    };
    match write.file.as_str() {
        "memory.limit_in_bytes" => number("MemoryLimit"),
        "pids.max" => tasks(value),
        "cpu.shares" => number("CPUShares"),
        "cpu.cfs_quota_us" => cpu_quota(value, other("cpu.cfs_period_us").as_deref()),
        "cpu.cfs_period_us" => cpu_quota(other("cpu.cfs_quota_us").as_deref().unwrap_or(NO_LIMIT), Some(value)),
        "blkio.weight" => number("BlockIOWeight"),
        _ => Some(Vec::new()),
    }
}

const NO_LIMIT: &str = "-1";

/// Systemd takes it when a scope is started, and at no other time; slices do not have it.
pub const OOM_POLICY: &str = "OOMPolicy";

/// A number, `max`, or -1 which is the same.
fn limit(text: &str) -> Option<u64> {
    if text == "max" || text == NO_LIMIT { Some(UNLIMITED) } else { text.parse().ok() }
}

/// Systemd knows no limit of 0; the file gets it all the same.
fn tasks(value: &str) -> Option<Vec<Property>> {
    Some(vec![Property::number("TasksMax", limit(value)?.max(1))])
}

/// Systemd counts the quota in microseconds a second, and wants whole percents of a processor: less would be rounded down.
fn cpu_quota(quota: &str, period: Option<&str>) -> Option<Vec<Property>> {
    const PERCENT: u128 = 10_000;
    const USUAL_PERIOD: u64 = 100_000;
    let period: Option<u64> = period.map(str::parse).transpose().ok()?;
    let per_second = match limit(quota)? {
        UNLIMITED => UNLIMITED,
        quota => {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(USUAL_PERIOD).max(1));
            u64::try_from(exact.next_multiple_of(PERCENT)).unwrap_or(UNLIMITED)
        }
    };
    let period = period.map(|period| Property::since(242, "CPUQuotaPeriodUSec", Value::Uint64(period)));
    Some(period.into_iter().chain([Property::number("CPUQuotaPerSecUSec", per_second)]).collect())
}

fn allowed(name: &str, list: &str) -> Option<Property> {
    let bytes = mask(list)?.into_iter().map(Value::Byte).collect();
    Some(Property::since(244, name, Value::Array("y".to_owned(), bytes)))
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
    use super::super::super::limits::testing::groups;
    use super::super::super::{v1, v2};
    use super::*;
    use crate::config::resources::{BlockIo, Cpu, Memory, Resources};

    /// For groups that are to be made.
    fn of_limits(resources: &Resources, version: Version) -> Result<Vec<Property>> {
        let writes = match version {
            Version::V1 => v1::writes(resources, &groups(&["memory", "cpu", "cpuset", "pids", "blkio"]), &|_, _| None),
            Version::V2 => v2::writes(resources, &groups(&[]), &|_, _| None),
        };
        of_writes(&writes?, version, &|_| None)
    }

    #[test]
    fn the_other_half_of_a_pair_is_what_is_in_force() {
        let write = |file: &str, value: &str| Write {
            group: 0,
            file: file.to_owned(),
            value: value.to_owned(),
            property: "p".into(),
            when: crate::subsystems::cgroups::plan::When::Always,
        };
        let now = |file: &str| {
            let files = [
                ("cpu.max", "20000 50000\n"),
                ("cpu.weight", "59\n"),
                ("cpu.cfs_quota_us", "25000\n"),
                ("cpu.cfs_period_us", "50000\n"),
            ];
            files.iter().find(|(name, _)| *name == file).map(|(_, value)| (*value).to_owned())
        };
        for (version, file, value, expected) in [
            (Version::V2, "cpu.max", "20000", "CPUQuotaPeriodUSec=50000 (242) CPUQuotaPerSecUSec=400000"),
            (Version::V1, "cpu.cfs_quota_us", "20000", "CPUQuotaPeriodUSec=50000 (242) CPUQuotaPerSecUSec=400000"),
            (Version::V1, "cpu.cfs_period_us", "100000", "CPUQuotaPeriodUSec=100000 (242) CPUQuotaPerSecUSec=250000"),
            (Version::V2, "cpu.idle", "0", "CPUWeight=59"),
        ] {
            let found = of_writes(&[write(file, value)], version, &now).unwrap();
            assert_eq!(lines(&found).join(" "), expected, "{file}={value}");
        }
    }

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
                "MemorySwapMax=2097152",
                "MemoryLow=5",
                "CPUWeight=100",
                "CPUQuotaPeriodUSec=50000 (242)",
                "CPUQuotaPerSecUSec=510000",
                "AllowedCPUs=[7, 2] (244)",
                "AllowedMemoryNodes=[1] (244)",
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
            (memory(Memory { limit: Some(-1), ..Memory::default() }), "MemorySwapMax=infinity MemoryMax=infinity"),
            (
                memory(Memory { limit: Some(7), swap: Some(-1), ..Memory::default() }),
                "MemorySwapMax=infinity MemoryMax=7",
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
