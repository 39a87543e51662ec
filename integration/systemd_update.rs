//! `update` of containers that systemd made the cgroup for: what the kernel's files say, and what systemd would write there.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::cgroup::{self, View};
use crate::support::refusal::Refusal;
use crate::support::systemd::{
    in_default_slice, in_own_slice, is_beside, is_here, property, scope_of, slice_of, systemctl, undisturbed,
};
use crate::support::{Bundle, Container, differs, requires};

/// The files for which systemd has a property, and their neighbours: controller, name on v1, name on v2.
const FILES: [(&str, &str, &str); 18] = [
    ("memory", "", "memory.min"),
    ("memory", "memory.soft_limit_in_bytes", "memory.low"),
    ("memory", "", "memory.high"),
    ("memory", "memory.limit_in_bytes", "memory.max"),
    ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    ("memory", "", "memory.oom.group"),
    ("cpu", "cpu.shares", "cpu.weight"),
    ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    ("cpu", "cpu.cfs_period_us", ""),
    ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"),
    ("cpu", "cpu.idle", "cpu.idle"),
    ("cpuset", "cpuset.cpus", "cpuset.cpus"),
    ("cpuset", "cpuset.mems", "cpuset.mems"),
    ("pids", "pids.max", "pids.max"),
    ("io", "", "io.weight"),
    ("io", "", "io.max"),
    ("io", "", "io.bfq.weight"),
    ("blkio", "blkio.weight", ""),
];

const PROPERTIES: [&str; 17] = [
    "MemoryMin",
    "MemoryLow",
    "MemoryHigh",
    "MemoryMax",
    "MemorySwapMax",
    "MemoryLimit",
    "CPUWeight",
    "CPUShares",
    "CPUQuotaPerSecUSec",
    "CPUQuotaPeriodUSec",
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "TasksMax",
    "IOWeight",
    "BlockIOWeight",
    "OOMPolicy",
    "DevicePolicy",
];

/// A container with its unit.
struct Contained {
    container: Container,
    unit: String,
}

impl Contained {
    fn scope(bundle: Bundle) -> Self {
        let unit = scope_of(&bundle);
        Self { container: in_default_slice(bundle).create(), unit }
    }

    fn slice(bundle: Bundle) -> Self {
        let unit = slice_of(&bundle);
        Self { container: in_own_slice(bundle).create(), unit }
    }

    fn file(&self, (controller, v1, v2): (&str, &str, &str)) -> Option<PathBuf> {
        let name = if cgroup::view() == View::Unified { v2 } else { v1 };
        let directory = cgroup::directory_of(controller, &self.container.cgroup)?;
        (!name.is_empty()).then(|| directory.join(name))
    }

    fn says(&self, name: &str) -> String {
        let controller = name.split_once('.').unwrap().0;
        let file = cgroup::directory_of(controller, &self.container.cgroup).unwrap().join(name);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}")).trim().to_owned()
    }

    fn property(&self, name: &str) -> String {
        property(&self.unit, name)
    }

    /// All files and properties, by their names.
    fn limits(&self) -> BTreeMap<String, String> {
        let files = FILES.iter().filter_map(|known| self.file(*known)).filter_map(|path| {
            let content = fs::read_to_string(&path).ok()?;
            Some((path.file_name().unwrap().to_str().unwrap().to_owned(), content.trim().to_owned()))
        });
        let shown = systemctl(&["show", &self.unit, "--property", &PROPERTIES.join(",")]);
        let properties = shown.lines().filter_map(|line| line.split_once('='));
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        files.chain(properties).collect()
    }

    #[track_caller]
    fn update(&self, flags: &[&str]) {
        self.container.runtime("update").args(flags).arg(&self.container.id).output().ok().silent();
    }

    #[track_caller]
    fn update_by(&self, resources: &Value) {
        let run = self.container.runtime("update").args(["--resources=-", &self.container.id]);
        run.stdin(resources.to_string()).output().ok().silent();
    }

    #[track_caller]
    fn update_fails(&self, resources: &Value) -> Refusal {
        let run = self.container.runtime("update").args(["--resources=-", &self.container.id]);
        Refusal::from_output("update", run.stdin(resources.to_string()).output())
    }
}

/// In a scope and in a slice; a session may not have a slice.
fn both(bundle: impl Fn() -> Bundle) -> Vec<Contained> {
    let slice = (!is_beside()).then(|| Contained::slice(bundle()));
    [Contained::scope(bundle())].into_iter().chain(slice).collect()
}

fn is_v2_with(controllers: &[&str]) -> bool {
    is_here() && cgroup::view() == View::Unified && controllers.iter().all(|name| cgroup::has(name))
}

const ALL: [&str; 4] = ["memory", "cpu", "cpuset", "pids"];
const WITH_ALL: &str = "systemd on cgroup v2 with memory, cpu, cpuset and pids";

/// Nothing here is what systemd would have chosen, or could write itself.
fn awkward() -> Bundle {
    Bundle::new().args(&["sleep", "600"]).set(
        "/linux/resources",
        json!({
            "memory": {"limit": 64 << 20, "reservation": 24 << 20, "swap": 80 << 20},
            "cpu": {"shares": 513, "quota": 12_345, "period": 50_000, "burst": 1_001, "cpus": "0", "mems": "0"},
            "pids": {"limit": 0},
            "unified": {"memory.min": "1048576", "memory.high": "50331648"}
        }),
    )
}

#[test]
fn each_flag_changes_the_file_and_the_unit() {
    requires!(is_v2_with(&ALL), WITH_ALL);
    let _undisturbed = undisturbed();
    let idle = |bundle: Bundle| bundle.set("/linux/resources/memory", json!({"limit": 128 << 20, "swap": 128 << 20}));
    for contained in both(|| idle(Bundle::idle())) {
        for (flags, file, content, property, value) in [
            (&["--memory=64M", "--memory-swap=96M"][..], "memory.max", "67108864", "MemoryMax", "67108864"),
            (&[], "memory.swap.max", "33554432", "MemorySwapMax", "33554432"),
            (&["--memory-reservation", "8MiB"], "memory.low", "8388608", "MemoryLow", "8388608"),
            (&["--cpu-share", "512"], "cpu.weight", "59", "CPUWeight", "59"),
            (&["--cpu-quota", "20000"], "cpu.max", "20000 100000", "CPUQuotaPerSecUSec", "200ms"),
            (&["--cpu-period", "40000"], "cpu.max", "20000 40000", "CPUQuotaPeriodUSec", "40ms"),
            (&[], "cpu.max", "20000 40000", "CPUQuotaPerSecUSec", "500ms"),
            (&["--cpu-burst", "3000"], "cpu.max.burst", "3000", "CPUQuotaPerSecUSec", "500ms"),
            (&["--cpu-quota=-1"], "cpu.max", "max 40000", "CPUQuotaPerSecUSec", "infinity"),
            (&["--cpuset-cpus", "1"], "cpuset.cpus", "1", "AllowedCPUs", "1"),
            (&["--cpuset-mems", "0"], "cpuset.mems", "0", "AllowedMemoryNodes", "0"),
            (&["--pids-limit", "20"], "pids.max", "20", "TasksMax", "20"),
            (&["--pids-limit", "-1"], "pids.max", "max", "TasksMax", "infinity"),
            (&["--memory=-1"], "memory.max", "max", "MemoryMax", "infinity"),
        ] {
            contained.update(flags);
            let unit = &contained.unit;
            assert_eq!(contained.says(file), content, "{unit} {flags:?} {file}");
            assert_eq!(contained.property(property), value, "{unit} {flags:?} {property}");
        }
        assert_eq!(contained.container.status(), "created");
    }
}

#[test]
fn each_flag_changes_the_file_and_the_unit_on_v1() {
    requires!(is_here() && cgroup::view() == View::Hybrid, "systemd on cgroup v1");
    let contained = Contained::scope(Bundle::idle());
    for (controller, flags, file, content, property, value) in [
        ("memory", &["--memory=64M"][..], "memory.limit_in_bytes", "67108864", "MemoryLimit", "67108864"),
        ("cpu", &["--cpu-share", "512"], "cpu.shares", "512", "CPUShares", "512"),
        ("cpu", &["--cpu-quota", "20000"], "cpu.cfs_quota_us", "20000", "CPUQuotaPerSecUSec", "200ms"),
        ("cpu", &["--cpu-period", "40000"], "cpu.cfs_period_us", "40000", "CPUQuotaPeriodUSec", "40ms"),
        ("cpu", &[], "cpu.cfs_quota_us", "20000", "CPUQuotaPerSecUSec", "500ms"),
        ("cpu", &["--cpu-quota=-1"], "cpu.cfs_quota_us", "-1", "CPUQuotaPerSecUSec", "infinity"),
        ("pids", &["--pids-limit", "20"], "pids.max", "20", "TasksMax", "20"),
    ] {
        if cgroup::has(controller) {
            contained.update(flags);
            let path = cgroup::directory_of(controller, &contained.container.cgroup).unwrap().join(file);
            assert_eq!(fs::read_to_string(&path).unwrap().trim(), content, "{flags:?} {file}");
            assert_eq!(contained.property(property), value, "{flags:?} {property}");
        }
    }
}

/// Also those that systemd does not know, or knows as something else: its own write of one limit must not change another.
#[test]
fn an_update_of_one_limit_leaves_all_others_as_they_were() {
    requires!(is_v2_with(&ALL), WITH_ALL);
    let _undisturbed = undisturbed();
    for contained in both(awkward) {
        let created = contained.limits();
        assert_eq!((&*created["cpu.max"], &*created["pids.max"]), ("12345 50000", "0"));
        for (resources, changed) in [
            (json!({"memory": {"limit": 60 << 20, "swap": 80 << 20}}), &["MemoryMax", "MemorySwapMax"][..]),
            (json!({"memory": {"reservation": 9 << 20}}), &["MemoryLow"]),
            (json!({"unified": {"memory.high": "45000000"}}), &["MemoryHigh"]),
            (json!({"unified": {"memory.min": "4096"}}), &["MemoryMin"]),
            (json!({"cpu": {"shares": 300}}), &["CPUWeight"]),
            (json!({"cpu": {"quota": 23_456}}), &["CPUQuotaPerSecUSec"]),
            (json!({"cpu": {"burst": 1_007}}), &[]),
            (json!({"cpu": {"period": 70_000}}), &["CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec"]),
            (json!({"cpu": {"cpus": "0-1"}}), &["AllowedCPUs"]),
            (json!({"unified": {"cgroup.max.depth": "7"}}), &[]),
            (json!({"pids": {"limit": 17}}), &["TasksMax"]),
            (json!({"pids": {"limit": 0}}), &["TasksMax"]),
        ] {
            let (before, files) = (contained.limits(), files_of(&resources));
            contained.update_by(&resources);
            let after = contained.limits();
            let different: Vec<&str> =
                before.iter().filter(|(name, value)| after[*name] != **value).map(|(name, _)| &**name).collect();
            let expected = |name: &&&str| !changed.contains(name) && !files.contains(name);
            let unexpected: Vec<_> =
                different.iter().filter(expected).map(|it| (it, &before[*it], &after[*it])).collect();
            assert!(unexpected.is_empty(), "{} {resources}: {unexpected:?}", contained.unit);
            assert!(
                changed.iter().all(|name| different.contains(name)),
                "{} {resources}: {different:?}",
                contained.unit
            );
        }
    }
}

/// Those that an update of this is about.
fn files_of(resources: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (pointer, files) in [
        ("/memory/limit", &["memory.max"][..]),
        ("/memory/swap", &["memory.swap.max"]),
        ("/memory/reservation", &["memory.low"]),
        ("/cpu/shares", &["cpu.weight"]),
        ("/cpu/quota", &["cpu.max"]),
        ("/cpu/period", &["cpu.max"]),
        ("/cpu/burst", &["cpu.max.burst"]),
        ("/cpu/cpus", &["cpuset.cpus"]),
        ("/pids/limit", &["pids.max"]),
    ] {
        if resources.pointer(pointer).is_some() {
            names.extend(files);
        }
    }
    names.extend(resources["unified"].as_object().into_iter().flat_map(|files| files.keys().map(String::as_str)));
    names
}

#[test]
fn half_of_quota_and_period_leaves_the_other() {
    requires!(is_v2_with(&["cpu"]), "systemd on cgroup v2 with the cpu controller");
    let _undisturbed = undisturbed();
    let contained =
        Contained::scope(Bundle::idle().set("/linux/resources/cpu", json!({"quota": 30_000, "period": 60_000})));
    for (flag, file, quota, period) in [
        ("--cpu-period=40000", "30000 40000", "750ms", "40ms"),
        ("--cpu-quota=10000", "10000 40000", "250ms", "40ms"),
        ("--cpu-quota=-1", "max 40000", "infinity", "40ms"),
        ("--cpu-period=50000", "max 50000", "infinity", "50ms"),
    ] {
        contained.update(&[flag]);
        assert_eq!(contained.says("cpu.max"), file, "{flag}");
        assert_eq!(contained.property("CPUQuotaPerSecUSec"), quota, "{flag}");
        assert_eq!(contained.property("CPUQuotaPeriodUSec"), period, "{flag}");
    }
    contained.update(&["--cpu-quota=20000"]);
    // Whatever makes systemd write the group's files again.
    systemctl(&["set-property", "--runtime", &contained.unit, "CPUWeight=50"]);
    assert_eq!((contained.says("cpu.weight"), contained.says("cpu.max")), ("50".into(), "20000 50000".into()));
}

#[test]
fn idle_and_not_idle_again() {
    differs!(Runc | Crun, "older versions do not know it");
    requires!(is_v2_with(&["cpu"]), "systemd on cgroup v2 with the cpu controller");
    let _undisturbed = undisturbed();
    let weighed = || Bundle::idle().set("/linux/resources/cpu/shares", 513);
    for contained in both(weighed) {
        let before = contained.limits();
        contained.update(&["--cpu-idle", "1"]);
        assert_eq!((contained.says("cpu.idle"), contained.property("CPUWeight")), ("1".into(), "idle".into()));
        contained.update(&["--cpu-idle", "1"]);
        assert_eq!((contained.says("cpu.idle"), contained.property("CPUWeight")), ("1".into(), "idle".into()));
        contained.update(&["--cpu-idle", "0"]);
        assert_eq!(contained.says("cpu.idle"), "0");
        // Its weight is gone: the kernel gives it the usual one. systemd must not make it idle again.
        assert_eq!(contained.says("cpu.weight"), "100");
        systemctl(&["set-property", "--runtime", &contained.unit, "MemoryLow=1M"]);
        assert_eq!((contained.says("cpu.idle"), contained.says("cpu.weight")), ("0".into(), "100".into()));
        contained.update(&["--cpu-share", "513"]);
        assert_eq!(contained.says("cpu.weight"), before["cpu.weight"]);
        assert_eq!(contained.property("CPUWeight"), before["CPUWeight"]);
    }
}

/// A slice has no OOMPolicy, and a scope's cannot be changed.
#[test]
fn memory_oom_group() {
    requires!(is_v2_with(&["memory"]), "systemd on cgroup v2 with the memory controller");
    let _undisturbed = undisturbed();
    let together = || Bundle::idle().set("/linux/resources/unified", json!({"memory.oom.group": "1"}));
    for contained in both(together) {
        let policy = if contained.unit.ends_with(".scope") { "kill" } else { "" };
        assert_eq!((contained.says("memory.oom.group"), &*contained.property("OOMPolicy")), ("1".into(), policy));
        for group in ["0", "1"] {
            contained.update_by(&json!({"unified": {"memory.oom.group": group}}));
            assert_eq!(contained.says("memory.oom.group"), group, "{}", contained.unit);
        }
    }
}

#[test]
fn a_failing_update_leaves_files_and_properties() {
    differs!(Runc | Crun, "leaves what it has set before");
    requires!(is_v2_with(&ALL), WITH_ALL);
    let _undisturbed = undisturbed();
    for contained in both(awkward) {
        let before = contained.limits();
        let first = json!({"limit": 60 << 20, "reservation": 9 << 20, "swap": 70 << 20});
        for (resources, property) in [
            (json!({"memory": first, "cpu": {"quota": 10}}), "linux.resources.cpu.quota"),
            (json!({"memory": first, "cpu": {"quota": 2_000, "period": 1}}), "linux.resources.cpu"),
            (
                json!({"cpu": {"shares": 9, "quota": 40_000}, "pids": {"limit": 5}, "unified": {"cgroup.max.depth": "x"}}),
                "linux.resources.unified[\"cgroup.max.depth\"]",
            ),
            (json!({"memory": first, "unified": {"pids.nonsense": "1"}}), "linux.resources.unified[\"pids.nonsense\"]"),
            (json!({"memory": first, "unified": {"memory.high": "much"}}), "linux.resources.unified[\"memory.high\"]"),
            (
                json!({"cpu": {"idle": 1}, "memory": first, "unified": {"cgroup.max.depth": "x"}}),
                "linux.resources.unified[\"cgroup.max.depth\"]",
            ),
            (json!({"cpu": {"cpus": "4000"}, "memory": first}), "linux.resources.cpu.cpus"),
            (
                json!({"memory": first, "hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}),
                "linux.resources.hugepageLimits[0]",
            ),
        ] {
            contained.update_fails(&resources).names(property);
            let after = contained.limits();
            let changed: Vec<_> = before.iter().filter(|(name, value)| after[*name] != **value).collect();
            let after: Vec<_> = changed.iter().map(|(name, _)| &after[*name]).collect();
            assert!(changed.is_empty(), "{} {resources}: {changed:?} became {after:?}", contained.unit);
        }
    }
}

/// The unit went with its last process; nothing brings it back.
#[test]
fn what_has_ended_is_not_updated() {
    requires!(is_here() && cgroup::has("pids"), "systemd and the pids controller");
    let contained = Contained::scope(Bundle::idle());
    contained.container.start();
    contained.container.kill("KILL");
    contained.container.wait();
    contained.update_fails(&json!({"pids": {"limit": 5}})).says(crate::phrases::NOT_RUNNING);
    contained.container.delete();
    assert_eq!(crate::support::systemd::units(&contained.unit), "");
}
