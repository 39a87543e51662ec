//! What a group may use and has used. COMPAT(runc, go-runc): names and order are those of `runc events`.

use std::str::FromStr;

use serde::Serialize;

use super::resctrl::Resctrl;
use crate::error::Result;
use crate::fs::directory::Directory;

/// `intel_rdt`; what the machine does not have is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_info: Option<L3CacheInfo>,
    /// The line of the default group.
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_schema_root: Option<String>,
    /// That of the container's.
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_info: Option<MemBwInfo>,
    /// The line of the default group.
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_schema_root: Option<String>,
    /// That of the container's.
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_schema: Option<String>,
    /// All lines of the container's group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schemata: Vec<String>,
    /// By L3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_stats: Option<Vec<Bandwidth>>,
    /// By L3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    cmt_stats: Option<Vec<Occupancy>>,
}

/// `info/L3`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct L3CacheInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    cbm_mask: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_cbm_bits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_closids: Option<u64>,
}

/// `info/MB`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct MemBwInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    bandwidth_gran: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_linear: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_bandwidth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_closids: Option<u64>,
}

/// Bytes that went through, so far. The kernel may have lost count of one of them for a while.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Bandwidth {
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_total_bytes: Option<u64>,
    /// To the memory beside the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_local_bytes: Option<u64>,
}

/// Bytes in the cache, now.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Occupancy {
    #[serde(skip_serializing_if = "Option::is_none")]
    llc_occupancy: Option<u64>,
}

/// Reads a group; `counts` is the one that counts for the container alone, if there is one.
pub fn read(resctrl: &Resctrl, group: &Directory, counts: Option<&Directory>) -> Result<Stats> {
    let own = group.read("schemata")?;
    let root = resctrl.group(None)?.read("schemata")?;
    let line = |lines: &str, resource: &str| {
        let is_it = |line: &&str| line.split_once(':').is_some_and(|(name, _)| name == resource);
        lines.lines().map(str::trim).find(is_it).map(str::to_owned)
    };
    let mut stats = Stats {
        l3_cache_info: resctrl.info("L3", "cbm_mask").map(|mask| L3CacheInfo {
            cbm_mask: Some(mask),
            min_cbm_bits: number(resctrl.info("L3", "min_cbm_bits")),
            num_closids: number(resctrl.info("L3", "num_closids")),
        }),
        l3_cache_schema_root: line(&root, "L3"),
        l3_cache_schema: line(&own, "L3"),
        mem_bw_info: resctrl.info("MB", "min_bandwidth").map(|least| MemBwInfo {
            bandwidth_gran: number(resctrl.info("MB", "bandwidth_gran")),
            delay_linear: number(resctrl.info("MB", "delay_linear")),
            min_bandwidth: least.parse().ok(),
            num_closids: number(resctrl.info("MB", "num_closids")),
        }),
        mem_bw_schema_root: line(&root, "MB"),
        mem_bw_schema: line(&own, "MB"),
        schemata: own.lines().map(|line| line.trim().to_owned()).collect(),
        mbm_stats: None,
        cmt_stats: None,
    };
    if let Some(counts) = counts {
        stats.add_counters(resctrl, counts)?;
    }
    Ok(stats)
}

impl Stats {
    fn add_counters(&mut self, resctrl: &Resctrl, group: &Directory) -> Result<()> {
        let Some(features) = resctrl.info("L3_MON", "mon_features") else { return Ok(()) };
        let has = |feature: &str| features.lines().any(|line| line == feature);
        let data = group.child("mon_data".as_ref())?;
        let mut caches: Vec<_> = data.children()?.into_iter().filter_map(|name| name.into_string().ok()).collect();
        caches.retain(|name| name.starts_with("mon_L3_"));
        caches.sort_unstable();
        let caches = caches.iter().map(|name| data.child(name.as_ref())).collect::<Result<Vec<_>>>()?;
        // Instead of a number there may be a word: "Unavailable".
        let counter = |cache: &Directory, name: &str| cache.read(name).ok()?.trim().parse().ok();
        if has("mbm_total_bytes") || has("mbm_local_bytes") {
            let bandwidth = |cache: &Directory| Bandwidth {
                mbm_total_bytes: counter(cache, "mbm_total_bytes"),
                mbm_local_bytes: counter(cache, "mbm_local_bytes"),
            };
            self.mbm_stats = Some(caches.iter().map(bandwidth).collect());
        }
        if has("llc_occupancy") {
            let occupancy = |cache: &Directory| Occupancy { llc_occupancy: counter(cache, "llc_occupancy") };
            self.cmt_stats = Some(caches.iter().map(occupancy).collect());
        }
        Ok(())
    }
}

fn number<T: FromStr>(text: Option<String>) -> Option<T> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a tree of the test's own")]
    fn write(root: &Path, files: &[(&str, &str)]) {
        for (file, content) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn stats_of(root: &Path, group: &str, counts: bool) -> serde_json::Value {
        let resctrl = Resctrl::from(Directory::at(root).unwrap());
        let group = resctrl.group(Some(group)).unwrap();
        serde_json::to_value(read(&resctrl, &group, counts.then_some(&group)).unwrap()).unwrap()
    }

    #[test]
    fn everything_that_a_machine_can_have() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let files = [
            ("schemata", "    MB:0=100;1=100\n    L3:0=fff;1=fff\n"),
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
            ("c1/schemata", "    MB:0= 20;1=100\nL3CODE:0=1\n    L3:0=00f;1=fff\n"),
            ("c1/mon_data/mon_L3_01/llc_occupancy", "4096\n"),
            ("c1/mon_data/mon_L3_01/mbm_total_bytes", "Unavailable\n"),
            ("c1/mon_data/mon_L3_01/mbm_local_bytes", "0\n"),
            ("c1/mon_data/mon_L3_00/llc_occupancy", "8192\n"),
            ("c1/mon_data/mon_L3_00/mbm_total_bytes", "10000000000\n"),
            ("c1/mon_data/mon_L3_00/mbm_local_bytes", "7\n"),
            ("c1/mon_data/mon_PERF_PKG_00/core_energy", "0.5\n"),
        ];
        write(root, &files);
        let mut expected = json!({
            "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fff;1=fff",
            "l3_cache_schema": "L3:0=00f;1=fff",
            "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0= 20;1=100",
            "schemata": ["MB:0= 20;1=100", "L3CODE:0=1", "L3:0=00f;1=fff"],
            "mbm_stats": [
                {"mbm_total_bytes": 10_000_000_000_u64, "mbm_local_bytes": 7},
                {"mbm_local_bytes": 0},
            ],
            "cmt_stats": [{"llc_occupancy": 8192}, {"llc_occupancy": 4096}],
        });
        assert_eq!(stats_of(root, "c1", true), expected);
        // Of a class that others are in, too, nothing is counted for the container.
        for counters in ["mbm_stats", "cmt_stats"] {
            expected.as_object_mut().unwrap().remove(counters);
        }
        assert_eq!(stats_of(root, "c1", false), expected);
    }

    #[test]
    fn a_machine_that_has_little() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &[("schemata", "L2:0=f\n"), ("c1/schemata", "L2:0=3\n")]);
        assert_eq!(stats_of(directory.path(), "c1", true), json!({"schemata": ["L2:0=3"]}));
        assert_eq!(serde_json::to_string(&Stats::default()).unwrap(), "{}");
    }
}
