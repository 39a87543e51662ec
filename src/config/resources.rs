//! `linux.resources`: limits. An `Option` here means "leave the kernel's value alone".

use std::collections::BTreeMap;

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
