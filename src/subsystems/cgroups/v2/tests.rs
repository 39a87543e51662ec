use std::collections::BTreeMap;

use super::super::limits::testing::{Files, check, cpu, memory};
use super::*;
use crate::config::resources::{BlockIo, Cpu, Memory, Rdma, ThrottleDevice, WeightDevice};

const KNOWN: Files<'_> = &[];

#[test]
fn memory_files() {
    let given = |limit, swap| memory(Memory { limit, swap, reservation: Some(5), ..Memory::default() });
    check(
        &[],
        &[
            (given(Some(1 << 20), Some(3 << 20)), KNOWN, {
                Ok(&["memory.max=1048576", "memory.swap.max=2097152", "memory.low=5"])
            }),
            (given(Some(7), Some(7)), KNOWN, Ok(&["memory.max=7", "memory.swap.max?=0", "memory.low=5"])),
            (given(Some(7), Some(-1)), KNOWN, Ok(&["memory.swap.max?=max", "memory.max=7", "memory.low=5"])),
            (given(Some(-1), None), KNOWN, Ok(&["memory.swap.max?=max", "memory.max=max", "memory.low=5"])),
            (given(Some(7), None), KNOWN, Ok(&["memory.max=7", "memory.low=5"])),
        ],
    );
}

#[test]
fn memory_and_swap_of_an_update() {
    let pair = |limit: Option<i64>, swap: Option<i64>| memory(Memory { limit, swap, ..Memory::default() });
    let now: Files<'_> = &[("memory.max", "100"), ("memory.swap.max", "50")];
    let unlimited: Files<'_> = &[("memory.max", "max"), ("memory.swap.max", "max")];
    check(
        &[],
        &[
            (pair(Some(80), Some(180)), now, Ok(&["memory.swap.max=100", "memory.max=80"])),
            (pair(Some(80), Some(90)), now, Ok(&["memory.max=80", "memory.swap.max=10"])),
            (pair(None, Some(130)), now, Ok(&["memory.swap.max=30"])),
            (pair(None, Some(100)), now, Ok(&["memory.swap.max?=0"])),
            (
                pair(None, Some(99)),
                now,
                Err("linux.resources.memory.swap: 99 is for memory and swap together, but less"),
            ),
            (pair(None, Some(99)), unlimited, Err("linux.resources.memory.swap: 99 is memory plus swap, and cannot")),
            (pair(Some(5), Some(6)), unlimited, Ok(&["memory.max=5", "memory.swap.max=1"])),
        ],
    );
}

#[test]
fn a_limit_below_what_is_used_is_refused_when_asked_to() {
    let files: Files<'_> = &[("memory.current", "1000"), ("memory.swap.current", "500")];
    let checked = |limit: Option<i64>, swap: Option<i64>, check_before_update| {
        memory(Memory { limit, swap, check_before_update, ..Memory::default() })
    };
    check(
        &[],
        &[
            (checked(Some(999), None, true), files, Err("linux.resources.memory.limit: rejecting memory limit 999: ")),
            (
                checked(Some(1000), Some(1499), true),
                files,
                Err("linux.resources.memory.swap: rejecting memory+swap limit 1499: "),
            ),
            (checked(Some(1000), Some(1500), true), files, Ok(&["memory.max=1000", "memory.swap.max=500"])),
            (checked(Some(-1), None, true), files, Ok(&["memory.swap.max?=max", "memory.max=max"])),
            (checked(Some(999), None, false), files, Ok(&["memory.max=999"])),
            (checked(Some(999), None, true), KNOWN, Ok(&["memory.max=999"])),
        ],
    );
}

#[test]
fn cpu_files() {
    let all = Cpu {
        shares: Some(1024),
        quota: Some(-1),
        period: Some(50_000),
        burst: Some(7),
        cpus: Some("0".to_owned()),
        mems: Some("0".to_owned()),
        idle: Some(0),
        ..Cpu::default()
    };
    let written: &[&str] =
        &["cpu.idle=0", "cpu.weight=100", "cpu.max=max 50000", "cpu.max.burst=7", "cpuset.cpus=0", "cpuset.mems=0"];
    let idle = Cpu { idle: Some(1), shares: Some(9), ..Cpu::default() };
    check(&[], &[(cpu(all), KNOWN, Ok(written)), (cpu(idle), KNOWN, Ok(&["cpu.idle=1"]))]);
}

#[test]
fn cpu_times_of_an_update() {
    let times = |quota: Option<i64>, period: Option<u64>, burst: Option<u64>| {
        cpu(Cpu { quota, period, burst, ..Cpu::default() })
    };
    let unified = |files: &[(&str, &str)]| Resources {
        unified: files.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect(),
        ..Resources::default()
    };
    let now: Files<'_> = &[("cpu.max", "5000 10000"), ("cpu.max.burst", "1000"), ("cpu.idle", "1")];
    let unlimited: Files<'_> = &[("cpu.max", "max 100000"), ("cpu.max.burst", "0"), ("cpu.idle", "0")];
    check(
        &[],
        &[
            (times(Some(6000), None, None), now, Ok(&["cpu.max=6000"])),
            (times(Some(-1), None, None), now, Ok(&["cpu.max=max"])),
            (times(None, Some(20000), None), now, Ok(&["cpu.max=5000 20000"])),
            (times(None, Some(20000), None), unlimited, Ok(&["cpu.max=max 20000"])),
            (times(None, Some(20000), None), KNOWN, Ok(&["cpu.max=max 20000"])),
            (times(Some(500), None, Some(400)), now, Ok(&["cpu.max.burst=400", "cpu.max=500"])),
            (times(Some(9000), Some(10000), Some(8000)), now, Ok(&["cpu.max=9000 10000", "cpu.max.burst=8000"])),
            (times(Some(900), None, None), now, Err("linux.resources.cpu.quota: 900 is less than the burst 1000")),
            (times(None, None, Some(6000)), now, Err("linux.resources.cpu.burst: 6000 is more than the quota 5000")),
            (times(None, None, Some(6000)), unlimited, Ok(&["cpu.max.burst=6000"])),
            (cpu(Cpu { shares: Some(5), ..Cpu::default() }), now, Ok(&["cpu.idle=0", "cpu.weight=2"])),
            (unified(&[("cpu.weight", "8")]), now, Ok(&["cpu.idle=0", "cpu.weight=8"])),
            (unified(&[("cpu.idle", "1"), ("cpu.weight", "8")]), now, Ok(&["cpu.idle=1"])),
            (cpu(Cpu { shares: Some(1024), idle: Some(0), ..Cpu::default() }), now, {
                Ok(&["cpu.idle=0", "cpu.weight=100"])
            }),
        ],
    );
}

fn block_io(block_io: BlockIo) -> Resources {
    Resources { block_io, ..Resources::default() }
}

#[test]
fn weights() {
    let weight_device = |weight| WeightDevice { major: 8, minor: 16, weight: Some(weight), leaf_weight: None };
    let weights = |weight, of_device: u16| {
        block_io(BlockIo { weight: Some(weight), weight_devices: vec![weight_device(of_device)], ..BlockIo::default() })
    };
    let leaf = WeightDevice { leaf_weight: Some(9), ..weight_device(10) };
    check(
        &[],
        &[
            (weights(10, 500), KNOWN, {
                Ok(&[
                    "io.bfq.weight?=10",
                    "io.weight|io.bfq.weight=1",
                    "io.bfq.weight?=8:16 500",
                    "io.weight|io.bfq.weight=8:16 4950",
                ])
            }),
            (weights(1000, 0), KNOWN, {
                Ok(&[
                    "io.bfq.weight?=1000",
                    "io.weight|io.bfq.weight=10000",
                    "io.bfq.weight?=8:16 default",
                    "io.weight|io.bfq.weight=8:16 default",
                ])
            }),
            (weights(9, 10), KNOWN, Err("linux.resources.blockIO.weight: 9 is out of range (10 to 1000)")),
            (weights(10, 1001), KNOWN, Err("linux.resources.blockIO.weightDevice[0].weight: 1001 is out of range")),
            (block_io(BlockIo { weight_devices: vec![weight_device(10), leaf], ..BlockIo::default() }), KNOWN, {
                Err("linux.resources.blockIO.weightDevice[1].leafWeight: cgroup v2 has nothing like it")
            }),
        ],
    );
}

#[test]
fn throttles_of_a_device_are_one_line() {
    let device = |minor, rate| ThrottleDevice { major: 8, minor, rate };
    let throttles = BlockIo {
        throttle_read_bps: vec![device(0, 1)],
        throttle_write_bps: vec![device(16, 2), device(0, 3)],
        throttle_read_iops: vec![device(0, 4)],
        throttle_write_iops: vec![device(16, 0)],
        ..BlockIo::default()
    };
    let written: &[&str] = &["io.max=8:0 rbps=1 wbps=3 riops=4", "io.max=8:16 wbps=2 wiops=max"];
    check(&[], &[(block_io(throttles.clone()), KNOWN, Ok(written))]);
    let groups = super::super::limits::testing::groups(&[]);
    let writes = writes(&block_io(throttles), &groups, &|_, _| None).unwrap();
    let properties: Vec<_> = writes.iter().map(|write| &*write.property).collect();
    assert_eq!(
        properties,
        ["linux.resources.blockIO.throttleReadBpsDevice[0]", "linux.resources.blockIO.throttleWriteBpsDevice[0]"]
    );
}

#[test]
fn files_of_the_small_controllers() {
    let resources = Resources {
        pids_limit: Some(0),
        hugepages: vec![HugepageLimit { page_size: "2MB".to_owned(), limit: 1 << 21 }],
        rdma: BTreeMap::from([("mlx5_1".to_owned(), Rdma { hca_handles: None, hca_objects: Some(0) })]),
        unified: BTreeMap::from([("io.max".to_owned(), "8:0 rbps=1\n8:16 rbps=2\n".to_owned())]),
        ..Resources::default()
    };
    let written: &[&str] = &[
        "pids.max=0",
        "hugetlb.2MB.max=2097152",
        "hugetlb.2MB.rsvd.max?=2097152",
        "rdma.max=mlx5_1 hca_object=0",
        "io.max=8:0 rbps=1",
        "io.max=8:16 rbps=2",
    ];
    check(
        &[],
        &[
            (resources, KNOWN, Ok(written)),
            (Resources { pids_limit: Some(-1), ..Resources::default() }, KNOWN, Ok(&["pids.max=max"])),
            (Resources::default(), KNOWN, Ok(&[])),
        ],
    );
}

#[test]
fn what_cannot_be_converted_names_the_property() {
    let network = |network| Resources { network, ..Resources::default() };
    check(
        &[],
        &[
            (
                memory(Memory { swappiness: Some(1), ..Memory::default() }),
                KNOWN,
                Err("linux.resources.memory.swappiness: "),
            ),
            (memory(Memory { disable_oom_killer: Some(true), ..Memory::default() }), KNOWN, {
                Err("linux.resources.memory.disableOOMKiller: ")
            }),
            (
                memory(Memory { swap: Some(5), ..Memory::default() }),
                KNOWN,
                Err("linux.resources.memory.swap: 5 is memory plus"),
            ),
            (
                memory(Memory { limit: Some(6), swap: Some(5), ..Memory::default() }),
                KNOWN,
                Err("linux.resources.memory.swap: 5 is for memory and swap together, but less"),
            ),
            (
                cpu(Cpu { realtime_period: Some(5), ..Cpu::default() }),
                KNOWN,
                Err("linux.resources.cpu.realtimePeriod: "),
            ),
            (
                cpu(Cpu { realtime_runtime: Some(5), ..Cpu::default() }),
                KNOWN,
                Err("linux.resources.cpu.realtimeRuntime: "),
            ),
            (
                block_io(BlockIo { leaf_weight: Some(10), ..BlockIo::default() }),
                KNOWN,
                Err("linux.resources.blockIO.leafWeight: "),
            ),
            (
                network(Network { class_id: Some(1), ..Network::default() }),
                KNOWN,
                Err("linux.resources.network.classID: "),
            ),
            (
                network(Network { class_id: None, priorities: vec![("lo".to_owned(), 1)] }),
                KNOWN,
                Err("linux.resources.network.priorities: "),
            ),
        ],
    );
}
