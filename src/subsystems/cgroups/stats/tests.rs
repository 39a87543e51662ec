//! Files as real kernels write them (v1 and hybrid: 6.18; v2: 6.12), and the documents that come of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Files, Stats, add};
use crate::error::Result;
use crate::subsystems::cgroups::plan::Version;

struct Group(BTreeMap<&'static str, &'static str>);

impl Files for Group {
    fn read(&self, name: &str) -> Result<Option<String>> {
        Ok(self.0.get(name).map(|text| (*text).to_owned()))
    }

    fn names(&self) -> Result<Vec<String>> {
        Ok(self.0.keys().map(|name| (*name).to_owned()).collect())
    }
}

fn stats(version: Version, controllers: &str, files: &[(&'static str, &'static str)]) -> Result<Stats> {
    let mut stats = Stats::default();
    let controllers: Vec<String> = controllers.split_whitespace().map(str::to_owned).collect();
    add(&mut stats, version, &controllers, &Group(files.iter().copied().collect()))?;
    Ok(stats)
}

#[track_caller]
fn document(version: Version, controllers: &str, files: &[(&'static str, &'static str)]) -> Value {
    serde_json::to_value(stats(version, controllers, files).unwrap()).unwrap()
}

/// Keys and order of an empty document: runc 1.1.5's, without a controller.
#[test]
fn an_empty_document() {
    let entry = "{\"limit\":0,\"failcnt\":0}";
    let expected = format!(
        "{{\"cpu\":{{\"usage\":{{\"kernel\":0,\"user\":0}},\"throttling\":{{}}}},\
         \"cpuset\":{{\"cpu_exclusive\":0,\"mem_hardwall\":0,\"mem_exclusive\":0,\"memory_migrate\":0,\
         \"memory_spread_page\":0,\"memory_spread_slab\":0,\"memory_pressure\":0,\"sched_load_balance\":0,\
         \"sched_relax_domain_level\":0}},\
         \"memory\":{{\"usage\":{entry},\"swap\":{entry},\"kernel\":{entry},\"kernelTCP\":{entry}}},\
         \"pids\":{{}},\"blkio\":{{}},\"hugetlb\":{{}},\"intel_rdt\":{{}},\"network_interfaces\":null}}"
    );
    assert_eq!(serde_json::to_string(&Stats::default()).unwrap(), expected);
}

#[test]
fn cpu_of_v1_is_in_nanoseconds_and_ticks() {
    let document = document(
        Version::V1,
        "cpu cpuacct",
        &[
            ("cpu.stat", "nr_periods 7\nnr_throttled 3\nthrottled_time 54000000\nnr_bursts 2\nburst_time 900000\n"),
            ("cpuacct.stat", "user 3\nsystem 1\n"),
            ("cpuacct.usage", "41205700\n"),
            ("cpuacct.usage_percpu", "38276015 2929685 \n"),
            ("cpuacct.usage_percpu_sys", "10000000 0 \n"),
            ("cpuacct.usage_percpu_user", "28276015 2929685 \n"),
        ],
    );
    let expected = json!({
        "usage": {"total": 41205700, "percpu": [38276015, 2929685], "percpu_kernel": [10000000, 0],
            "percpu_user": [28276015, 2929685], "kernel": 10000000, "user": 30000000},
        "throttling": {"periods": 7, "throttledPeriods": 3, "throttledTime": 54000000},
        "burst": {"periods": 2, "time": 900000},
    });
    assert_eq!(document["cpu"], expected);
}

#[test]
fn cpu_of_v2_is_in_microseconds() {
    let document = document(
        Version::V2,
        "",
        &[
            (
                "cpu.stat",
                "usage_usec 41205\nuser_usec 30000\nsystem_usec 11205\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
                 nr_periods 7\nnr_throttled 3\nthrottled_usec 54000\nnr_bursts 2\nburst_usec 900\n",
            ),
            (
                "cpu.pressure",
                "some avg10=1.53 avg60=0.42 avg300=0.10 total=2065463\nfull avg10=0.00 avg60=0.05 avg300=0.00 total=3\n",
            ),
        ],
    );
    let expected = json!({
        "usage": {"total": 41205000, "kernel": 11205000, "user": 30000000},
        "throttling": {"periods": 7, "throttledPeriods": 3, "throttledTime": 54000000},
        "psi": {
            "some": {"avg10": 1.53, "avg60": 0.42, "avg300": 0.1, "total": 2065463},
            "full": {"avg10": 0.0, "avg60": 0.05, "avg300": 0.0, "total": 3},
        },
        "burst": {"periods": 2, "time": 900000},
    });
    assert_eq!(document["cpu"], expected);
}

#[test]
fn cpusets() {
    let v1 = document(
        Version::V1,
        "cpuset",
        &[
            ("cpuset.cpus", "0-2,7\n"),
            ("cpuset.mems", "0\n"),
            ("cpuset.mem_exclusive", "1\n"),
            ("cpuset.sched_load_balance", "1\n"),
            ("cpuset.sched_relax_domain_level", "-1\n"),
        ],
    );
    assert_eq!(v1["cpuset"]["cpus"], json!([0, 1, 2, 7]));
    assert_eq!(v1["cpuset"]["mems"], json!([0]));
    assert_eq!(v1["cpuset"]["mem_exclusive"], 1);
    assert_eq!(v1["cpuset"]["sched_load_balance"], 1);
    assert_eq!(v1["cpuset"]["sched_relax_domain_level"], -1);
    let files = [("cpuset.cpus", "\n"), ("cpuset.cpus.effective", "0-1\n"), ("cpuset.mems.effective", "0\n")];
    let v2 = document(Version::V2, "", &files);
    assert_eq!((&v2["cpuset"]["cpus"], &v2["cpuset"]["mems"]), (&json!([0, 1]), &json!([0])));
    let nothing = document(Version::V1, "cpuset", &[("cpuset.cpus", "\n")]);
    assert_eq!(nothing["cpuset"].get("cpus"), None);
}

#[test]
fn memory_of_v1() {
    let document = document(
        Version::V1,
        "memory",
        &[
            ("memory.stat", "cache 12288\nrss 1445888\nhierarchical_memory_limit 67108864\ntotal_cache 12288\n"),
            ("memory.limit_in_bytes", "67108864\n"),
            ("memory.usage_in_bytes", "2260992\n"),
            ("memory.max_usage_in_bytes", "2265088\n"),
            ("memory.failcnt", "4\n"),
            ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
            ("memory.memsw.usage_in_bytes", "2260993\n"),
            ("memory.memsw.max_usage_in_bytes", "2265089\n"),
            ("memory.memsw.failcnt", "0\n"),
            ("memory.kmem.usage_in_bytes", "471040\n"),
            ("memory.kmem.max_usage_in_bytes", "540672\n"),
            ("memory.kmem.failcnt", "0\n"),
            ("memory.kmem.tcp.limit_in_bytes", "9223372036854771712\n"),
            ("memory.kmem.tcp.usage_in_bytes", "0\n"),
        ],
    );
    let unlimited = 9223372036854771712_u64;
    let expected = json!({
        "cache": 12288,
        "usage": {"limit": 67108864, "usage": 2260992, "max": 2265088, "failcnt": 4},
        "swap": {"limit": unlimited, "usage": 2260993, "max": 2265089, "failcnt": 0},
        "kernel": {"limit": 0, "usage": 471040, "max": 540672, "failcnt": 0},
        "kernelTCP": {"limit": unlimited, "failcnt": 0},
        "raw": {"cache": 12288, "rss": 1445888, "hierarchical_memory_limit": 67108864, "total_cache": 12288},
    });
    assert_eq!(document["memory"], expected);
}

const V2_MEMORY: [(&str, &str); 6] = [
    ("memory.stat", "anon 1445888\nfile 12288\nkernel 471040\nsock 0\n"),
    ("memory.current", "2260992\n"),
    ("memory.max", "67108864\n"),
    ("memory.peak", "2265088\n"),
    ("memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\noom_group_kill 0\n"),
    ("memory.swap.events", "high 0\nmax 2\nfail 2\n"),
];

/// Swap is memory and swap together, and unlimited stays unlimited.
#[test]
fn memory_of_v2() {
    let memory = |max: &'static str| {
        let mut files = V2_MEMORY.to_vec();
        files.extend([("memory.swap.current", "4096\n"), ("memory.swap.max", max)]);
        document(Version::V2, "", &files)["memory"].clone()
    };
    let expected = json!({
        "cache": 12288,
        "usage": {"limit": 67108864, "usage": 2260992, "max": 2265088, "failcnt": 4},
        "swap": {"limit": 67108864 + 8192, "usage": 2260992 + 4096, "failcnt": 2},
        "kernel": {"limit": 0, "failcnt": 0},
        "kernelTCP": {"limit": 0, "failcnt": 0},
        "raw": {"anon": 1445888, "file": 12288, "kernel": 471040, "sock": 0},
    });
    assert_eq!(memory("8192\n"), expected);
    assert_eq!(memory("max\n")["swap"]["limit"], u64::MAX);
}

#[test]
fn memory_of_v2_without_swap_accounting() {
    let document = document(Version::V2, "", &V2_MEMORY);
    assert_eq!(document["memory"]["swap"], json!({"limit": 0, "failcnt": 0}));
    assert_eq!(document["memory"]["usage"]["limit"], 67108864);
}

#[test]
fn pids_of_both() {
    for (current, max, expected) in
        [("3\n", "max\n", json!({"current": 3})), ("3\n", "64\n", json!({"current": 3, "limit": 64}))]
    {
        let files = [("pids.current", current), ("pids.max", max)];
        assert_eq!(document(Version::V1, "pids", &files)["pids"], expected);
        assert_eq!(document(Version::V2, "", &files)["pids"], expected);
    }
    assert_eq!(document(Version::V2, "", &[("cgroup.threads", "12\n13\n")])["pids"], json!({"current": 2}));
}

#[test]
fn block_devices_of_v1() {
    let throttle =
        "8:0 Read 4096\n8:0 Write 0\n8:0 Sync 4096\n8:0 Async 0\n8:0 Discard 0\n8:0 Total 4096\nTotal 4096\n";
    let files = [
        ("blkio.bfq.io_service_bytes_recursive", "Total 0\n"),
        ("blkio.throttle.io_service_bytes_recursive", throttle),
        ("blkio.bfq.time_recursive", "8:16 52\n"),
    ];
    let document = document(Version::V1, "blkio", &files);
    let bytes = document["blkio"]["ioServiceBytesRecursive"].as_array().unwrap();
    assert_eq!(bytes.len(), 6);
    assert_eq!(bytes[0], json!({"major": 8, "op": "Read", "value": 4096}));
    assert_eq!(document["blkio"]["ioTimeRecursive"], json!([{"major": 8, "minor": 16, "value": 52}]));
    assert_eq!(document["blkio"].get("ioServicedRecursive"), None);
}

#[test]
fn block_devices_of_v2_in_both_words() {
    let stat = "7:1 7:0 8:0 rbytes=1024 wbytes=0 rios=2 wios=0 dbytes=0 dios=0\n259:3 rbytes=1 wbytes=5 cost.usage=9 depth=max\n253:0 \n(unknown) rbytes=3\n";
    let document = document(Version::V2, "", &[("io.stat", stat)]);
    let expected = json!({
        "ioServiceBytesRecursive": [
            {"major": 259, "minor": 3, "op": "Read", "value": 1},
            {"major": 259, "minor": 3, "op": "Write", "value": 5},
            {"major": 8, "op": "Read", "value": 1024},
            {"major": 8, "op": "Write"},
        ],
        "ioServicedRecursive":
            [{"major": 8, "op": "Read", "value": 2}, {"major": 8, "op": "Write"}],
    });
    assert_eq!(document["blkio"], expected);
    let raw = json!({
        "8:0": {"rbytes": 1024, "wbytes": 0, "rios": 2, "wios": 0, "dbytes": 0, "dios": 0},
        "259:3": {"rbytes": 1, "wbytes": 5, "cost.usage": 9},
        "(unknown)": {"rbytes": 3},
    });
    assert_eq!(document["io"], raw);
}

#[test]
fn huge_pages() {
    let v1 = document(
        Version::V1,
        "hugetlb",
        &[
            ("hugetlb.2MB.limit_in_bytes", "9223372036854771712\n"),
            ("hugetlb.2MB.usage_in_bytes", "2097152\n"),
            ("hugetlb.2MB.rsvd.limit_in_bytes", "9223372036854771712\n"),
            ("hugetlb.2MB.rsvd.usage_in_bytes", "4194304\n"),
            ("hugetlb.2MB.rsvd.max_usage_in_bytes", "6291456\n"),
            ("hugetlb.2MB.rsvd.failcnt", "1\n"),
            ("hugetlb.1GB.limit_in_bytes", "0\n"),
            ("hugetlb.1GB.usage_in_bytes", "0\n"),
        ],
    );
    let expected = json!({"2MB": {"usage": 4194304, "max": 6291456, "failcnt": 1}, "1GB": {"failcnt": 0}});
    assert_eq!(v1["hugetlb"], expected);
    let v2 = document(
        Version::V2,
        "",
        &[
            ("hugetlb.2MB.max", "max\n"),
            ("hugetlb.2MB.rsvd.max", "max\n"),
            ("hugetlb.2MB.rsvd.current", "4194304\n"),
            ("hugetlb.2MB.events", "max 1\n"),
        ],
    );
    assert_eq!(v2["hugetlb"], json!({"2MB": {"usage": 4194304, "failcnt": 1}}));
}

#[test]
fn rdma_and_misc_are_the_same_on_both() {
    let files = [
        ("rdma.current", "mlx4_0 hca_handle=1 hca_object=20\nocrdma1 hca_handle=0 hca_object=0\n"),
        ("rdma.max", "mlx4_0 hca_handle=2 hca_object=max\nocrdma1 hca_handle=max hca_object=max\n"),
        ("misc.current", "sev 3\nsev_es 0\n"),
        ("misc.events", "sev.max 7\nsev_es.max 0\n"),
    ];
    let none = u32::MAX;
    for document in [document(Version::V1, "rdma misc", &files), document(Version::V2, "", &files)] {
        let rdma = json!({
            "mlx4_0": {"current": {"hca_handles": 1, "hca_objects": 20}, "limit": {"hca_handles": 2, "hca_objects": none}},
            "ocrdma1":
                {"current": {"hca_handles": 0, "hca_objects": 0}, "limit": {"hca_handles": none, "hca_objects": none}},
        });
        assert_eq!(document["rdma"], rdma);
        assert_eq!(document["misc"], json!({"sev": {"usage": 3, "events": 7}, "sev_es": {"usage": 0, "events": 0}}));
    }
}

/// What v2 counts without a controller gives way; what only v2 has stays.
#[test]
fn hybrid_hosts_have_both() {
    let mut stats = Stats::default();
    let v2 = Group(BTreeMap::from([
        ("cpu.stat", "usage_usec 1\nuser_usec 1\nsystem_usec 0\n"),
        ("cpu.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=5\n"),
        ("cgroup.threads", "1\n"),
    ]));
    add(&mut stats, Version::V2, &[], &v2).unwrap();
    let v1 = Group(BTreeMap::from([("cpuacct.usage", "1234\n"), ("pids.current", "9\n"), ("pids.max", "max\n")]));
    add(&mut stats, Version::V1, &["cpuacct".to_owned(), "pids".to_owned()], &v1).unwrap();
    assert_eq!((stats.cpu.usage.total, stats.pids.current), (1234, 9));
    assert_eq!(stats.cpu.psi.unwrap().some.total, 5);
}

#[test]
fn what_cannot_be_understood_is_named() {
    for (version, controllers, file, text, expected) in [
        (Version::V2, "", "memory.stat", "anon\n", "memory.stat: \"anon\" is not a name and a number"),
        (Version::V2, "", "memory.stat", "anon x\n", "memory.stat: \"x\" is not a number"),
        (Version::V2, "", "cpuset.cpus.effective", "0-x\n", "cpuset.cpus.effective: \"x\" is not a number"),
        (Version::V2, "", "io.stat", "x:0 rbytes=1\n", "io.stat: \"x\" is not a number"),
        (
            Version::V1,
            "blkio",
            "blkio.bfq.time_recursive",
            "80 5\n",
            "blkio.bfq.time_recursive: \"80\" is not a device",
        ),
        (Version::V2, "", "cpu.pressure", "some avg10=x\n", "cpu.pressure: \"x\" is not a number"),
        (Version::V1, "cpuacct", "cpuacct.usage", "\n", "cpuacct.usage: \"\" is not a number"),
        (
            Version::V1,
            "blkio",
            "blkio.throttle.io_serviced_recursive",
            "8:0 a b c\n",
            "blkio.throttle.io_serviced_recursive: \"8:0 a b c\" is not a device and a number",
        ),
    ] {
        assert_eq!(stats(version, controllers, &[(file, text)]).unwrap_err().to_string(), expected);
    }
}
