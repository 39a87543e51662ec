//! `update`: each limit by its flag and by its property, felt inside; and after a failure nothing is changed.

use std::fs;

use serde_json::{Value, json};

use crate::phrases::{DOES_NOT_EXIST, NOT_RUNNING};
use crate::support::cgroup::{self, View};
use crate::support::peer::is_corten;
use crate::support::refusal::Refusal;
use crate::support::run::Run;
use crate::support::wait::until;
use crate::support::{Bundle, Container, differs, requires};

/// A file of a container's cgroup.
#[derive(Clone, Copy)]
struct File {
    controller: &'static str,
    v1: &'static str,
    v2: &'static str,
}

const fn file(controller: &'static str, v1: &'static str, v2: &'static str) -> File {
    File { controller, v1, v2 }
}

const MEMORY: File = file("memory", "memory.limit_in_bytes", "memory.max");
const RESERVATION: File = file("memory", "memory.soft_limit_in_bytes", "memory.low");
const SWAP: File = file("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
const SHARES: File = file("cpu", "cpu.shares", "cpu.weight");
const QUOTA: File = file("cpu", "cpu.cfs_quota_us", "cpu.max");
const BURST: File = file("cpu", "cpu.cfs_burst_us", "cpu.max.burst");
const IDLE: File = file("cpu", "cpu.idle", "cpu.idle");
const CPUS: File = file("cpuset", "cpuset.cpus", "cpuset.cpus");
const MEMS: File = file("cpuset", "cpuset.mems", "cpuset.mems");
const PIDS: File = file("pids", "pids.max", "pids.max");

impl File {
    #[track_caller]
    fn of(self, container: &Container) -> String {
        let file = cgroup::file(self.controller, &container.cgroup, self.v1, self.v2);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}")).trim().to_owned()
    }
}

/// The controllers of most tests here: on this project's own machine its cgroup v2 view lacks them, the guest has them.
fn has_all() -> bool {
    ["memory", "cpu", "cpuset", "pids"].iter().all(|controller| cgroup::has(controller))
}

const ALL: &str = "the controllers memory, cpu, cpuset and pids";

/// Limits to begin with.
fn limited() -> Bundle {
    Bundle::idle().set(
        "/linux/resources",
        json!({
            "memory": {"limit": 128 << 20, "reservation": 16 << 20},
            "cpu": {"shares": 2048, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 50}
        }),
    )
}

fn all_of(container: &Container) -> Vec<String> {
    [MEMORY, RESERVATION, SHARES, QUOTA, CPUS, MEMS, PIDS].iter().map(|file| file.of(container)).collect()
}

#[track_caller]
fn update(container: &Container, flags: &[&str]) {
    container.runtime("update").args(flags).arg(&container.id).output().ok().silent();
}

#[track_caller]
fn update_by(container: &Container, resources: &Value) {
    let run = container.runtime("update").args(["--resources=-", &container.id]);
    run.stdin(resources.to_string()).output().ok().silent();
}

#[test]
fn each_flag() {
    requires!(has_all(), ALL);
    let container = limited().start();
    let unified = cgroup::view() == View::Unified;
    for (flags, file, v1, v2) in [
        (&["--memory", "64M"][..], MEMORY, "67108864", "67108864"),
        (&["--memory=33554432"], MEMORY, "33554432", "33554432"),
        (&["--memory-reservation", "8MiB"], RESERVATION, "8388608", "8388608"),
        (&["--cpu-share", "512"], SHARES, "512", "59"),
        (&["--cpu-quota", "20000"], QUOTA, "20000", "20000 100000"),
        (&["--cpu-period", "40000"], QUOTA, "20000", "20000 40000"),
        (&["--cpu-period", "80000", "--cpu-quota", "30000"], QUOTA, "30000", "30000 80000"),
        (&["--cpu-quota=-1"], QUOTA, "-1", "max 80000"),
        (&["--cpuset-cpus", "0"], CPUS, "0", "0"),
        (&["--cpuset-mems", "0"], MEMS, "0", "0"),
        (&["--pids-limit", "20"], PIDS, "20", "20"),
        (&["--pids-limit", "-1"], PIDS, "max", "max"),
    ] {
        update(&container, flags);
        assert_eq!(file.of(&container), if unified { v2 } else { v1 }, "{flags:?}");
    }
    if !unified {
        assert_eq!(file("cpu", "cpu.cfs_period_us", "").of(&container), "80000");
    }
    update(&container, &["--memory", "-1"]);
    let limit = MEMORY.of(&container);
    assert!(limit == "max" || limit.parse::<u64>().unwrap() > 1 << 62, "{limit}");
    assert_eq!(container.status(), "running");
}

#[test]
fn burst_and_idle() {
    differs!(Runc | Crun, "of Debian 12 is too old");
    requires!(cgroup::has("cpu"), "the cpu controller");
    let container = Bundle::idle().set("/linux/resources/cpu", json!({"quota": 50_000, "shares": 2048})).create();
    requires!(cgroup::file("cpu", &container.cgroup, BURST.v1, BURST.v2).exists(), "Linux 5.14");
    update(&container, &["--cpu-burst", "20000"]);
    assert_eq!(BURST.of(&container), "20000");
    // The quota may not go below the burst that stays.
    container.refuses("update", &["--cpu-quota", "10000"]).names("linux.resources.cpu.quota").because("burst 20000");
    update(&container, &["--cpu-quota", "10000", "--cpu-burst", "5000"]);
    assert_eq!(BURST.of(&container), "5000");
    update(&container, &["--cpu-burst=0"]);
    assert_eq!(BURST.of(&container), "0");
    update(&container, &["--cpu-idle", "1"]);
    assert_eq!(IDLE.of(&container), "1");
    let shares = if cgroup::view() == View::Unified { "59" } else { "512" };
    // A weight ends idleness, said or not.
    for flags in [&["--cpu-share", "512"][..], &["--cpu-idle", "0", "--cpu-share", "512"]] {
        update(&container, &["--cpu-idle", "1"]);
        update(&container, flags);
        assert_eq!((&*IDLE.of(&container), &*SHARES.of(&container)), ("0", shares), "{flags:?}");
    }
}

#[test]
fn memory_and_swap_grow_and_shrink_together() {
    requires!(cgroup::has("memory"), "the memory controller");
    let container = Bundle::idle().set("/linux/resources/memory", json!({"limit": 64 << 20, "swap": 96 << 20})).start();
    requires!(cgroup::file("memory", &container.cgroup, SWAP.v1, SWAP.v2).exists(), "swap accounting");
    let unified = cgroup::view() == View::Unified;
    for (memory, swap) in [(128_u32, 200_u32), (32, 48), (48, 48), (24, 100), (100, 101)] {
        update(&container, &["--memory", &format!("{memory}M"), "--memory-swap", &format!("{swap}M")]);
        let expected = if unified { swap - memory } else { swap };
        assert_eq!(MEMORY.of(&container), (memory << 20).to_string());
        assert_eq!(SWAP.of(&container), (expected << 20).to_string());
    }
}

#[test]
fn swap_below_memory_is_refused() {
    differs!(Runc, "sets the memory all the same");
    requires!(cgroup::has("memory"), "the memory controller");
    let container = Bundle::idle().set("/linux/resources/memory/limit", 64 << 20).start();
    let refusal = container.refuses("update", &["--memory", "32M", "--memory-swap", "31M"]);
    refusal.names("linux.resources.memory.swap").because("less than the memory limit");
    assert_eq!(MEMORY.of(&container), "67108864");
}

#[test]
fn realtime_period() {
    differs!(Runc, "keeps the period when it cannot set the runtime");
    requires!(cgroup::has("cpu"), "the cpu controller");
    requires!(cgroup::view() == View::Hybrid, "cgroup v1");
    let container = Bundle::idle().create();
    let period = file("cpu", "cpu.rt_period_us", "");
    requires!(cgroup::file("cpu", &container.cgroup, period.v1, "").exists(), "CONFIG_RT_GROUP_SCHED");
    update(&container, &["--cpu-rt-period", "900000"]);
    assert_eq!(period.of(&container), "900000");
    // More than the group above has.
    let refusal = container.refuses("update", &["--cpu-rt-period", "800000", "--cpu-rt-runtime", "950000"]);
    refusal.names("linux.resources.cpu.realtimeRuntime");
    assert_eq!(period.of(&container), "900000");
}

#[test]
fn weight_of_input_and_output() {
    requires!(cgroup::has("io") || cgroup::has("blkio"), "the io controller");
    let container = Bundle::idle().create();
    let controller = if cgroup::view() == View::Unified { "io" } else { "blkio" };
    let exists = |name: &&str| cgroup::file(controller, &container.cgroup, name, name).exists();
    let candidates = [
        ("io.bfq.weight", "default 300"),
        ("io.weight", "default 2930"),
        ("blkio.bfq.weight", "300"),
        ("blkio.weight", "300"),
    ];
    let found = candidates.into_iter().find(|(name, _)| exists(name));
    requires!(found.is_some(), "a kernel with weights of input and output");
    let (name, expected) = found.unwrap();
    update(&container, &["--blkio-weight", "300"]);
    assert_eq!(file(controller, name, name).of(&container), expected);
}

#[test]
fn huge_pages() {
    requires!(cgroup::view() == View::Unified && cgroup::has("hugetlb"), "the hugetlb controller of cgroup v2");
    let container = Bundle::idle().create();
    let limit = file("hugetlb", "", "hugetlb.2MB.max");
    let reservation = file("hugetlb", "", "hugetlb.2MB.rsvd.max");
    update_by(&container, &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 8 << 20}]}));
    assert_eq!((limit.of(&container), reservation.of(&container)), ("8388608".to_owned(), "8388608".to_owned()));
    requires!(
        cgroup::directory_of("hugetlb", &container.cgroup).unwrap().join("hugetlb.1GB.max").exists(),
        "1 GB pages"
    );
    update_by(&container, &json!({"hugepageLimits": [{"pageSize": "1GB", "limit": 0}]}));
    assert_eq!(limit.of(&container), "8388608");
    assert_eq!(file("hugetlb", "", "hugetlb.1GB.max").of(&container), "0");
}

#[test]
fn any_file_of_cgroup_v2() {
    requires!(cgroup::view() == View::Unified, "cgroup v2");
    let container = Bundle::idle().create();
    update_by(&container, &json!({"unified": {"cgroup.max.descendants": "7"}}));
    assert_eq!(
        fs::read_to_string(cgroup::directories(&container.cgroup)[0].join("cgroup.max.descendants")).unwrap(),
        "7\n"
    );
}

#[test]
fn what_is_not_named_stays() {
    requires!(has_all(), ALL);
    let container = limited().start();
    let before = all_of(&container);
    update(&container, &[]);
    assert_eq!(all_of(&container), before);
    update_by(&container, &json!({}));
    assert_eq!(all_of(&container), before);
    // What engines write for "leave it".
    update_by(
        &container,
        &json!({
            "memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": 0},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
            "blockIO": {"weight": 0}, "network": {"classID": 0}
        }),
    );
    assert_eq!(all_of(&container), before);
    update(&container, &["--pids-limit", "51"]);
    let mut expected = before;
    *expected.last_mut().unwrap() = "51".to_owned();
    assert_eq!(all_of(&container), expected);
}

#[test]
fn what_containerd_sends() {
    requires!(has_all(), ALL);
    let container = limited().start();
    let devices = || (cgroup::view() == View::Hybrid).then(|| file("devices", "devices.list", "").of(&container));
    let before = devices();
    let resources = json!({
        "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "", "major": -1, "access": "m"}],
        "memory": {"limit": 64 << 20, "disableOOMKiller": false},
        "cpu": {"shares": 102, "quota": 25_000, "period": 50_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 33}, "blockIO": {}, "hugepageLimits": [], "network": {}, "rdma": {}
    });
    update_by(&container, &resources);
    assert_eq!((&*MEMORY.of(&container), &*PIDS.of(&container)), ("67108864", "33"));
    assert_eq!(QUOTA.of(&container).split(' ').next(), Some("25000"));
    assert_eq!(devices(), before);
}

#[test]
fn resources_from_a_file_and_no_other_flag() {
    requires!(has_all(), ALL);
    let container = limited().create();
    let path = container.path("resources.json");
    fs::write(&path, json!({"pids": {"limit": 44}}).to_string()).unwrap();
    update(&container, &["--resources", path.to_str().unwrap(), "--memory", "64M"]);
    assert_eq!((&*PIDS.of(&container), &*MEMORY.of(&container)), ("44", "134217728"));
    fs::write(&path, json!({"pids": {"limit": 45}}).to_string()).unwrap();
    update(&container, &["-r", path.to_str().unwrap()]);
    assert_eq!(PIDS.of(&container), "45");
}

#[test]
fn a_limit_of_processes_is_felt() {
    requires!(cgroup::has("pids"), "the pids controller");
    let script = "read go </tmp/go; sleep 600 & sleep 600 & sleep 600 & sleep 600 & echo not reached";
    let bundle = Bundle::sh(script);
    let fifo = bundle.path("go");
    Run::new("mkfifo").arg(&fifo).output().ok();
    let container = bundle.bind(&fifo, "/tmp/go", &["rw"]).start();
    update(&container, &["--pids-limit", "3"]);
    fs::write(&fifo, "go\n").unwrap();
    container.wait();
    assert!(container.stderr().contains("can't fork"), "{}", container.stderr());
    assert!(!container.stdout().contains("not reached"));
}

#[test]
fn no_processes_at_all_is_a_limit() {
    differs!(Runc | Crun, "takes 0 for unset");
    requires!(cgroup::has("pids"), "the pids controller");
    let container = Bundle::idle().create();
    update(&container, &["--pids-limit", "0"]);
    assert_eq!(PIDS.of(&container), "0");
}

#[test]
fn a_quota_is_felt() {
    requires!(cgroup::has("cpu"), "the cpu controller");
    let container = Bundle::sh("while :; do :; done").start();
    let throttled = || {
        let stat = file("cpu", "cpu.stat", "cpu.stat").of(&container);
        stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse::<u64>().ok())
    };
    assert_eq!(throttled(), Some(0));
    update(&container, &["--cpu-quota", "5000", "--cpu-period", "50000"]);
    until("it to be throttled", || throttled().filter(|times| *times > 3));
}

#[test]
fn a_limit_of_memory_is_felt() {
    requires!(cgroup::has("memory"), "the memory controller");
    let script = "read go </tmp/go; exec tail /dev/zero";
    let bundle = Bundle::sh(script).set("/linux/resources/memory/limit", 512 << 20);
    let fifo = bundle.path("go");
    Run::new("mkfifo").arg(&fifo).output().ok();
    let container = bundle.bind(&fifo, "/tmp/go", &["rw"]).start();
    update(&container, &["--memory", "24M"]);
    fs::write(&fifo, "go\n").unwrap();
    assert_eq!(container.wait(), 128 + 9);
}

#[test]
fn a_limit_below_what_is_used_can_be_refused() {
    differs!(Runc | Crun, "of Debian 12 is too old");
    requires!(cgroup::has("memory"), "the memory controller");
    let script =
        "awk 'BEGIN { x = \"x\"; while (length(x) < 16777216) x = x x; print \"ready\"; system(\"sleep 600\") }'";
    let container = Bundle::sh(script).set("/linux/resources/memory/limit", 128 << 20).start();
    container.says("ready");
    let run = container.runtime("update").args(["--resources=-", &container.id]);
    let resources = json!({"memory": {"limit": 4 << 20, "checkBeforeUpdate": true}});
    let output = run.stdin(resources.to_string()).output();
    let refusal = Refusal::from_output("update", output);
    refusal.names("linux.resources.memory.limit").says("rejecting memory limit");
    assert_eq!((&*MEMORY.of(&container), &*container.status()), ("134217728", "running"));
}

#[test]
fn created_and_paused_containers_are_updated_too() {
    requires!(has_all(), ALL);
    let container = limited().create();
    update(&container, &["--pids-limit", "21"]);
    assert_eq!((&*PIDS.of(&container), &*container.status()), ("21", "created"));
    container.start();
    container.call("pause").ok();
    update(&container, &["--pids-limit", "22", "--memory", "64M", "--cpu-share", "100", "--cpuset-cpus", "0"]);
    assert_eq!((&*PIDS.of(&container), &*container.status()), ("22", "paused"));
    container.call("resume").ok();
}

#[test]
fn what_has_ended_is_not_updated() {
    let container = Bundle::idle().start();
    container.kill("KILL");
    container.wait();
    container.refuses("update", &["--pids-limit", "5"]).says(NOT_RUNNING).because("it is stopped");
    container.delete();
    container.refuses("update", &["--pids-limit", "5"]).says(DOES_NOT_EXIST);
}

// ---- after a failure ----

/// The kernel takes no quota below a millisecond; it is written after the memory and before the processes.
const REFUSED: [&str; 2] = ["--cpu-quota", "10"];

#[test]
fn when_the_kernel_refuses_one_limit_the_others_are_what_they_were() {
    differs!(Runc | Crun, "leaves what it has set before");
    requires!(has_all(), ALL);
    let container = limited().start();
    let before = all_of(&container);
    let flags = ["--memory", "64M", "--memory-reservation", "9M", "--cpu-share", "512", "--pids-limit", "5"];
    let refusal = container.refuses("update", &[&flags[..], &REFUSED].concat());
    refusal.names("linux.resources.cpu.quota").ends("invalid argument");
    assert_eq!(all_of(&container), before);
    assert_eq!(container.status(), "running");
}

#[test]
fn unlimited_is_written_back_too() {
    differs!(Runc | Crun, "leaves what it has set before");
    requires!(has_all(), ALL);
    let container = Bundle::idle().start();
    let before = all_of(&container);
    let flags = ["--memory", "64M", "--memory-swap", "64M", "--cpu-share", "512", "--cpuset-cpus", "0"];
    container.refuses("update", &[&flags[..], &REFUSED].concat()).says("invalid argument");
    assert_eq!(all_of(&container), before);
}

#[test]
fn an_idle_group_does_not_lose_its_weight() {
    differs!(Runc | Crun, "of Debian 12 is too old");
    requires!(cgroup::has("cpu"), "the cpu controller");
    let container = Bundle::idle().set("/linux/resources/cpu/shares", 2048).create();
    let before = SHARES.of(&container);
    container.refuses("update", &[&["--cpu-idle", "1"][..], &REFUSED].concat()).names("linux.resources.cpu.quota");
    assert_eq!((SHARES.of(&container), IDLE.of(&container)), (before, "0".to_owned()));
}

#[test]
fn a_refused_file_of_cgroup_v2_takes_the_others_along() {
    differs!(Runc | Crun, "leaves what it has set before");
    requires!(cgroup::view() == View::Unified, "cgroup v2");
    let container = Bundle::idle().create();
    let run = container.runtime("update").args(["--resources=-", &container.id]);
    let files = json!({"unified": {"cgroup.max.depth": "3", "cgroup.max.descendants": "many"}});
    let output = run.stdin(files.to_string()).output();
    let refusal = Refusal::from_output("update", output);
    refusal.names("linux.resources.unified[\"cgroup.max.descendants\"]").ends("invalid argument");
    let depth = cgroup::directories(&container.cgroup)[0].join("cgroup.max.depth");
    assert_eq!(fs::read_to_string(depth).unwrap(), "max\n");
}

#[test]
fn what_cannot_be_meant_changes_nothing() {
    differs!(Runc | Crun, "sets the rest, and takes -2 for no limit");
    requires!(has_all(), ALL);
    let container = limited().create();
    let before = all_of(&container);
    for (flags, property, cause) in [
        (&["--cpuset-cpus", "4000"][..], "linux.resources.cpu.cpus", "not online"),
        (&["--cpuset-cpus", "x"], "linux.resources.cpu.cpus", "is not a list"),
        (&["--cpu-idle", "2"], "linux.resources.cpu.idle", "neither 0 nor 1"),
        (&["--cpu-share=-5"], "linux.resources.cpu.shares", "a number from 0"),
        (&["--cpu-share", "many"], "--cpu-share", "is not a whole number"),
        (&["--memory-swap", "lots"], "--memory-swap", "is not a size"),
        (&["--pids-limit", "-2"], "linux.resources.pids.limit", "not -1"),
        (&["--l3-cache-schema", "L3:0=f"], "--l3-cache-schema", "created without linux.intelRdt"),
        (&["--mem-bw-schema", "MB:0=20"], "--mem-bw-schema", "created without linux.intelRdt"),
        (&["--mem-bw-schema", "L3:0=f"], "--mem-bw-schema", "does not begin with"),
        (&["--resources", "/nowhere/at/all"], "--resources", "no such file or directory"),
        (&["--resources", "/dev/null"], "", "not valid JSON"),
    ] {
        let flags = [&["--memory", "64M"], flags].concat();
        container.refuses("update", &flags).names(property).because(cause);
        assert_eq!(all_of(&container), before, "{flags:?}");
    }
}

#[test]
fn kernel_memory_is_warned_about_and_ignored() {
    requires!(cgroup::has("pids"), "the pids controller");
    let container = Bundle::idle().create();
    let flags = ["--kernel-memory", "50M", "--kernel-memory-tcp", "50M", "--pids-limit", "9"];
    let output = container.runtime("update").args(flags).arg(&container.id).output().ok();
    assert!(output.stderr.contains("--kernel-memory") || !is_corten(), "{output:#?}");
    assert_eq!(PIDS.of(&container), "9");
    let help = container.runtime("update").arg("--help").output().ok();
    assert!(help.stdout.contains("--pids-limit"));
    assert!(!help.stdout.contains("--kernel-memory") || !is_corten());
}
