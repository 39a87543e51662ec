//! The systemd driver: the unit as systemd shows it, the cgroup as the kernel does, and neither when the container is gone.
//!
//! On machines that systemd runs: the guest, as a rule. What a user runs is his own systemd's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::cgroup::{self, View};
use crate::support::container::detached;
use crate::support::peer::is_corten;
use crate::support::systemd::{
    cgroup as cgroup_at, daemon_reload, default_slice, in_default_slice, in_scope, is_a_users, is_here, property,
    scope_of, systemctl, units,
};
use crate::support::{Bundle, Container, differs, requires};

fn directory(controller: &str, cgroup: &str) -> PathBuf {
    cgroup::directory_of(controller, cgroup).expect("the test requires the controller")
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}")).trim().to_owned()
}

#[test]
fn the_unit_and_the_kernel_s_files_have_the_limits() {
    requires!(is_here() && cgroup::view() == View::Unified, "systemd on cgroup v2");
    let resources = json!({
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 80 << 20},
        "cpu": {"shares": 512, "quota": 25_000, "period": 50_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 77},
        "unified": {"memory.high": "50331648", "memory.oom.group": "1"}
    });
    let bundle = in_default_slice(Bundle::idle());
    let scope = scope_of(&bundle);
    let container = bundle.set("/linux/resources", resources).create();
    for (name, value) in [
        ("ActiveState", "active"),
        ("ControlGroup", &*container.cgroup),
        ("Slice", default_slice()),
        ("Description", &format!("corten container {}", container.id)),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "16777216"),
        ("MemoryHigh", "50331648"),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("CPUQuotaPeriodUSec", "50ms"),
        ("AllowedCPUs", "0"),
        ("AllowedMemoryNodes", "0"),
        ("TasksMax", "77"),
        ("OOMPolicy", "kill"),
        ("DevicePolicy", "auto"),
    ] {
        // The description is the engine's own, the policy a decision of ours.
        if is_corten() || !matches!(name, "Description" | "DevicePolicy") {
            assert_eq!(property(&scope, name), value, "{name}");
        }
    }
    let directory = directory("memory", &container.cgroup);
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.swap.max", "16777216"),
        ("memory.high", "50331648"),
        ("memory.oom.group", "1"),
        ("cpu.weight", "59"),
        ("cpu.max", "25000 50000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "77"),
        ("cgroup.procs", &container.pid.to_string()),
    ] {
        assert_eq!(read(directory.join(file)), value, "{file}");
    }
    container.start();
    container.kill("KILL");
    container.wait();
    container.delete();
    assert_eq!(units(&scope), "");
}

#[test]
fn the_first_process_is_in_the_scope_in_every_hierarchy() {
    requires!(is_here(), "systemd");
    let bundle = in_default_slice(Bundle::new().args(&["cat", "/proc/self/cgroup"]));
    let path = bundle.cgroup.clone();
    let paths = cgroup::parse(&bundle.prints());
    for key in cgroup::mounted_keys() {
        assert_eq!(paths[&key], path, "hierarchy {key:?}");
    }
}

/// The placeholder needs room, too, and must be gone when the program runs.
#[test]
fn a_limit_of_one_process() {
    requires!(is_here() && cgroup::has("pids"), "systemd and the pids controller");
    let script = "true & wait $! && echo not reached";
    let container = in_default_slice(Bundle::sh(script)).set("/linux/resources/pids/limit", 1).create();
    assert_eq!(read(directory("pids", &container.cgroup).join("pids.max")), "1");
    container.start();
    container.wait();
    assert!(container.stderr().contains("can't fork"), "{}", container.stderr());
}

#[test]
fn what_ran_out_of_memory_leaves_no_unit() {
    requires!(is_here() && cgroup::has("memory"), "systemd and the memory controller");
    let bundle = in_default_slice(Bundle::new().args(&["tail", "/dev/zero"]));
    let scope = scope_of(&bundle);
    let container = bundle.set("/linux/resources/memory/limit", 24 << 20).start();
    assert_eq!(container.wait(), 128 + 9);
    container.delete();
    assert_eq!(units(&scope), "");
}

#[test]
fn annotations_become_properties() {
    requires!(is_here(), "systemd");
    let annotations = json!({
        "org.systemd.property.TimeoutStopSec": "33",
        "org.systemd.property.After": "['dbus.service', 'local-fs.target']",
        "org.systemd.property.KillSignal": "15",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.DefaultDependencies": "true",
        "org.systemd.property.RuntimeMaxUSec": "uint64 3600000000",
        "org.systemd.other": "none of its business"
    });
    let bundle = in_default_slice(Bundle::idle());
    let scope = scope_of(&bundle);
    let _container = bundle.set("/annotations", annotations).create();
    for (name, value) in [
        ("TimeoutStopUSec", "33s"),
        ("KillSignal", "15"),
        ("CollectMode", "inactive-or-failed"),
        ("DefaultDependencies", "yes"),
        ("RuntimeMaxUSec", "1h"),
    ] {
        assert_eq!(property(&scope, name), value, "{name}");
    }
    let after = property(&scope, "After");
    assert!(after.contains("dbus.service") && after.contains("local-fs.target"), "{after}");
}

#[test]
fn annotations_that_systemd_refuses() {
    requires!(is_here(), "systemd");
    for (name, value, cause) in [
        ("KillSignal", "x", "\"x\" is neither a value nor a type"),
        ("Ab", "1", "\"Ab\" is not the name of a property"),
        ("TimeoutStopSec", "'soon'", "is not a number of seconds"),
        ("NoSuchProperty", "1", "cannot set property NoSuchProperty"),
        ("KillSignal", "'text'", "failed to set unit properties"),
    ] {
        let bundle = in_default_slice(Bundle::idle());
        let scope = scope_of(&bundle);
        let annotations = json!({format!("org.systemd.property.{name}"): value});
        bundle.set("/annotations", annotations).create_fails().because(cause);
        assert_eq!(units(&scope), "");
    }
}

#[test]
fn a_failed_create_leaves_no_unit() {
    requires!(is_here() && cgroup::has("cpuset"), "systemd and the cpuset controller");
    let missing = Bundle::new().args(&["no-such-program"]);
    let cpus = Bundle::new().set("/linux/resources/cpu/cpus", "4000");
    for (bundle, property) in [(missing, "process.args[0]"), (cpus, "linux.resources.cpu.cpus")] {
        let bundle = in_default_slice(bundle);
        let scope = scope_of(&bundle);
        bundle.create_fails().names(property);
        assert_eq!(units(&scope), "");
    }
}

/// Nobody is left to undo what was done but `delete --force`.
#[test]
fn a_killed_create_leaves_nothing_that_delete_does_not_find() {
    requires!(is_here(), "systemd");
    let bundle = in_default_slice(Bundle::idle());
    let scope = scope_of(&bundle);
    let hooked = bundle.path("hooked");
    let hook = format!("echo $$ > {0}.tmp; mv {0}.tmp {0}; exec sleep 600", hooked.display());
    let kill = format!("\"$@\" & until [ -e {} ]; do sleep 0.1; done; kill -KILL $!; exit 1", hooked.display());
    let bundle =
        bundle.hook("createRuntime", json!({"path": "/bin/sh", "args": ["sh", "-c", hook]})).after_host_sh(&kill);
    bundle.write();
    assert!(!detached(&bundle, "create").output().status.success());
    let hook = Pid::from_raw(read(hooked).parse().unwrap()).unwrap();
    kill_process(hook, Signal::KILL).unwrap();
    bundle.runtime("delete").args(["--force", &bundle.id]).output().ok();
    assert_eq!(units(&scope), "");
}

#[test]
fn what_is_left_of_a_failed_unit_is_replaced() {
    requires!(is_here(), "systemd");
    // It hears no SIGTERM, as a first process without a trap.
    let first = in_default_slice(Bundle::new().args(&["sleep", "600"]));
    let (scope, path) = (scope_of(&first), first.config["linux"]["cgroupsPath"].clone());
    let patience = json!({"org.systemd.property.TimeoutStopUSec": "uint64 100000"});
    let first = first.set("/annotations", patience).start();
    systemctl(&["stop", &scope]);
    assert_eq!(property(&scope, "ActiveState"), "failed");
    let second = in_default_slice(Bundle::idle()).in_cgroup(&first.cgroup).set("/linux/cgroupsPath", path).create();
    assert_eq!(property(&scope, "ActiveState"), "active");
    // What the first one has made on v1 goes with the first one.
    second.call("delete").ok().silent();
    assert_eq!(units(&scope), "");
    drop(first);
    second.assert_nothing_left();
}

#[test]
fn a_unit_of_somebody_else_is_refused_and_stays() {
    requires!(is_here(), "systemd");
    let first = in_default_slice(Bundle::idle());
    let (scope, path) = (scope_of(&first), first.config["linux"]["cgroupsPath"].clone());
    let first = first.start();
    let second = in_default_slice(Bundle::idle()).set("/linux/cgroupsPath", path);
    second.create_fails().names("linux.cgroupsPath");
    assert_eq!(property(&scope, "ActiveState"), "active");
    assert_eq!(first.status(), "running");
}

#[test]
fn a_path_that_is_not_slice_prefix_name() {
    requires!(is_here(), "systemd");
    for (path, why) in [
        (
            "/a/b",
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/a/b\" instead",
        ),
        ("system.slice:x", "got \"system.slice:x\" instead"),
        ("system:p:n", "\"system\" is not the name of a slice"),
        ("a--b.slice:p:n", "\"a--b.slice\" is not the name of a slice"),
        ("system.slice:p:n/m", "cannot be in the name of a unit"),
    ] {
        let refusal = in_default_slice(Bundle::new()).set("/linux/cgroupsPath", path).create_fails();
        refusal.names("linux.cgroupsPath").because(why);
    }
}

#[test]
fn slices_are_nested_by_their_names() {
    requires!(is_here(), "systemd");
    let bundle = Bundle::idle();
    let top = format!("t{}", bundle.id.replace('-', ""));
    let slices = [format!("{top}.slice"), format!("{top}-a.slice"), format!("{top}-a-b.slice")];
    let parent = format!("/{}", slices.join("/"));
    let bundle = in_scope(bundle, &slices[2], &parent);
    let scope = scope_of(&bundle);
    let container = bundle.create();
    let path = cgroup_at(&format!("{parent}/{scope}"));
    for key in cgroup::mounted_keys() {
        assert_eq!(cgroup::of_process(container.pid)[&key], path, "hierarchy {key:?}");
    }
    assert_eq!(property(&scope, "Slice"), slices[2]);
    container.delete();
    assert_eq!(units(&scope), "");
    systemctl(&["stop", &slices[0]]);
}

#[test]
fn the_root_slice_and_the_default_one() {
    requires!(is_here(), "systemd");
    for (slice, parent) in [("-", "".to_owned()), ("", format!("/{}", default_slice()))] {
        let bundle = in_scope(Bundle::new().args(&["cat", "/proc/self/cgroup"]), slice, &parent);
        let path = bundle.cgroup.clone();
        assert!(bundle.prints().contains(&format!(":{path}\n")), "{slice:?}");
    }
}

#[test]
fn without_a_path_it_is_named_after_the_id() {
    differs!(Runc | Crun, "has its own name in it");
    requires!(is_here(), "systemd");
    let bundle = in_default_slice(Bundle::new().args(&["cat", "/proc/self/cgroup"]));
    let path = bundle.cgroup.clone();
    assert!(bundle.remove("/linux/cgroupsPath").prints().contains(&format!(":{path}\n")));
}

/// NVIDIA's classic: devices that went away when systemd visited the cgroup again.
#[test]
fn limits_and_devices_survive_a_reload() {
    requires!(is_here() && !is_a_users() && cgroup::has("memory"), "root's systemd and the memory controller");
    let resources = json!({
        "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}],
        "memory": {"limit": 64 << 20},
        "cpu": {"shares": 512, "quota": 12_345, "period": 50_000},
        "pids": {"limit": 50}
    });
    let bundle = in_default_slice(Bundle::idle());
    let scope = scope_of(&bundle);
    let container = bundle.set("/linux/resources", resources).start();
    let before = limits(&container);
    let devices = || [("kmsg", "0x1 0xb"), ("fuse", "0xa 0xe5")].map(|(name, number)| opens(&container, name, number));
    assert_eq!(devices(), [true, false]);
    daemon_reload();
    assert_eq!((limits(&container), devices()), (before.clone(), [true, false]), "daemon-reload");
    // Whatever makes systemd write the group's files again.
    systemctl(&["set-property", "--runtime", &scope, "MemoryLow=1M"]);
    assert_eq!(devices(), [true, false], "set-property");
    let mut rounded = before;
    if let Some(quota) = rounded.iter_mut().find(|line| line.contains("12345")) {
        // Systemd knows whole percents.
        *quota = quota.replace("12345", "12500");
    }
    assert_eq!(limits(&container), rounded, "set-property");
}

fn limits(container: &Container) -> Vec<String> {
    let files = [
        ("memory", "memory.limit_in_bytes", "memory.max"),
        ("cpu", "cpu.shares", "cpu.weight"),
        ("cpu", "cpu.cfs_quota_us", "cpu.max"),
        ("pids", "pids.max", "pids.max"),
    ];
    files.map(|(controller, v1, v2)| read(cgroup::file(controller, &container.cgroup, v1, v2))).into()
}

/// Whether a process in the container's cgroup can open the character device.
fn opens(container: &Container, name: &str, number: &str) -> bool {
    let node = container.path(name);
    let key = if cgroup::view() == View::Unified { "memory" } else { "devices" };
    let group = directory(key, &container.cgroup);
    let script = format!(
        "[ -e {node} ] || mknod {node} c {number}; echo 0 > {group}/cgroup.procs; exec 3< {node}",
        node = node.display(),
        group = group.display()
    );
    Command::new("sh").args(["-c", &script]).output().unwrap().status.success()
}

/// The driver is remembered: nobody says it again.
#[test]
fn later_commands_need_no_flag() {
    requires!(is_here(), "systemd");
    let bundle = in_default_slice(Bundle::sh("trap '' TERM; sleep 600 & sleep 600"));
    let scope = scope_of(&bundle);
    let container = bundle.start();
    container.runtime("delete").args(["--force", &container.id]).output().ok().silent();
    assert_eq!(units(&scope), "");
    container.assert_nothing_left();
}

#[test]
fn cgroup_manager_systemd_is_the_same() {
    differs!(Runc, "has no such flag");
    requires!(is_here(), "systemd");
    let bundle = in_default_slice(Bundle::new().args(&["cat", "/proc/self/cgroup"]));
    let path = bundle.cgroup.clone();
    assert!(bundle.global("--cgroup-manager=systemd").prints().contains(&format!(":{path}\n")));
}

#[test]
fn what_the_container_made_below_its_cgroup_goes_too() {
    requires!(is_here() && cgroup::view() == View::Unified, "systemd on cgroup v2");
    let bundle = in_default_slice(Bundle::idle());
    let scope = scope_of(&bundle);
    let container = bundle.start();
    let deep = directory("memory", &container.cgroup).join("inner/most");
    fs::DirBuilder::new().recursive(true).create(deep).unwrap();
    container.kill("KILL");
    container.wait();
    container.delete();
    assert_eq!(units(&scope), "");
}
