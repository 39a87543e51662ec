use std::collections::BTreeMap;

use super::super::limits::testing::{Files, check, cpu, lines, memory};
use super::*;
use crate::config::resources::{BlockIo, Cpu, DeviceRule, DeviceRuleKind, Memory, ThrottleDevice, WeightDevice};

const ALL: &[&str] = &["memory", "cpu", "cpuset", "pids", "devices", "blkio", "hugetlb", "rdma", "net_cls", "net_prio"];

const KNOWN: Files<'_> = &[];

#[test]
fn memory_files() {
    let all = Memory {
        limit: Some(1 << 20),
        swap: Some(1 << 21),
        reservation: Some(5),
        kernel_tcp: Some(6),
        swappiness: Some(60),
        disable_oom_killer: Some(true),
        use_hierarchy: Some(true),
        check_before_update: true,
    };
    let written: &[&str] = &[
        "memory.limit_in_bytes=1048576",
        "memory.memsw.limit_in_bytes=2097152",
        "memory.soft_limit_in_bytes=5",
        "memory.kmem.tcp.limit_in_bytes=6",
        "memory.swappiness=60",
        "memory.oom_control=1",
        "memory.use_hierarchy=1",
    ];
    let unlimited = Memory { limit: Some(-1), ..Memory::default() };
    check(
        ALL,
        &[
            (memory(all), KNOWN, Ok(written)),
            (memory(unlimited), KNOWN, Ok(&["memory.memsw.limit_in_bytes?=-1", "memory.limit_in_bytes=-1"])),
        ],
    );
}

#[test]
fn memory_and_swap_agree_at_all_times() {
    let pair = |limit: Option<i64>, swap: Option<i64>| memory(Memory { limit, swap, ..Memory::default() });
    let small: Files<'_> = &[("memory.limit_in_bytes", "100"), ("memory.memsw.limit_in_bytes", "200")];
    let unlimited: Files<'_> =
        &[("memory.limit_in_bytes", "9223372036854771712"), ("memory.memsw.limit_in_bytes", "9223372036854771712")];
    check(
        ALL,
        &[
            (pair(Some(300), Some(400)), small, Ok(&["memory.memsw.limit_in_bytes=400", "memory.limit_in_bytes=300"])),
            (pair(Some(50), Some(60)), small, Ok(&["memory.limit_in_bytes=50", "memory.memsw.limit_in_bytes=60"])),
            (pair(Some(5), Some(6)), unlimited, Ok(&["memory.limit_in_bytes=5", "memory.memsw.limit_in_bytes=6"])),
            (pair(Some(-1), None), small, Ok(&["memory.memsw.limit_in_bytes?=-1", "memory.limit_in_bytes=-1"])),
            (pair(Some(150), None), small, Ok(&["memory.limit_in_bytes=150"])),
            (pair(None, Some(150)), small, Ok(&["memory.memsw.limit_in_bytes=150"])),
            (
                pair(Some(300), None),
                small,
                Err("linux.resources.memory.limit: 300 is more than the limit of memory and"),
            ),
            (pair(None, Some(50)), small, Err("linux.resources.memory.swap: 50 is for memory and swap together, but")),
        ],
    );
}

#[test]
fn a_limit_below_what_is_used_is_refused_when_asked_to() {
    let files: Files<'_> = &[("memory.usage_in_bytes", "1000"), ("memory.memsw.usage_in_bytes", "1500")];
    let checked = |limit: Option<i64>, swap: Option<i64>, check_before_update| {
        memory(Memory { limit, swap, check_before_update, ..Memory::default() })
    };
    check(
        ALL,
        &[
            (checked(Some(999), None, true), files, Err("linux.resources.memory.limit: rejecting memory limit 999: ")),
            (
                checked(Some(1000), Some(1499), true),
                files,
                Err("linux.resources.memory.swap: rejecting memory+swap limit 1499: "),
            ),
            (
                checked(Some(1000), Some(1500), true),
                files,
                Ok(&["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=1500"]),
            ),
            (checked(Some(999), None, false), files, Ok(&["memory.limit_in_bytes=999"])),
        ],
    );
}

#[test]
fn cpu_files() {
    let all = Cpu {
        shares: Some(512),
        quota: Some(50000),
        burst: Some(10),
        period: Some(100_000),
        realtime_runtime: Some(7),
        realtime_period: Some(8),
        cpus: Some("0".to_owned()),
        mems: Some("0".to_owned()),
        idle: Some(0),
    };
    let written: &[&str] = &[
        "cpu.idle=0",
        "cpu.shares=512",
        "cpu.cfs_period_us=100000",
        "cpu.cfs_quota_us=50000",
        "cpu.cfs_burst_us=10",
        "cpu.rt_period_us=8",
        "cpu.rt_runtime_us=7",
        "cpuset.cpus=0",
        "cpuset.mems=0",
    ];
    let idle = Cpu { idle: Some(1), shares: Some(9), ..Cpu::default() };
    check(ALL, &[(cpu(all), KNOWN, Ok(written)), (cpu(idle), KNOWN, Ok(&["cpu.idle=1"]))]);
}

#[test]
fn cpu_times_agree_at_all_times() {
    let times = |quota: Option<i64>, period: Option<u64>, burst: Option<u64>| {
        cpu(Cpu { quota, period, burst, ..Cpu::default() })
    };
    let now: Files<'_> = &[
        ("cpu.cfs_quota_us", "5000"),
        ("cpu.cfs_period_us", "10000"),
        ("cpu.cfs_burst_us", "1000"),
        ("cpu.idle", "1"),
    ];
    check(
        ALL,
        &[
            (times(Some(1), Some(20000), Some(0)), now, {
                Ok(&["cpu.cfs_burst_us=0", "cpu.cfs_period_us=20000", "cpu.cfs_quota_us=1"])
            }),
            (times(Some(8000), Some(9000), Some(8000)), now, {
                Ok(&["cpu.cfs_quota_us=8000", "cpu.cfs_period_us=9000", "cpu.cfs_burst_us=8000"])
            }),
            (times(None, Some(9000), None), now, Ok(&["cpu.cfs_period_us=9000"])),
            (times(Some(-1), None, None), now, Ok(&["cpu.cfs_quota_us=-1"])),
            (times(Some(900), None, None), now, Err("linux.resources.cpu.quota: 900 is less than the burst 1000")),
            (times(None, None, Some(6000)), now, Err("linux.resources.cpu.burst: 6000 is more than the quota 5000")),
            (cpu(Cpu { shares: Some(5), ..Cpu::default() }), now, Ok(&["cpu.idle=0", "cpu.shares=5"])),
            (cpu(Cpu { shares: Some(5), idle: Some(0), ..Cpu::default() }), now, Ok(&["cpu.idle=0", "cpu.shares=5"])),
        ],
    );
    let realtime =
        |runtime, period| cpu(Cpu { realtime_runtime: Some(runtime), realtime_period: Some(period), ..Cpu::default() });
    let now: Files<'_> = &[("cpu.rt_runtime_us", "5000"), ("cpu.rt_period_us", "10000")];
    check(
        ALL,
        &[
            (realtime(10, 20000), now, Ok(&["cpu.rt_period_us=20000", "cpu.rt_runtime_us=10"])),
            (realtime(10, 900), now, Ok(&["cpu.rt_runtime_us=10", "cpu.rt_period_us=900"])),
        ],
    );
}

#[test]
fn block_io_files() {
    let device = |major, rate| vec![ThrottleDevice { major, minor: 0, rate }];
    let weights = [(Some(20), None), (Some(0), None), (None, Some(30))];
    let weight_device = |(weight, leaf_weight)| WeightDevice { major: 8, minor: 16, weight, leaf_weight };
    let block_io = BlockIo {
        weight: Some(10),
        leaf_weight: Some(11),
        weight_devices: weights.map(weight_device).into(),
        throttle_read_bps: device(8, 1),
        throttle_write_bps: device(9, 2),
        throttle_read_iops: device(8, 3),
        throttle_write_iops: device(9, 0),
    };
    let written: &[&str] = &[
        "blkio.weight?=10",
        "blkio.bfq.weight|blkio.weight=10",
        "blkio.leaf_weight=11",
        "blkio.weight_device?=8:16 20",
        "blkio.bfq.weight_device|blkio.weight_device=8:16 20",
        "blkio.weight_device?=8:16 default",
        "blkio.bfq.weight_device|blkio.weight_device=8:16 default",
        "blkio.leaf_weight_device=8:16 30",
        "blkio.throttle.read_bps_device=8:0 1",
        "blkio.throttle.write_bps_device=9:0 2",
        "blkio.throttle.read_iops_device=8:0 3",
        "blkio.throttle.write_iops_device=9:0 0",
    ];
    check(ALL, &[(Resources { block_io, ..Resources::default() }, KNOWN, Ok(written))]);
}

#[test]
fn files_of_the_small_controllers() {
    let page = |page_size: &str| HugepageLimit { page_size: page_size.to_owned(), limit: 1 << 21 };
    let resources = Resources {
        devices: vec![DeviceRule { kind: DeviceRuleKind::Char, ..device_filter::DENY_ALL }],
        pids_limit: Some(0),
        hugepages: vec![page("2MB")],
        rdma: BTreeMap::from([("mlx5_1".to_owned(), Rdma { hca_handles: Some(2), hca_objects: Some(3) })]),
        network: Network { class_id: Some(0x10_0001), priorities: vec![("eth0".to_owned(), 5), ("lo".to_owned(), 0)] },
        ..Resources::default()
    };
    let lines = lines(&super::super::limits::testing::groups(ALL), &resources, &[]).unwrap();
    let (devices, others): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.starts_with("devices."));
    assert_eq!(devices[..3], ["devices.deny=a *:* rwm", "devices.deny=c *:* rwm", "devices.allow=c *:* m"]);
    assert_eq!(
        others,
        [
            "pids.max=0",
            "hugetlb.2MB.limit_in_bytes=2097152",
            "hugetlb.2MB.rsvd.limit_in_bytes?=2097152",
            "rdma.max=mlx5_1 hca_handle=2 hca_object=3",
            "net_cls.classid=1048577",
            "net_prio.ifpriomap=eth0 5",
            "net_prio.ifpriomap=lo 0",
        ]
    );
    check(
        ALL,
        &[
            (Resources { pids_limit: Some(-1), ..Resources::default() }, KNOWN, Ok(&["pids.max=max"])),
            (Resources::default(), KNOWN, Ok(&[])),
        ],
    );
}

#[test]
fn a_missing_controller_and_v2_files_are_errors_that_name_the_property() {
    let page = HugepageLimit { page_size: "2MB".to_owned(), limit: 0 };
    let unified = BTreeMap::from([("memory.high".to_owned(), "1".to_owned())]);
    let network = Network { class_id: None, priorities: vec![("lo".to_owned(), 1)] };
    check(
        &["freezer"],
        &[
            (
                Resources { pids_limit: Some(5), ..Resources::default() },
                KNOWN,
                Err("linux.resources.pids.limit: this machine has no cgroup controller \"pids\""),
            ),
            (Resources { hugepages: vec![page], ..Resources::default() }, KNOWN, {
                Err("linux.resources.hugepageLimits[0]: this machine has no cgroup controller \"hugetlb\"")
            }),
            (Resources { network, ..Resources::default() }, KNOWN, {
                Err("linux.resources.network.priorities[0]: this machine has no cgroup controller \"net_prio\"")
            }),
            (Resources { unified, ..Resources::default() }, KNOWN, {
                Err("linux.resources.unified: invalid configuration")
            }),
        ],
    );
}
