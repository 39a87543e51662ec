//! What must be written to a file so that it says again what it said: not all of them take what they print.

/// Files with a line for each key, of which a write changes one, and what stands for a key without a line.
const KEYED: [(&str, &str); 14] = [
    ("blkio.bfq.weight_device", "default"),
    ("blkio.leaf_weight_device", "default"),
    ("blkio.throttle.read_bps_device", "0"),
    ("blkio.throttle.read_iops_device", "0"),
    ("blkio.throttle.write_bps_device", "0"),
    ("blkio.throttle.write_iops_device", "0"),
    ("blkio.weight_device", "default"),
    ("io.bfq.weight", "default"),
    ("io.latency", "target=0"),
    ("io.max", "rbps=max wbps=max riops=max wiops=max"),
    ("io.weight", "default"),
    ("misc.max", "max"),
    ("net_prio.ifpriomap", "0"),
    ("rdma.max", "hca_handle=max hca_object=max"),
];

/// The value that takes back the write of `written` to `file`, which said `before`.
pub(super) fn value(file: &str, written: &str, before: &str) -> String {
    if let Some((_, unset)) = KEYED.iter().find(|(keyed, _)| *keyed == file) {
        return line(written, before, unset);
    }
    let before = before.trim();
    match file {
        "memory.oom_control" => before.split_ascii_whitespace().nth(1).unwrap_or("0").to_owned(),
        // An empty list; a write of nothing would not arrive.
        _ if before.is_empty() => "\n".to_owned(),
        _ => before.to_owned(),
    }
}

/// A value alone is meant for all devices; io.weight calls them `default`.
fn line(written: &str, before: &str, unset: &str) -> String {
    let key = match written.trim().split_once(' ') {
        Some((key, _)) => key,
        None => "default",
    };
    let of_key = |line: &&str| line.split_ascii_whitespace().next() == Some(key);
    before.lines().find(of_key).map_or_else(|| format!("{key} {unset}"), |line| line.trim().to_owned())
}

/// Files that the kernel sets along with `file` when that stops saying what it says `before`.
pub(super) fn set_along(file: &str, before: &str) -> &'static [&'static str] {
    match (file, before.trim()) {
        // KERNEL: a group that becomes idle loses its weight.
        ("cpu.idle", "0") => &["cpu.weight", "cpu.shares"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_back() {
        let io = "8:0 rbps=1 wbps=max riops=max wiops=7\n8:16 rbps=2 wbps=max riops=max wiops=max\n";
        for (file, written, before, expected) in [
            ("memory.max", "5", "max\n", "max"),
            ("memory.limit_in_bytes", "5", "9223372036854771712\n", "9223372036854771712"),
            ("cpu.max", "5000 10000", "max 100000\n", "max 100000"),
            ("cpuset.cpus", "0", "\n", "\n"),
            ("cpuset.cpus", "0", "", "\n"),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "0"),
            ("io.max", "8:0 rbps=9", io, "8:0 rbps=1 wbps=max riops=max wiops=7"),
            ("io.max", "8:1 rbps=9", io, "8:1 rbps=max wbps=max riops=max wiops=max"),
            ("io.max", "8:0 rbps=9", "", "8:0 rbps=max wbps=max riops=max wiops=max"),
            ("io.weight", "8:0 50", "default 100\n8:0 70\n", "8:0 70"),
            ("io.weight", "8:16 50", "default 100\n8:0 70\n", "8:16 default"),
            ("io.weight", "50", "default 100\n8:0 70\n", "default 100"),
            ("io.weight", "default 50", "default 100\n", "default 100"),
            ("io.bfq.weight", "default", "default 300\n", "default 300"),
            ("blkio.bfq.weight", "50", "100\n", "100"),
            ("blkio.throttle.read_bps_device", "8:0 5", "8:0 100\n8:16 200\n", "8:0 100"),
            ("blkio.throttle.read_bps_device", "8:0 5", "\n", "8:0 0"),
            ("rdma.max", "mlx hca_handle=1", "mlx hca_handle=max hca_object=5\n", "mlx hca_handle=max hca_object=5"),
            ("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 2\n", "eth0 2"),
            ("misc.max", "sev 5", "sev max\n", "sev max"),
            ("io.latency", "8:0 target=5", "", "8:0 target=0"),
        ] {
            assert_eq!(value(file, written, before), expected, "{file} {written:?}");
        }
    }

    #[test]
    fn a_group_that_becomes_idle_has_its_weight_restored() {
        assert_eq!(set_along("cpu.idle", "0\n"), ["cpu.weight", "cpu.shares"]);
        assert_eq!(set_along("cpu.idle", "1\n"), [""; 0]);
        assert_eq!(set_along("cpu.weight", "0"), [""; 0]);
    }
}
