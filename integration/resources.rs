//! Every limit of linux.resources: in the kernel's file as it should be, felt by the program, or refused by its name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{major, minor};
use serde_json::{Value, json};

use crate::support::cgroup::{self, View};
use crate::support::refusal::Refusal;
use crate::support::run::Run;
use crate::support::wait::until;
use crate::support::{Bundle, Container, Sandbox, differs, requires, rootfs};

/// Files with what they say.
type Files<'a> = &'a [(&'a str, &'a str)];

fn resources(resources: Value) -> Bundle {
    Bundle::idle().set("/linux/resources", resources)
}

fn is_v2() -> bool {
    cgroup::view() == View::Unified
}

fn file(container: &Container, controller: &str, name: &str) -> PathBuf {
    cgroup::directory_of(controller, &container.cgroup).unwrap().join(name)
}

#[track_caller]
fn read(container: &Container, controller: &str, name: &str) -> String {
    let file = file(container, controller, name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}")).trim().to_owned()
}

/// A created container whose files of `controller` say this.
#[track_caller]
fn assert_files(given: Value, controller: &str, v1: Files<'_>, v2: Files<'_>) -> Container {
    let container = resources(given).create();
    for (name, content) in if is_v2() { v2 } else { v1 } {
        assert_eq!(read(&container, controller, name), *content, "{name}");
    }
    container
}

/// A limit that this view has no form for, by its property.
#[track_caller]
fn assert_refused(given: Value, property: &str) {
    let refusal = resources(given).create_fails();
    let words = format!("linux.resources.{property}: ");
    assert!(refusal.text.contains(&words), "{}", refusal.text);
}

// ---- memory ----

#[test]
fn memory_and_swap_together_are_the_limit_of_swap() {
    requires!(cgroup::has("memory"), "the memory controller");
    let given = json!({"memory": {"limit": 64 << 20, "swap": 64 << 20, "reservation": -1}});
    let v1: Files<'_> = &[("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "67108864")];
    let v2: Files<'_> = &[("memory.max", "67108864"), ("memory.swap.max", "0"), ("memory.low", "max")];
    assert_files(given, "memory", v1, v2);
    let given = json!({"memory": {"limit": 64 << 20, "swap": -1}});
    assert_files(given, "memory", &[("memory.limit_in_bytes", "67108864")], &[("memory.swap.max", "max")]);
}

/// What the runtime needs of the container's own memory until the program runs: less than a third of it, waiting for the start.
#[test]
fn half_a_megabyte_is_enough_for_a_program_that_needs_little() {
    differs!(Runc, "it takes more than 2 MiB itself");
    requires!(cgroup::has("memory"), "the memory controller");
    let bundle = resources(json!({"memory": {"limit": 512 << 10}})).args(&["true"]);
    // The program's file counts for whoever reads it first, and busybox is four times as large.
    fs::read(bundle.rootfs().join("bin/busybox")).unwrap();
    let container = bundle.create();
    container.start();
    assert_eq!(container.wait(), 0);
}

#[test]
fn swappiness_and_no_oom_killer_need_v1() {
    differs!(Runc | Crun, "they are dropped in silence on v2");
    requires!(cgroup::has("memory"), "the memory controller");
    let (swappiness, no_killer) = (json!({"memory": {"swappiness": 7}}), json!({"memory": {"disableOOMKiller": true}}));
    if is_v2() {
        assert_refused(swappiness, "memory.swappiness");
        return assert_refused(no_killer, "memory.disableOOMKiller");
    }
    assert_files(swappiness, "memory", &[("memory.swappiness", "7")], &[]);
    let control = read(&assert_files(no_killer, "memory", &[], &[]), "memory", "memory.oom_control");
    assert!(control.starts_with("oom_kill_disable 1"), "{control}");
}

#[test]
fn buffers_of_tcp_are_limited_on_v1_alone() {
    differs!(Runc | Crun, "ignored on v1 too");
    requires!(cgroup::has("memory"), "the memory controller");
    let bundle = resources(json!({"memory": {"kernelTCP": 64 << 20}})).args(&["true"]);
    if is_v2() {
        // COMPAT(runc): a warning; engines still send it.
        bundle.write();
        let output = bundle.command("run").output();
        return assert!(output.stderr.contains("linux.resources.memory.kernelTCP: ignored"), "{output:#?}");
    }
    requires!(file(&Bundle::idle().create(), "memory", "memory.kmem.tcp.limit_in_bytes").exists(), "an old kernel");
    assert_eq!(read(&bundle.create(), "memory", "memory.kmem.tcp.limit_in_bytes"), "67108864");
}

#[test]
fn swap_below_memory_is_refused() {
    differs!(Crun, "other words");
    requires!(cgroup::has("memory"), "the memory controller");
    let memory = |memory: Value| resources(json!({"memory": memory})).create_fails();
    memory(json!({"limit": 64 << 20, "swap": 32 << 20})).names("linux.resources.memory.swap: 33554432 is for memory");
    if is_v2() {
        memory(json!({"swap": 32 << 20})).names("linux.resources.memory.swap: 33554432 is memory plus swap");
    }
}

/// What somebody who is gone has left in a tmpfs stays charged, and cannot be taken away without swap.
#[test]
fn a_v1_limit_below_what_is_used_says_what_is_used() {
    requires!(!is_v2() && cgroup::has("memory"), "the v1 memory controller");
    requires!(fs::read_to_string("/proc/swaps").unwrap().lines().count() == 1, "a machine without swap");
    let bundle = resources(json!({"memory": {"limit": 4 << 20}}));
    let group = cgroup::directory_of("memory", &bundle.cgroup).unwrap();
    let file = PathBuf::from("/dev/shm").join(&bundle.id);
    rootfs::directory(&group);
    let script = "echo $$ >\"$1/cgroup.procs\"; head -c 16M /dev/zero >\"$2\"";
    Run::host_sh(script).arg("_").arg(&group).arg(&file).output().ok();
    bundle.write();
    let output = bundle.command("create").output();
    fs::remove_file(&file).unwrap();
    // runc removes it, though it was there before.
    let _ = fs::remove_dir(&group);
    let refusal = Refusal::from_output("create", output);
    refusal
        .names("linux.resources.memory.limit: ")
        .says("unable to set memory limit to 4194304 (current usage: ")
        .ends("device or resource busy");
}

// ---- processor ----

#[test]
fn cpu_burst_is_written() {
    differs!(Runc | Crun, "older versions do not know it");
    requires!(cgroup::has("cpu"), "the cpu controller");
    let given = json!({"cpu": {"quota": 20_000, "period": 40_000, "burst": 20_000}});
    let v1: Files<'_> = &[("cpu.cfs_quota_us", "20000"), ("cpu.cfs_period_us", "40000"), ("cpu.cfs_burst_us", "20000")];
    assert_files(given, "cpu", v1, &[("cpu.max", "20000 40000"), ("cpu.max.burst", "20000")]);
}

#[test]
fn half_of_quota_and_period_leaves_the_other() {
    requires!(cgroup::has("cpu"), "the cpu controller");
    for (given, quota, period) in [
        (json!({"cpu": {"quota": 20_000}}), ["20000", "20000"], "100000"),
        (json!({"cpu": {"period": 40_000}}), ["-1", "max"], "40000"),
    ] {
        let max = format!("{} {period}", quota[1]);
        let v1: Files<'_> = &[("cpu.cfs_quota_us", quota[0]), ("cpu.cfs_period_us", period)];
        assert_files(given, "cpu", v1, &[("cpu.max", &max)]);
    }
}

#[test]
fn an_idle_group_has_no_weight() {
    differs!(Runc | Crun, "both are written, which the kernel refuses");
    requires!(cgroup::has("cpu"), "the cpu controller");
    let bundle = resources(json!({"cpu": {"idle": 1, "shares": 512}}));
    let container = Container::create_warns(bundle, "linux.resources.cpu.shares: ");
    assert_eq!(read(&container, "cpu", "cpu.idle"), "1");
    drop(container);
    let container = assert_files(json!({"cpu": {"idle": 0}}), "cpu", &[("cpu.idle", "0")], &[("cpu.idle", "0")]);
    let updated = container.runtime("update").args(["--cpu-idle=1", "--cpu-share=512", &container.id]).output();
    assert!(updated.status.success() && updated.stderr.contains("unable to apply both"), "{updated:?}");
    assert_eq!(read(&container, "cpu", "cpu.idle"), "1");
}

#[test]
fn realtime_needs_v1() {
    requires!(cgroup::has("cpu"), "the cpu controller");
    let given = json!({"cpu": {"realtimeRuntime": 5_000, "realtimePeriod": 500_000}});
    if is_v2() {
        differs!(Runc | Crun, "real-time limits are dropped in silence on v2");
        return assert_refused(given, "cpu.realtimeRuntime");
    }
    let bundle = resources(given);
    let parent = cgroup::directory_of("cpu", &bundle.cgroup).unwrap().parent().unwrap().to_owned();
    requires!(parent.parent().unwrap().join("cpu.rt_runtime_us").exists(), "a kernel with RT_GROUP_SCHED");
    // A group has what its parent gives it: nothing at first.
    rootfs::directory(&parent);
    fs::write(parent.join("cpu.rt_runtime_us"), "100000").unwrap();
    let container = bundle.create();
    assert_eq!(read(&container, "cpu", "cpu.rt_period_us"), "500000");
    assert_eq!(read(&container, "cpu", "cpu.rt_runtime_us"), "5000");
}

#[test]
fn what_is_not_online_is_refused() {
    differs!(Runc | Crun, "the kernel's words");
    requires!(cgroup::has("cpuset"), "the cpuset controller");
    let online = |what: &str| fs::read_to_string(format!("/sys/devices/system/{what}/online")).unwrap();
    let cpus = format!("CPU 8000 of \"0,8000-8003\" is not online (this machine has {})", online("cpu").trim());
    let refusal = resources(json!({"cpu": {"cpus": "0,8000-8003"}})).create_fails();
    refusal.names("linux.resources.cpu.cpus: ").because(&cpus);
    requires!(fs::exists("/sys/devices/system/node/online").unwrap(), "memory nodes");
    let refusal = resources(json!({"cpu": {"mems": "1000"}})).create_fails();
    refusal.names("linux.resources.cpu.mems: ").because("memory node 1000 of \"1000\" is not online");
}

// ---- processes ----

#[test]
fn no_processes_are_a_limit_too() {
    differs!(Runc | Crun, "0 is 1, or no limit");
    requires!(cgroup::has("pids"), "the pids controller");
    let container = Bundle::sh("sh -c 'echo forked'; echo end").set("/linux/resources/pids/limit", 0).start();
    assert_eq!(read(&container, "pids", "pids.max"), "0");
    container.wait();
    assert!(container.stderr().contains("can't fork"), "{}", container.stderr());
    assert_eq!(container.stdout(), "");
}

// ---- block devices ----

/// The disk that the sandbox is on, if it is on one: a limit of a partition is refused by the kernel.
fn disk(sandbox: &Sandbox) -> Option<(u32, u32)> {
    let device = fs::metadata(sandbox.path("")).unwrap().dev();
    let directory = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
    let disk = if directory.join("partition").exists() { directory.join("../dev") } else { directory.join("dev") };
    let numbers = fs::read_to_string(disk).ok()?;
    let (major, minor) = numbers.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn block_controller() -> &'static str {
    if is_v2() { "io" } else { "blkio" }
}

fn throttle(disk: (u32, u32), rate: u64) -> Value {
    json!([{"major": disk.0, "minor": disk.1, "rate": rate}])
}

#[test]
fn throttles_are_written() {
    requires!(cgroup::has(block_controller()), "the controller of block devices");
    let bundle = Bundle::idle();
    let disk = disk(&bundle);
    requires!(disk.is_some(), "temporary files on a disk");
    let disk = disk.unwrap();
    let given = json!({
        "throttleReadBpsDevice": throttle(disk, 1 << 20), "throttleWriteBpsDevice": throttle(disk, 2 << 20),
        "throttleReadIOPSDevice": throttle(disk, 300), "throttleWriteIOPSDevice": throttle(disk, 400),
    });
    let container = bundle.set("/linux/resources/blockIO", given).create();
    let device = format!("{}:{}", disk.0, disk.1);
    if is_v2() {
        let expected = format!("{device} rbps=1048576 wbps=2097152 riops=300 wiops=400");
        assert_eq!(read(&container, "io", "io.max"), expected);
    } else {
        for (name, rate) in [("read_bps", 1 << 20), ("write_bps", 2 << 20), ("read_iops", 300), ("write_iops", 400)] {
            let content = read(&container, "blkio", &format!("blkio.throttle.{name}_device"));
            assert_eq!(content, format!("{device} {rate}"), "{name}");
        }
    }
}

#[test]
fn throttles_bite() {
    requires!(cgroup::has(block_controller()), "the controller of block devices");
    for (key, rate, sizes) in
        [("throttleWriteBpsDevice", 1 << 20, "bs=256k count=16"), ("throttleWriteIOPSDevice", 10, "bs=4k count=40")]
    {
        let writer = || Bundle::sh(&format!("dd if=/dev/zero of=/var/file {sizes} oflag=direct"));
        let bundle = writer();
        let disk = disk(&bundle);
        requires!(disk.is_some(), "temporary files on a disk");
        let given = json!({key: throttle(disk.unwrap(), rate)});
        let throttled = time_of(bundle.set("/linux/resources/blockIO", given));
        // Four seconds' worth, of which the kernel lets some through at once; others can only make it slower.
        assert!(throttled > Duration::from_secs(2), "{key}: {throttled:?}");
        until("the same to be faster without a limit", || (time_of(writer()) < throttled / 2).then_some(()));
    }
}

/// From the start to the end of the program, which succeeds.
fn time_of(bundle: Bundle) -> Duration {
    let container = bundle.create();
    let began = Instant::now();
    container.start();
    assert_eq!(container.wait(), 0, "{}", container.stderr());
    began.elapsed()
}

#[test]
fn a_device_that_is_not_there_is_refused_by_name() {
    requires!(cgroup::has(block_controller()), "the controller of block devices");
    let given = json!({"throttleReadBpsDevice": [{"major": 4095, "minor": 1, "rate": 5}]});
    let refusal = resources(json!({"blockIO": given})).create_fails();
    refusal.names("linux.resources.blockIO.throttleReadBpsDevice[0]: ").says("no such device");
}

#[test]
fn weights_are_written_where_there_are_any() {
    requires!(cgroup::has(block_controller()), "the controller of block devices");
    let probe = Bundle::idle().create();
    let files = ["io.bfq.weight", "io.weight", "blkio.weight", "blkio.bfq.weight"];
    let there = files.iter().find(|name| file(&probe, block_controller(), name).exists());
    let bundle = resources(json!({"blockIO": {"weight": 500}}));
    match there {
        Some(name) => {
            let container = bundle.create();
            let expected = if *name == "io.weight" { "default 4950" } else { "500" };
            let content = read(&container, block_controller(), name);
            assert!(content == expected || content == format!("default {expected}"), "{name}: {content}");
        }
        None => {
            differs!(Crun, "a weight that cannot be set is dropped in silence");
            bundle.create_fails().names("linux.resources.blockIO.weight: ").because("no such file or directory");
        }
    }
}

#[test]
fn the_weight_of_a_device() {
    requires!(cgroup::has(block_controller()), "the controller of block devices");
    let bundle = Bundle::idle();
    let disk = disk(&bundle);
    requires!(disk.is_some(), "temporary files on a disk");
    let (major, minor) = disk.unwrap();
    let probe = Bundle::idle().create();
    let is_there = |name: &str| file(&probe, block_controller(), name).exists();
    let given = json!({"weightDevice": [{"major": major, "minor": minor, "weight": 500}]});
    let bundle = bundle.set("/linux/resources/blockIO", given);
    let device = format!("{major}:{minor}");
    let scheduler = fs::read_to_string(format!("/sys/dev/block/{device}/queue/scheduler")).unwrap_or_default();
    if is_v2() && is_there("io.bfq.weight") && scheduler.contains("[bfq]") {
        let content = read(&bundle.create(), "io", "io.bfq.weight");
        assert!(content.contains(&format!("{device} 500")), "{content}");
    } else if is_v2() && !is_there("io.bfq.weight") && costs_are_modelled(&device) {
        let content = read(&bundle.create(), "io", "io.weight");
        assert!(content.contains(&format!("{device} 4950")), "{content}");
    } else {
        differs!(Runc | Crun, "other words");
        bundle.create_fails().names("linux.resources.blockIO.weightDevice[0].weight: ");
    }
}

/// Whether io.weight takes this device.
fn costs_are_modelled(device: &str) -> bool {
    let costs = fs::read_to_string("/sys/fs/cgroup/io.cost.qos").unwrap_or_default();
    costs.lines().any(|line| line.starts_with(&format!("{device} enable=1")))
}

#[test]
fn weights_against_children_need_v1() {
    differs!(Runc | Crun, "they are dropped in silence");
    requires!(cgroup::has(block_controller()), "the controller of block devices");
    assert_refused(json!({"blockIO": {"leafWeight": 100}}), "blockIO.leafWeight");
    let device = json!([{"major": 8, "minor": 0, "leafWeight": 100}]);
    assert_refused(json!({"blockIO": {"weightDevice": device}}), "blockIO.weightDevice[0].leafWeight");
}

// ---- huge pages ----

/// The smallest of the machine's sizes, as the kernel writes it, and in bytes.
fn huge_page() -> Option<(String, u64)> {
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages").ok()?.filter_map(Result::ok);
    let kilobytes = |name: String| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok();
    let kilobytes = sizes.filter_map(|entry| kilobytes(entry.file_name().into_string().ok()?)).min()?;
    let name = if kilobytes < 1024 { format!("{kilobytes}KB") } else { format!("{}MB", kilobytes >> 10) };
    Some((name, kilobytes << 10))
}

#[test]
fn huge_pages_are_limited_when_reserved_and_when_used() {
    differs!(Crun, "reservations are not limited");
    requires!(cgroup::has("hugetlb"), "the hugetlb controller");
    let (size, bytes) = huge_page().expect("the controller has a size");
    let limit = (3 * bytes).to_string();
    let container = resources(json!({"hugepageLimits": [{"pageSize": size, "limit": 3 * bytes}]})).create();
    let end = if is_v2() { "max" } else { "limit_in_bytes" };
    assert_eq!(read(&container, "hugetlb", &format!("hugetlb.{size}.{end}")), limit);
    let reserved = format!("hugetlb.{size}.rsvd.{end}");
    requires!(file(&container, "hugetlb", &reserved).exists(), "a kernel that counts reservations");
    assert_eq!(read(&container, "hugetlb", &reserved), limit);
}

#[test]
fn a_size_that_the_machine_lacks_is_refused_with_those_it_has() {
    differs!(Runc | Crun, "other words");
    requires!(cgroup::has("hugetlb"), "the hugetlb controller");
    let (size, _) = huge_page().unwrap();
    let pages = json!([{"pageSize": size, "limit": 0}, {"pageSize": "3MB", "limit": 0}]);
    let refusal = resources(json!({"hugepageLimits": pages})).create_fails();
    let refusal = refusal.names("linux.resources.hugepageLimits[1]: ").ends("no such file or directory");
    let (_, hint) = refusal.text.rsplit_once("(this machine has huge pages of ").expect(&refusal.text);
    assert!(hint.trim_end_matches(')').split(' ').any(|known| known == size), "{}", refusal.text);
}

#[test]
fn huge_pages_beyond_the_limit_are_refused() {
    requires!(cgroup::has("hugetlb"), "the hugetlb controller");
    let (size, bytes) = huge_page().unwrap();
    let free = fs::read_to_string(format!("/sys/kernel/mm/hugepages/hugepages-{}kB/free_hugepages", bytes >> 10));
    requires!(free.unwrap().trim().parse::<u64>().unwrap() >= 2, "two free huge pages");
    let script = format!(
        "busybox fallocate -l {bytes} /pages/one && echo one; busybox fallocate -l {bytes} /pages/two 2>&1 && echo two"
    );
    let bundle = Bundle::sh(&script).mount("/pages", "hugetlbfs", "hugetlbfs", &[]);
    let output = bundle.set("/linux/resources/hugepageLimits", json!([{"pageSize": size, "limit": bytes}])).run();
    assert!(output.stdout.starts_with("one\n") && !output.stdout.contains("two\n"), "{output:#?}");
    assert!(output.stdout.contains("No space left on device"), "{output:#?}");
}

// ---- what few machines have ----

#[test]
fn rdma_limits() {
    differs!(Crun, "a limit that cannot be set is dropped in silence");
    requires!(cgroup::has("rdma"), "the rdma controller");
    let names: Vec<_> = fs::read_dir("/sys/class/infiniband").into_iter().flatten().filter_map(Result::ok).collect();
    let Some(device) = names.first().and_then(|entry| entry.file_name().into_string().ok()) else {
        let refusal = resources(json!({"rdma": {"mlx5_9": {"hcaHandles": 3}}})).create_fails();
        refusal.names("linux.resources.rdma.mlx5_9: ").says("no such device");
        return;
    };
    let container = resources(json!({"rdma": {&device: {"hcaHandles": 3}}})).create();
    let content = read(&container, "rdma", "rdma.max");
    assert!(content.contains(&format!("{device} hca_handle=3 hca_object=max")), "{content}");
}

#[test]
fn network_classes_and_priorities_need_v1() {
    let class = json!({"network": {"classID": 0x10_0001}});
    let priorities = json!({"network": {"priorities": [{"name": "lo", "priority": 5}]}});
    if is_v2() {
        differs!(Runc | Crun, "they are dropped in silence on v2");
        assert_refused(class, "network.classID");
        return assert_refused(priorities, "network.priorities");
    }
    requires!(cgroup::has("net_cls") && cgroup::has("net_prio"), "the network controllers");
    assert_files(class, "net_cls", &[("net_cls.classid", "1048577")], &[]);
    let container = resources(priorities).create();
    let map = read(&container, "net_prio", "net_prio.ifpriomap");
    assert!(map.lines().any(|line| line == "lo 5"), "{map}");
}

// ---- unified ----

#[test]
fn unified_files_are_written_as_they_are_and_last() {
    requires!(is_v2() && cgroup::has("pids"), "cgroup v2 with the pids controller");
    let given = json!({"pids": {"limit": 50}, "unified": {"pids.max": "40", "cgroup.max.depth": "7"}});
    assert_files(given, "pids", &[], &[("pids.max", "40"), ("cgroup.max.depth", "7")]);
    requires!(cgroup::has("memory"), "the memory controller");
    let given = json!({"unified": {"memory.high": "67108864", "memory.oom.group": "1"}});
    assert_files(given, "memory", &[], &[("memory.high", "67108864"), ("memory.oom.group", "1")]);
}

#[test]
fn unified_values_of_several_lines() {
    differs!(Runc, "writes an empty line too, behind the last line break");
    requires!(is_v2() && cgroup::has("hugetlb"), "cgroup v2 with the hugetlb controller");
    let (size, bytes) = huge_page().unwrap();
    let name = format!("hugetlb.{size}.max");
    let given = json!({"unified": {&name: format!("0\n{bytes}\n")}});
    assert_files(given, "hugetlb", &[], &[(&name, &bytes.to_string())]);
}

#[test]
fn unified_files_that_are_not_there() {
    differs!(Runc | Crun, "other words");
    requires!(is_v2(), "cgroup v2");
    let refusal = |name: &str| resources(json!({"unified": {name: "1"}})).create_fails();
    let of = |name: &str| format!("linux.resources.unified[\"{name}\"]: ");
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let known: Vec<_> = controllers.split_whitespace().collect();
    refusal("gpu.max")
        .names(&of("gpu.max"))
        .because(&format!("(the cgroup has no controller \"gpu\", but {})", known.join(" ")));
    let file = format!("{}.nonsense", known[0]);
    refusal(&file).names(&of(&file)).because("no such file or directory");
    let file = "cgroup.nonsense";
    refusal(file).names(&of(file)).ends("no such file or directory");
}

#[test]
fn unified_files_need_v2() {
    requires!(!is_v2(), "cgroup v1");
    let refusal = resources(json!({"unified": {"memory.high": "1"}})).create_fails();
    refusal.names("linux.resources.unified: ").says("invalid configuration");
}

#[test]
fn a_limit_that_comes_last_and_fails_leaves_nothing_of_those_before() {
    differs!(Runc | Crun, "what cannot be set is dropped in silence, or the cgroup stays");
    requires!(cgroup::has("pids"), "the pids controller");
    let pages = json!([{"pageSize": "3MB", "limit": 0}]);
    // `create_fails` looks at what is left.
    let refusal = resources(json!({"pids": {"limit": 9}, "hugepageLimits": pages})).create_fails();
    refusal.names("linux.resources.hugepageLimits[0]: ");
}
