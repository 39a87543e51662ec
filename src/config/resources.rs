//! `linux.resources`: limits. An `Option` here means "leave the kernel's value alone".

use std::collections::BTreeMap;

use oci_spec::runtime;

use super::document::Node;
use super::linux::{device_major, device_minor};
use super::number_set;
use super::property::{member, unless_empty};
use crate::error::{Error, Result};

/// Every limit of the specification. What a cgroup driver cannot do with one of them, its plan refuses by name.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Resources {
    /// In order; the last matching rule wins.
    pub devices: Vec<DeviceRule>,
    pub memory: Memory,
    pub cpu: Cpu,
    /// -1 is no limit; 0 is a limit of 0.
    pub pids_limit: Option<i64>,
    pub block_io: BlockIo,
    pub hugepages: Vec<HugepageLimit>,
    pub network: Network,
    /// By device.
    pub rdma: BTreeMap<String, Rdma>,
    /// File name to content, cgroup v2 only.
    pub unified: BTreeMap<String, String>,
}

/// One entry of `devices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which files.
    pub kind: DeviceRuleKind,
    /// `None`: any.
    pub major: Option<u32>,
    /// `None`: any.
    pub minor: Option<u32>,
    /// Read.
    pub read: bool,
    /// Write.
    pub write: bool,
    /// mknod(2).
    pub mknod: bool,
}

/// `type` of a device rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceRuleKind {
    /// `a`, or unset.
    All,
    /// `c`.
    Char,
    /// `b`.
    Block,
}

/// `memory`; bytes, -1 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Memory {
    pub limit: Option<i64>,
    pub reservation: Option<i64>,
    /// Memory plus swap.
    pub swap: Option<i64>,
    /// Of TCP buffers; cgroup v1 only.
    pub kernel_tcp: Option<i64>,
    /// 0..=100.
    pub swappiness: Option<u64>,
    pub disable_oom_killer: Option<bool>,
    pub use_hierarchy: Option<bool>,
    pub check_before_update: bool,
}

/// `cpu`; times are microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Cpu {
    pub shares: Option<u64>,
    /// Not positive: no limit.
    pub quota: Option<i64>,
    pub burst: Option<u64>,
    pub period: Option<u64>,
    pub realtime_runtime: Option<i64>,
    pub realtime_period: Option<u64>,
    /// A list such as `0-3,7`.
    pub cpus: Option<String>,
    /// A list such as `0-3,7`.
    pub mems: Option<String>,
    pub idle: Option<i64>,
}

/// `blockIO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct BlockIo {
    pub weight: Option<u16>,
    pub leaf_weight: Option<u16>,
    pub weight_devices: Vec<WeightDevice>,
    pub throttle_read_bps: Vec<ThrottleDevice>,
    pub throttle_write_bps: Vec<ThrottleDevice>,
    pub throttle_read_iops: Vec<ThrottleDevice>,
    pub throttle_write_iops: Vec<ThrottleDevice>,
}

/// `blockIO.weightDevice[]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct WeightDevice {
    pub major: u32,
    pub minor: u32,
    pub weight: Option<u16>,
    pub leaf_weight: Option<u16>,
}

/// `blockIO.throttle*Device[]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ThrottleDevice {
    pub major: u32,
    pub minor: u32,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// `hugepageLimits[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HugepageLimit {
    /// `2MB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// `network`, cgroup v1 only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Network {
    pub class_id: Option<u32>,
    /// By interface.
    pub priorities: Vec<(String, u32)>,
}

/// `rdma`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Rdma {
    pub hca_handles: Option<u32>,
    pub hca_objects: Option<u32>,
}

impl Resources {
    /// Checks the chapter. `given` is the object as written, where oci-spec does not tell absent from 0.
    pub(super) fn check(spec: &runtime::LinuxResources, given: &Node<'_>, warnings: &mut Vec<String>) -> Result<Self> {
        warn_of_kernel_memory(given, warnings);
        Ok(Self {
            devices: check_device_rules(spec)?,
            memory: spec.memory().as_ref().map(check_memory).transpose()?.unwrap_or_default(),
            cpu: spec.cpu().as_ref().map(check_cpu).transpose()?.unwrap_or_default(),
            pids_limit: check_pids(spec, given)?,
            block_io: spec.block_io().as_ref().map(check_block_io).transpose()?.unwrap_or_default(),
            hugepages: check_hugepages(spec, given)?,
            network: spec.network().as_ref().map(check_network).transpose()?.unwrap_or_default(),
            rdma: check_rdma(spec)?,
            unified: check_unified(spec)?,
        })
    }
}

/// COMPAT(runc): obsolete since Linux 5.4, ignored; zero is how engines write "unset".
fn warn_of_kernel_memory(given: &Node<'_>, warnings: &mut Vec<String>) {
    let value = given.get("memory").get("kernel");
    if value.is_given() && *value != Node::Number(0.into()) {
        warnings.push("linux.resources.memory.kernel: ignored: the kernel has no such limit any more".to_owned());
    }
}

fn check_device_rules(spec: &runtime::LinuxResources) -> Result<Vec<DeviceRule>> {
    let rules = spec.devices().iter().flatten().enumerate();
    rules.map(|(index, rule)| check_device_rule(&format!("linux.resources.devices[{index}]"), rule)).collect()
}

/// SPEC(config, linux.resources.devices): type `a`, `c` or `b`; unset type and numbers mean any.
fn check_device_rule(property: &str, spec: &runtime::LinuxDeviceCgroup) -> Result<DeviceRule> {
    let kind = match spec.typ() {
        None | Some(runtime::LinuxDeviceType::A) => DeviceRuleKind::All,
        Some(runtime::LinuxDeviceType::C) => DeviceRuleKind::Char,
        Some(runtime::LinuxDeviceType::B) => DeviceRuleKind::Block,
        Some(other @ (runtime::LinuxDeviceType::U | runtime::LinuxDeviceType::P)) => {
            let why = format!("unknown value {:?}, expected one of \"a\", \"c\", \"b\"", other.as_str());
            return Err(Error::invalid(format!("{property}.type"), why));
        }
    };
    let access = check_access(property, spec.access().as_deref().unwrap_or_default())?;
    // COMPAT(docker): -1 is how `--device-cgroup-rule 'c 10:* rwm'` arrives.
    let number = |key: &str, value: Option<i64>, check: fn(&str, i64) -> Result<u32>| {
        value.filter(|number| *number != -1).map(|number| check(&format!("{property}.{key}"), number)).transpose()
    };
    Ok(DeviceRule {
        allow: spec.allow(),
        kind,
        major: number("major", spec.major(), device_major)?,
        minor: number("minor", spec.minor(), device_minor)?,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    })
}

/// A rule without access would allow or deny nothing, or everything: runc refuses it too.
///
/// COMPAT(runc): letters without a meaning are passed over.
fn check_access<'a>(property: &str, access: &'a str) -> Result<&'a str> {
    const EXPECTED: &str = "expected some of \"r\", \"w\", \"m\"";
    let is_known = |letter: char| matches!(letter, 'r' | 'w' | 'm');
    if !access.contains(is_known) {
        return Err(Error::invalid(format!("{property}.access"), format!("is {access:?}, {EXPECTED}")));
    }
    if let Some(letter) = access.chars().find(|letter| !is_known(*letter)) {
        log::warn!("{property}.access: {letter:?} in {access:?} is unknown, {EXPECTED}");
    }
    Ok(access)
}

/// COMPAT(runc): 0 is how engines write "unset" for every limit of memory.
fn check_memory(spec: &runtime::LinuxMemory) -> Result<Memory> {
    let memory = Memory {
        limit: check_bytes("linux.resources.memory.limit", spec.limit())?,
        reservation: check_bytes("linux.resources.memory.reservation", spec.reservation())?,
        swap: check_bytes("linux.resources.memory.swap", spec.swap())?,
        kernel_tcp: check_bytes("linux.resources.memory.kernelTCP", spec.kernel_tcp())?,
        swappiness: check_swappiness(spec)?,
        // False is the kernel's default, and a limit that cgroup v2 does not have.
        disable_oom_killer: spec.disable_oom_killer().filter(|disable| *disable),
        use_hierarchy: spec.use_hierarchy(),
        check_before_update: spec.check_before_update().unwrap_or(false),
    };
    check_swap_holds_memory(&memory)?;
    Ok(memory)
}

/// SPEC(config, linux.resources.memory): -1 is no limit.
fn check_bytes(property: &str, bytes: Option<i64>) -> Result<Option<i64>> {
    match bytes.filter(|bytes| *bytes != 0) {
        Some(bytes) if bytes < -1 => {
            Err(Error::invalid(property, format!("{bytes} is negative and not -1 (no limit)")))
        }
        bytes => Ok(bytes),
    }
}

/// SPEC(config, linux.resources.memory.swap): it is the limit of memory and swap together.
fn check_swap_holds_memory(memory: &Memory) -> Result<()> {
    match (memory.limit, memory.swap) {
        (Some(limit), Some(swap)) if swap != -1 && (limit == -1 || swap < limit) => {
            let limit = if limit == -1 { "unlimited memory".to_owned() } else { format!("the memory limit {limit}") };
            let why = format!("{swap} is for memory and swap together, but less than {limit}");
            Err(Error::invalid("linux.resources.memory.swap", why))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// SPEC(config, linux.resources.memory.swappiness): from 0 to 100.
fn check_swappiness(spec: &runtime::LinuxMemory) -> Result<Option<u64>> {
    match spec.swappiness() {
        Some(value) if value > 100 => {
            Err(Error::invalid("linux.resources.memory.swappiness", format!("{value} is out of range (0 to 100)")))
        }
        value => Ok(value),
    }
}

/// COMPAT(runc): 0 is how engines write "unset" for all of these but burst and idle.
fn check_cpu(spec: &runtime::LinuxCpu) -> Result<Cpu> {
    let cpu = Cpu {
        shares: spec.shares().filter(|value| *value != 0),
        quota: spec.quota().filter(|value| *value != 0),
        burst: spec.burst(),
        period: spec.period().filter(|value| *value != 0),
        realtime_runtime: spec.realtime_runtime().filter(|value| *value != 0),
        realtime_period: spec.realtime_period().filter(|value| *value != 0),
        cpus: unless_empty(spec.cpus().as_ref()),
        mems: unless_empty(spec.mems().as_ref()),
        idle: check_idle(spec)?,
    };
    for (property, list) in [("linux.resources.cpu.cpus", &cpu.cpus), ("linux.resources.cpu.mems", &cpu.mems)] {
        list.as_ref().map_or(Ok(()), |list| number_set::check_list(property, list))?;
    }
    check_burst(&cpu)?;
    Ok(cpu)
}

/// SPEC(config, linux.resources.cpu.burst): not more than a positive quota.
fn check_burst(cpu: &Cpu) -> Result<()> {
    let (Some(burst), Some(quota)) = (cpu.burst, cpu.quota) else { return Ok(()) };
    match u64::try_from(quota) {
        Ok(quota) if burst > quota => {
            Err(Error::invalid("linux.resources.cpu.burst", format!("{burst} is more than the quota {quota}")))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// SPEC(config, linux.resources.cpu.idle): 0 or 1.
fn check_idle(spec: &runtime::LinuxCpu) -> Result<Option<i64>> {
    match spec.idle() {
        Some(idle) if !matches!(idle, 0 | 1) => {
            Err(Error::invalid("linux.resources.cpu.idle", format!("{idle} is neither 0 nor 1")))
        }
        idle => Ok(idle),
    }
}

/// SPEC(config, linux.resources.pids.limit): optional, -1 is no limit, and 0 is a limit of 0.
fn check_pids(spec: &runtime::LinuxResources, given: &Node<'_>) -> Result<Option<i64>> {
    let limit = spec.pids().filter(|_| given.get("pids").get("limit").is_given()).map(|pids| pids.limit());
    match limit {
        Some(limit) if limit < -1 => {
            Err(Error::invalid("linux.resources.pids.limit", format!("{limit} is negative and not -1 (no limit)")))
        }
        limit => Ok(limit),
    }
}

/// COMPAT(runc): a weight of 0 is how engines write "unset".
fn check_block_io(spec: &runtime::LinuxBlockIo) -> Result<BlockIo> {
    let weights = spec.weight_device().iter().flatten().enumerate();
    Ok(BlockIo {
        weight: spec.weight().filter(|weight| *weight != 0),
        leaf_weight: spec.leaf_weight().filter(|weight| *weight != 0),
        weight_devices: weights.map(|(index, entry)| check_weight_device(index, entry)).collect::<Result<_>>()?,
        throttle_read_bps: check_throttles("throttleReadBpsDevice", spec.throttle_read_bps_device())?,
        throttle_write_bps: check_throttles("throttleWriteBpsDevice", spec.throttle_write_bps_device())?,
        throttle_read_iops: check_throttles("throttleReadIOPSDevice", spec.throttle_read_iops_device())?,
        throttle_write_iops: check_throttles("throttleWriteIOPSDevice", spec.throttle_write_iops_device())?,
    })
}

/// SPEC(config, linux.resources.blockIO.weightDevice): at least one of the weights must be given.
fn check_weight_device(index: usize, spec: &runtime::LinuxWeightDevice) -> Result<WeightDevice> {
    let property = format!("linux.resources.blockIO.weightDevice[{index}]");
    if spec.weight().is_none() && spec.leaf_weight().is_none() {
        return Err(Error::invalid(property, "has neither weight nor leafWeight"));
    }
    Ok(WeightDevice {
        major: device_major(&format!("{property}.major"), spec.major())?,
        minor: device_minor(&format!("{property}.minor"), spec.minor())?,
        weight: spec.weight(),
        leaf_weight: spec.leaf_weight(),
    })
}

fn check_throttles(key: &str, spec: &Option<Vec<runtime::LinuxThrottleDevice>>) -> Result<Vec<ThrottleDevice>> {
    let check = |(index, entry): (usize, &runtime::LinuxThrottleDevice)| {
        let property = format!("linux.resources.blockIO.{key}[{index}]");
        Ok(ThrottleDevice {
            major: device_major(&format!("{property}.major"), entry.major())?,
            minor: device_minor(&format!("{property}.minor"), entry.minor())?,
            rate: entry.rate(),
        })
    };
    spec.iter().flatten().enumerate().map(check).collect()
}

fn check_hugepages(spec: &runtime::LinuxResources, given: &Node<'_>) -> Result<Vec<HugepageLimit>> {
    let given = given.get("hugepageLimits");
    let entries = spec.hugepage_limits().iter().flatten().enumerate();
    entries.map(|(index, entry)| check_hugepage(index, entry, given.item(index))).collect()
}

/// SPEC(config, linux.resources.hugepageLimits): the limit is unsigned, which oci-spec's type is not: read as written.
fn check_hugepage(index: usize, spec: &runtime::LinuxHugepageLimit, given: &Node<'_>) -> Result<HugepageLimit> {
    let property = format!("linux.resources.hugepageLimits[{index}]");
    check_page_size(&property, spec.page_size())?;
    let limit = if let Node::Number(number) = given.get("limit") { number.as_u64() } else { None };
    match limit {
        Some(limit) => Ok(HugepageLimit { page_size: spec.page_size().clone(), limit }),
        None => Err(Error::invalid(format!("{property}.limit"), format!("{} is not a number of bytes", spec.limit()))),
    }
}

/// SPEC(config schema): `^[1-9][0-9]*[KMG]B$`. It becomes part of a file name.
fn check_page_size(property: &str, page_size: &str) -> Result<()> {
    let number = page_size.strip_suffix('B').and_then(|text| text.strip_suffix(['K', 'M', 'G']));
    let good = number.is_some_and(|number| {
        !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    if good {
        return Ok(());
    }
    Err(Error::invalid(
        format!("{property}.pageSize"),
        format!("{page_size:?} is not a size such as \"2MB\" or \"1GB\""),
    ))
}

/// COMPAT(runc): a class of 0 is how engines write "unset".
fn check_network(spec: &runtime::LinuxNetwork) -> Result<Network> {
    let mut priorities = Vec::new();
    for (index, entry) in spec.priorities().iter().flatten().enumerate() {
        if entry.name().is_empty() {
            return Err(Error::invalid(format!("linux.resources.network.priorities[{index}].name"), "is empty"));
        }
        priorities.push((entry.name().clone(), entry.priority()));
    }
    Ok(Network { class_id: spec.class_id().filter(|class| *class != 0), priorities })
}

/// SPEC(config, linux.resources.rdma): at least one of the two limits must be given.
fn check_rdma(spec: &runtime::LinuxResources) -> Result<BTreeMap<String, Rdma>> {
    let mut limits = BTreeMap::new();
    for (device, entry) in spec.rdma().iter().flatten() {
        let property = member("linux.resources.rdma", device);
        if device.is_empty() {
            return Err(Error::invalid(property, "a device has no name"));
        }
        if entry.hca_handles().is_none() && entry.hca_objects().is_none() {
            return Err(Error::invalid(property, "has neither hcaHandles nor hcaObjects"));
        }
        limits.insert(device.clone(), Rdma { hca_handles: entry.hca_handles(), hca_objects: entry.hca_objects() });
    }
    Ok(limits)
}

/// SPEC(config, linux.resources.unified): a key is a file of the container's cgroup, and none of another directory.
fn check_unified(spec: &runtime::LinuxResources) -> Result<BTreeMap<String, String>> {
    let files: BTreeMap<String, String> =
        spec.unified().iter().flatten().map(|(file, content)| (file.clone(), content.clone())).collect();
    match files.keys().find(|file| file.contains('/') || matches!(file.as_str(), "" | "." | "..")) {
        None => Ok(files),
        Some(file) => Err(Error::invalid(member("linux.resources.unified", file), "is not a file name")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::testing::{accept, assert_refused};
    use crate::error::Kind;

    fn resources(patch: Value) -> Value {
        json!({"linux": {"resources": patch}})
    }

    #[test]
    fn zeros_that_engines_write_for_unset() {
        let config = accept(&resources(json!({
            "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0, "kernelTCP": 0, "disableOOMKiller": false},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""},
            "pids": {},
            "blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": [], "throttleReadBpsDevice": []},
            "network": {"classID": 0, "priorities": []},
            "devices": [], "hugepageLimits": [], "rdma": {}, "unified": {}
        })));
        assert_eq!(config.linux.resources, Resources::default());
        assert_eq!(config.warnings, Vec::<String>::new());
    }

    #[test]
    fn zeros_that_are_meant() {
        let config = accept(&resources(json!({
            "memory": {"swappiness": 0}, "cpu": {"burst": 0, "idle": 0}, "pids": {"limit": 0},
            "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 0}]},
            "hugepageLimits": [{"pageSize": "64KB", "limit": 0}], "rdma": {"mlx": {"hcaObjects": 0}}
        })));
        let resources = config.linux.resources;
        assert_eq!((resources.memory.swappiness, resources.cpu.burst, resources.cpu.idle), (Some(0), Some(0), Some(0)));
        assert_eq!(resources.pids_limit, Some(0));
        assert_eq!(resources.block_io.weight_devices[0].weight, Some(0));
        assert_eq!(resources.hugepages[0].limit, 0);
        assert_eq!(resources.rdma["mlx"], Rdma { hca_handles: None, hca_objects: Some(0) });
    }

    #[test]
    fn values_arrive() {
        let config = accept(&resources(json!({
            "memory": {"limit": -1, "swap": -1, "reservation": 7, "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": true},
            "cpu": {"shares": 2, "quota": -1, "burst": 5, "period": 6, "cpus": "0-3,7", "mems": "0", "idle": 1},
            "blockIO": {"weight": 10, "leafWeight": 11, "throttleWriteIOPSDevice": [{"major": 8, "minor": 1, "rate": u64::MAX}]},
            "network": {"classID": 9, "priorities": [{"name": "eth0", "priority": 0}]},
            "unified": {"memory.high": "5", "io.max": "8:0 rbps=1\n8:16 rbps=2"}
        })));
        let resources = config.linux.resources;
        let memory = resources.memory;
        assert_eq!((memory.limit, memory.swap, memory.reservation), (Some(-1), Some(-1), Some(7)));
        assert_eq!(
            (memory.disable_oom_killer, memory.use_hierarchy, memory.check_before_update),
            (Some(true), Some(true), true)
        );
        let cpu = resources.cpu;
        assert_eq!(
            (cpu.shares, cpu.quota, cpu.burst, cpu.period, cpu.idle),
            (Some(2), Some(-1), Some(5), Some(6), Some(1))
        );
        assert_eq!(resources.block_io.throttle_write_iops, [ThrottleDevice { major: 8, minor: 1, rate: u64::MAX }]);
        assert_eq!(resources.network, Network { class_id: Some(9), priorities: vec![("eth0".to_owned(), 0)] });
        assert_eq!((resources.block_io.weight, resources.block_io.leaf_weight), (Some(10), Some(11)));
        assert_eq!(resources.unified.len(), 2);
        let realtime = accept(&self::resources(
            json!({"cpu": {"realtimeRuntime": -1, "realtimePeriod": 3, "quota": 5, "burst": 5}}),
        ));
        let cpu = realtime.linux.resources.cpu;
        assert_eq!((cpu.realtime_runtime, cpu.realtime_period, cpu.burst), (Some(-1), Some(3), Some(5)));
    }

    #[test]
    fn device_rules() {
        let config = accept(&resources(json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "", "major": -1, "minor": -1, "access": "r"},
            {"allow": true, "type": "b", "major": 8, "access": "mw"},
            {"allow": true, "type": "c", "major": 0, "minor": 0, "access": "w"}
        ]})));
        let rule = |allow, kind, major, minor, [read, write, mknod]: [bool; 3]| DeviceRule {
            allow,
            kind,
            major,
            minor,
            read,
            write,
            mknod,
        };
        assert_eq!(
            config.linux.resources.devices,
            [
                rule(false, DeviceRuleKind::All, None, None, [true, true, true]),
                rule(true, DeviceRuleKind::All, None, None, [true, false, false]),
                rule(true, DeviceRuleKind::Block, Some(8), None, [false, true, true]),
                rule(true, DeviceRuleKind::Char, Some(0), Some(0), [false, true, false]),
            ]
        );
    }

    #[test]
    fn kernel_memory_is_warned_about() {
        let config = accept(&resources(json!({"memory": {"kernel": 5}})));
        assert_eq!(config.warnings, ["linux.resources.memory.kernel: ignored: the kernel has no such limit any more"]);
        assert_eq!(config.linux.resources, Resources::default());
    }

    #[test]
    fn refused() {
        let rule = |patch: Value| resources(json!({"devices": [patch]}));
        let memory = |patch: Value| resources(json!({"memory": patch}));
        let cpu = |patch: Value| resources(json!({"cpu": patch}));
        let page = |size: &str| resources(json!({"hugepageLimits": [{"pageSize": size, "limit": 1}]}));
        let list = "is not a list of numbers and ranges such as \"0-3,7\"";
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "fifo",
                    rule(json!({"allow": true, "type": "p", "access": "r"})),
                    "linux.resources.devices[0].type: unknown value \"p\", expected one of \"a\", \"c\", \"b\"",
                ),
                (
                    "no access",
                    rule(json!({"allow": true})),
                    "linux.resources.devices[0].access: is \"\", expected some of \"r\", \"w\", \"m\"",
                ),
                (
                    "access",
                    rule(json!({"allow": true, "access": "x"})),
                    "linux.resources.devices[0].access: is \"x\", expected some of \"r\", \"w\", \"m\"",
                ),
                (
                    "major",
                    rule(json!({"allow": true, "access": "r", "major": -2})),
                    "linux.resources.devices[0].major: -2 is out of range (0 to 4095)",
                ),
                (
                    "minor",
                    rule(json!({"allow": true, "access": "r", "minor": 1_048_576})),
                    "linux.resources.devices[0].minor: 1048576 is out of range (0 to 1048575)",
                ),
                (
                    "limit",
                    memory(json!({"limit": -2})),
                    "linux.resources.memory.limit: -2 is negative and not -1 (no limit)",
                ),
                (
                    "reservation",
                    memory(json!({"reservation": -9})),
                    "linux.resources.memory.reservation: -9 is negative and not -1 (no limit)",
                ),
                (
                    "swap",
                    memory(json!({"swap": -2})),
                    "linux.resources.memory.swap: -2 is negative and not -1 (no limit)",
                ),
                (
                    "swap below limit",
                    memory(json!({"limit": 5, "swap": 4})),
                    "linux.resources.memory.swap: 4 is for memory and swap together, but less than the memory limit 5",
                ),
                (
                    "swap below no limit",
                    memory(json!({"limit": -1, "swap": 4})),
                    "linux.resources.memory.swap: 4 is for memory and swap together, but less than unlimited memory",
                ),
                (
                    "swappiness",
                    memory(json!({"swappiness": 101})),
                    "linux.resources.memory.swappiness: 101 is out of range (0 to 100)",
                ),
                (
                    "burst",
                    cpu(json!({"quota": 5, "burst": 6})),
                    "linux.resources.cpu.burst: 6 is more than the quota 5",
                ),
                ("idle", cpu(json!({"idle": 2})), "linux.resources.cpu.idle: 2 is neither 0 nor 1"),
                ("cpus", cpu(json!({"cpus": "3-"})), &format!("linux.resources.cpu.cpus: \"3-\" {list}")),
                ("mems", cpu(json!({"mems": "a"})), &format!("linux.resources.cpu.mems: \"a\" {list}")),
                (
                    "pids",
                    resources(json!({"pids": {"limit": -2}})),
                    "linux.resources.pids.limit: -2 is negative and not -1 (no limit)",
                ),
                (
                    "no weight",
                    resources(json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}})),
                    "linux.resources.blockIO.weightDevice[0]: has neither weight nor leafWeight",
                ),
                (
                    "weight device",
                    resources(json!({"blockIO": {"weightDevice": [{"major": -1, "minor": 0, "weight": 5}]}})),
                    "linux.resources.blockIO.weightDevice[0].major: -1 is out of range (0 to 4095)",
                ),
                (
                    "throttle",
                    resources(json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": -1, "rate": 5}]}})),
                    "linux.resources.blockIO.throttleReadBpsDevice[0].minor: -1 is out of range (0 to 1048575)",
                ),
                (
                    "kB",
                    page("64kB"),
                    "linux.resources.hugepageLimits[0].pageSize: \"64kB\" is not a size such as \"2MB\" or \"1GB\"",
                ),
                (
                    "path",
                    page("../2MB"),
                    "linux.resources.hugepageLimits[0].pageSize: \"../2MB\" is not a size such as \"2MB\" or \"1GB\"",
                ),
                (
                    "zero",
                    page("02MB"),
                    "linux.resources.hugepageLimits[0].pageSize: \"02MB\" is not a size such as \"2MB\" or \"1GB\"",
                ),
                (
                    "unit alone",
                    page("MB"),
                    "linux.resources.hugepageLimits[0].pageSize: \"MB\" is not a size such as \"2MB\" or \"1GB\"",
                ),
                (
                    "negative",
                    resources(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]})),
                    "linux.resources.hugepageLimits[0].limit: -1 is not a number of bytes",
                ),
                (
                    "interface",
                    resources(json!({"network": {"priorities": [{"name": "", "priority": 1}]}})),
                    "linux.resources.network.priorities[0].name: is empty",
                ),
                (
                    "rdma",
                    resources(json!({"rdma": {"mlx5_1": {}}})),
                    "linux.resources.rdma.mlx5_1: has neither hcaHandles nor hcaObjects",
                ),
                (
                    "rdma name",
                    resources(json!({"rdma": {"": {"hcaHandles": 1}}})),
                    "linux.resources.rdma[\"\"]: a device has no name",
                ),
                (
                    "unified",
                    resources(json!({"unified": {"../x": "1"}})),
                    "linux.resources.unified[\"../x\"]: is not a file name",
                ),
                (
                    "unified",
                    resources(json!({"unified": {"..": "1"}})),
                    "linux.resources.unified[\"..\"]: is not a file name",
                ),
            ],
        );
    }
}
