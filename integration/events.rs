//! `events`: what a container uses, its OOM kills, and when it ends.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cgroup::{self, View};
use crate::support::run::Running;
use crate::support::{Bundle, Container, differs, requires};

/// `events --stats`.
#[track_caller]
fn stats(container: &Container) -> Value {
    let output = container.runtime("events").args(["--stats", &container.id]).output().ok().no_stderr();
    assert_eq!(output.stdout.lines().count(), 1, "{output:#?}");
    data(container, &output.stdout)
}

/// What is in a line with statistics.
#[track_caller]
fn data(container: &Container, line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    assert_eq!((&line["type"], &line["id"]), (&json!("stats"), &json!(container.id)), "{line}");
    line["data"].take()
}

fn watch(container: &Container, interval: &str) -> Running {
    container.runtime("events").args(["--interval", interval, &container.id]).spawn()
}

/// Ended in peace. Without the memory controller it has said that it cannot tell of OOM kills.
#[track_caller]
fn ended(events: Running) -> String {
    let output = events.wait().ok();
    if cgroup::has("memory") {
        return output.no_stderr().stdout;
    }
    assert!(output.stderr.lines().all(|line| line.contains("has no memory controller")), "{output:#?}");
    output.stdout
}

/// Works without a pause.
fn busy() -> Bundle {
    Bundle::sh("while :; do :; done & while :; do cat /proc/self/stat > /dev/null; done")
}

/// Nanoseconds of processor time, from the kernel. On v2 they are there without the controller.
fn cpu_time(container: &Container) -> u64 {
    let read = |file: std::path::PathBuf| fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    match cgroup::view() {
        View::Hybrid => {
            let file = cgroup::file("cpuacct", &container.cgroup, "cpuacct.usage", "");
            read(file).trim().parse().unwrap()
        }
        View::Unified => {
            let stat = read(cgroup::directories(&container.cgroup)[0].join("cpu.stat"));
            let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
            usage.parse::<u64>().unwrap() * 1000
        }
    }
}

fn read_number(container: &Container, controller: &str, v1: &str, v2: &str) -> u64 {
    let file = cgroup::file(controller, &container.cgroup, v1, v2);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}")).trim().parse().unwrap()
}

#[test]
fn stats_are_one_line_with_keys_in_runcs_order() {
    let container = Bundle::idle().start();
    let output = container.runtime("events").args(["--stats", &container.id]).output().ok().no_stderr();
    let start = format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{\"cpu\":{{\"usage\":{{", container.id);
    assert!(output.stdout.starts_with(&start) && output.stdout.ends_with("}\n"), "{}", output.stdout);
    let keys = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"];
    let place = |key: &&str| output.stdout.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key}"));
    let places: Vec<usize> = keys.iter().map(place).collect();
    assert!(places.is_sorted(), "{}", output.stdout);
    let data = data(&container, &output.stdout);
    assert_eq!(data["network_interfaces"], Value::Null);
    assert_eq!(data["intel_rdt"], json!({}));
}

/// Between two looks at the kernel's counters lies what a line says, also when the lines follow fast.
#[test]
fn stats_of_a_busy_container_agree_with_the_kernels_files_within_one_interval() {
    let container = busy().start();
    let mut before = cpu_time(&container);
    let now = stats(&container)["cpu"]["usage"]["total"].as_u64().unwrap();
    assert!((before..=cpu_time(&container)).contains(&now), "{before}..={} {now}", cpu_time(&container));
    let mut events = watch(&container, "100ms");
    for _ in 0..3 {
        let line = events.read_until("\n");
        let after = cpu_time(&container);
        // A slow machine may have made more than one line.
        for line in line.lines() {
            let now = data(&container, line)["cpu"]["usage"]["total"].as_u64().unwrap();
            assert!((before..=after).contains(&now), "{before}..={after} {now}");
            before = now;
        }
    }
}

#[test]
fn stats_of_the_processor_are_nanoseconds_of_user_and_kernel() {
    let container = busy().start();
    let usage = crate::support::wait::until("some processor time", || {
        let usage = stats(&container)["cpu"]["usage"].clone();
        (usage["total"].as_u64()? > 300_000_000).then_some(usage)
    });
    let number = |key: &str| usage[key].as_f64().unwrap();
    let parts = number("user") + number("kernel");
    // The kernel counts the parts by ticks.
    assert!((parts / number("total") - 1.0).abs() < 0.5, "{usage}");
}

#[test]
fn stats_of_memory() {
    requires!(cgroup::has("memory"), "the memory controller");
    let script = "x=$(head -c 4000000 /dev/zero | tr '\\0' x); echo ready; sleep 600 & wait";
    let container = Bundle::sh(script).set("/linux/resources/memory/limit", 64 << 20).start();
    container.says("ready");
    let memory = stats(&container)["memory"].clone();
    assert_eq!(memory["usage"]["limit"], 64 << 20);
    let usage = memory["usage"]["usage"].as_u64().unwrap();
    assert!((4_000_000..64 << 20).contains(&usage), "{memory}");
    // Nobody allocates now; what is given back in the background is little.
    let kernel = read_number(&container, "memory", "memory.usage_in_bytes", "memory.current");
    assert!(usage.abs_diff(kernel) < 2 << 20, "{usage} {kernel}");
    let key = if cgroup::view() == View::Unified { "anon" } else { "rss" };
    assert!(memory["raw"][key].as_u64().unwrap() > 3_000_000, "{memory}");
    // Memory and swap together, on both.
    let swap = memory["swap"]["usage"].as_u64().unwrap_or(usage);
    assert!(swap.abs_diff(usage) < 2 << 20, "{memory}");
}

#[test]
fn stats_of_processes() {
    requires!(cgroup::has("pids"), "the pids controller");
    let script = "sleep 600 & echo ready; wait";
    let container = Bundle::sh(script).set("/linux/resources/pids/limit", 20).start();
    container.says("ready");
    let pids = stats(&container)["pids"].clone();
    let current = read_number(&container, "pids", "pids.current", "pids.current");
    assert_eq!(pids, json!({"current": current, "limit": 20}));
}

#[test]
fn stats_of_processes_without_a_limit() {
    let container = Bundle::sh("sleep 600 & sleep 600 & echo ready; wait").start();
    container.says("ready");
    assert_eq!(stats(&container)["pids"], json!({"current": 3}));
}

#[test]
fn stats_of_cpusets() {
    requires!(cgroup::has("cpuset"), "the cpuset controller");
    if cgroup::view() == View::Unified {
        differs!(Runc, "has none on cgroup2");
    }
    let container = Bundle::idle().set("/linux/resources/cpu/cpus", "0").start();
    assert_eq!(stats(&container)["cpuset"]["cpus"], json!([0]));
}

#[test]
fn stats_of_throttling() {
    requires!(cgroup::has("cpu"), "the cpu controller");
    let container = busy().set("/linux/resources/cpu", json!({"quota": 5000, "period": 50000})).start();
    let throttling = crate::support::wait::until("throttling", || {
        let throttling = stats(&container)["cpu"]["throttling"].clone();
        (throttling["throttledTime"].as_u64()? > 0).then_some(throttling)
    });
    let number = |key: &str| throttling[key].as_u64().unwrap();
    assert!((1..=number("periods")).contains(&number("throttledPeriods")), "{throttling}");
}

#[test]
fn stats_of_huge_pages() {
    differs!(Runc, "fails, or knows only those of v1");
    let of_container = |it: &std::path::PathBuf| it.join("hugetlb.2MB.events").exists();
    let container = Bundle::idle().start();
    requires!(cgroup::directories(&container.cgroup).iter().any(of_container), "huge pages of 2 MB on cgroup2");
    assert_eq!(stats(&container)["hugetlb"]["2MB"], json!({"failcnt": 0}));
}

#[test]
fn stats_of_block_devices() {
    requires!(cgroup::view() == View::Unified && cgroup::has("io"), "the io controller of cgroup2");
    // Past the cache, from the root filesystem.
    let script = "dd if=/dev/zero of=/file bs=64k count=64 conv=fsync 2> /dev/null; echo ready; sleep 600 & wait";
    let container = Bundle::sh(script).start();
    container.says("ready");
    let stat = fs::read_to_string(cgroup::file("io", &container.cgroup, "", "io.stat")).unwrap();
    requires!(stat.contains("wbytes="), "a root filesystem on a block device");
    let stats = stats(&container);
    let written = |device: &Value| device["wbytes"].as_u64().unwrap_or_default();
    let raw: u64 = stats["io"].as_object().unwrap().values().map(written).sum();
    assert!(raw >= 64 * 65536, "{stat} {stats}");
    let entries = stats["blkio"]["ioServiceBytesRecursive"].as_array().unwrap();
    let writes = entries.iter().filter(|entry| entry["op"] == "Write" && entry["value"].as_u64() >= Some(64 * 65536));
    assert!(writes.count() > 0, "{stats}");
}

#[test]
fn stats_of_pressure() {
    differs!(Runc, "1.1.5 does not know it");
    let container = busy().start();
    let of_container = |it: &std::path::PathBuf| it.join("cpu.pressure").exists();
    requires!(cgroup::directories(&container.cgroup).iter().any(of_container), "pressure stall information");
    crate::support::wait::until("pressure", || {
        (stats(&container)["cpu"]["psi"]["some"]["total"].as_u64()? > 0).then_some(())
    });
    let stats = stats(&container);
    for (part, which) in [("cpu", "some"), ("memory", "full"), ("blkio", "some")] {
        for key in ["avg10", "avg60", "avg300", "total"] {
            assert!(stats[part]["psi"][which][key].is_number(), "{part} {which} {key}: {stats}");
        }
    }
}

#[test]
fn stats_of_a_created_container() {
    let container = Bundle::new().create();
    assert!(stats(&container)["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
}

#[test]
fn a_stopped_container_has_no_events() {
    let container = Bundle::new().start();
    container.wait();
    let words = format!("container with id {} is not running", container.id);
    container.refuses("events", &[]).says(&words);
    container.refuses("events", &["--stats"]).says(&words);
}

#[test]
fn an_interval_is_a_duration_of_go() {
    let container = Bundle::idle().start();
    for word in ["5", "x", "5d", "1..2s"] {
        let refusal = container.refuses("events", &["--interval", word]);
        refusal.says(&format!("invalid value {word:?} for flag -interval: ").replace('"', refusal_quote()));
    }
    for word in ["0s", "-1s"] {
        container.refuses("events", &["--interval", word]).says("duration interval must be greater than 0");
    }
}

/// runc's logger escapes quotes.
fn refusal_quote() -> &'static str {
    if crate::support::peer::is_corten() { "\"" } else { "\\\"" }
}

#[test]
fn the_first_line_comes_after_the_interval() {
    let container = Bundle::idle().start();
    let start = Instant::now();
    let mut events = watch(&container, "0.4s");
    let line = events.read_until("\n");
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    data(&container, line.trim());
}

#[test]
fn they_end_with_the_container() {
    if cgroup::view() == View::Hybrid {
        differs!(Runc, "on v1 it waits until the container is deleted");
    }
    let container = Bundle::idle().start();
    let mut events = watch(&container, "50ms");
    events.read_until("\n");
    container.kill("KILL");
    container.wait();
    ended(events);
}

/// Nothing but the last process's end wakes up the one that waits for an hour.
#[test]
fn they_end_with_the_last_process() {
    differs!(Runc, "on v1 it waits until the container is deleted");
    for unified in [true, false] {
        let bundle = Bundle::sh("sleep 600 & echo child $!; exit 0").without_namespace("pid");
        let bundle = if unified { bundle } else { without_unified(bundle) };
        let container = bundle.create();
        let patient = watch(&container, "1h");
        let mut lively = watch(&container, "100ms");
        lively.read_until("\n");
        container.start();
        assert_eq!(container.wait(), 0);
        // Somebody is still there: it goes on.
        (0..3).for_each(|_| drop(lively.read_until("\n")));
        container.runtime("kill").args(["--all", &container.id, "KILL"]).output().ok().silent();
        ended(lively);
        assert_eq!(ended(patient), "");
    }
}

/// As on a machine with v1 alone, if there is v1.
fn without_unified(bundle: Bundle) -> Bundle {
    bundle.after_host_mounts("if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi")
}

#[test]
fn nobody_reading_ends_them_quietly() {
    differs!(Runc, "goes on and logs an error each time");
    let container = Bundle::idle().start();
    let program = crate::support::peer::program().to_str().unwrap();
    let root = container.state_root();
    let script = "( \"$@\"; echo \"status $?\" >&2 ) | head -n 1";
    let output = crate::support::run::Run::host_sh(script)
        .args(["_", program, "--root", root.to_str().unwrap(), "events", "--interval", "50ms", &container.id])
        .output()
        .ok();
    assert!(output.stderr.ends_with("status 0\n"), "{output:#?}");
    assert!(!cgroup::has("memory") || output.stderr.lines().count() == 1, "{output:#?}");
    data(&container, output.line());
}

/// A container whose children are killed for lack of memory, one after the other: they, and not the shell, even while the
/// kernel still takes the memory of the last one back.
fn hungry(kills: u32) -> Bundle {
    let child = "(echo 1000 > /proc/self/oom_score_adj; exec tail /dev/zero)";
    let script = format!("for i in $(seq {kills}); do {child}; done; echo done; sleep 600 & wait");
    Bundle::sh(&script).set("/linux/resources/memory/limit", 16 << 20)
}

fn oom_lines(lines: &str) -> usize {
    lines.lines().filter(|line| line.starts_with("{\"type\":\"oom\"")).count()
}

#[test]
fn one_line_for_each_oom_kill() {
    requires!(cgroup::has("memory"), "the memory controller");
    differs!(Runc, "repeats itself at every change on cgroup2, and tells of attempts on v1");
    const KILLS: u32 = 3;
    let container = hungry(KILLS).create();
    let mut events = watch(&container, "100ms");
    let mut seen = events.read_until("\n");
    container.start();
    container.says("done");
    let counters = cgroup::file("memory", &container.cgroup, "memory.oom_control", "memory.events");
    let counters = fs::read_to_string(counters).unwrap();
    assert!(counters.contains(&format!("oom_kill {KILLS}\n")), "{counters}");
    while oom_lines(&seen) < KILLS as usize {
        seen.push_str(&events.read_until("\n"));
    }
    // Time for a line too many.
    for _ in 0..3 {
        seen.push_str(&events.read_until("\n"));
    }
    container.kill("KILL");
    container.wait();
    seen.push_str(&events.wait().ok().no_stderr().stdout);
    let oom = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", container.id);
    let lines: Vec<&str> = seen.lines().filter(|line| !line.starts_with("{\"type\":\"stats\"")).collect();
    assert_eq!(lines, vec![&*oom; KILLS as usize]);
}

/// It is told although nobody is left to be looked at.
#[test]
fn the_oom_kill_of_the_first_process_is_told() {
    requires!(cgroup::has("memory"), "the memory controller");
    differs!(Runc, "on v1 it waits until the container is deleted");
    let container = Bundle::new().args(&["tail", "/dev/zero"]).set("/linux/resources/memory/limit", 16 << 20).create();
    let mut events = watch(&container, "200ms");
    events.read_until("\n");
    container.start();
    assert_eq!(container.wait(), 128 + 9);
    let output = events.wait().ok().no_stderr();
    let told = oom_lines(&output.stdout);
    assert_eq!(told, 1, "{output:#?}");
}

/// One OOM with many dead is one.
#[test]
fn an_oom_kill_of_the_whole_group_is_one() {
    requires!(cgroup::view() == View::Unified && cgroup::has("memory"), "the memory controller of cgroup2");
    differs!(Runc, "repeats itself at every change");
    let script = "sleep 600 & sleep 600 & tail /dev/zero";
    let bundle = Bundle::sh(script).set("/linux/resources/memory/limit", 16 << 20);
    let container = bundle.set("/linux/resources/unified", json!({"memory.oom.group": "1"})).create();
    let mut events = watch(&container, "200ms");
    events.read_until("\n");
    container.start();
    container.wait();
    let output = events.wait().ok().no_stderr();
    let told = oom_lines(&output.stdout);
    assert_eq!(told, 1, "{output:#?}");
}

#[test]
fn a_first_process_that_lacks_memory_dies_with_that_reason() {
    requires!(cgroup::has("memory"), "the memory controller");
    let refusal = Bundle::new().set("/linux/resources/memory/limit", 4096).create_fails();
    refusal.because("was killed for lack of memory (raise linux.resources.memory.limit)");
}
