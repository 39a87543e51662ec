//! Where the container is, and its limits of memory, processes and processor time: written, read back, and felt.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use rustix::fs::{XattrFlags, setxattr};
use serde_json::json;

use crate::support::cgroup::{self, View};
use crate::support::peer::is_corten;
use crate::support::refusal::Refusal;
use crate::support::rootfs::directory;
use crate::support::wait::until;
use crate::support::{Bundle, Container, differs, requires};

/// A file of the container's cgroup, with its name on v1 and on v2.
#[track_caller]
fn read(container: &Container, controller: &str, v1: &str, v2: &str) -> String {
    let file = cgroup::file(controller, &container.cgroup, v1, v2);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}")).trim().to_owned()
}

#[test]
fn the_program_is_in_its_cgroup_in_every_hierarchy_from_the_first_instruction() {
    let bundle = Bundle::new().args(&["cat", "/proc/self/cgroup"]);
    let path = bundle.cgroup.clone();
    let paths = cgroup::parse(&bundle.prints());
    for key in cgroup::mounted_keys() {
        assert_eq!(paths[&key], path, "hierarchy {key:?}");
    }
}

#[test]
fn placement_is_final_when_create_returns() {
    let container = Bundle::idle().create();
    let paths = cgroup::of_process(container.pid);
    for key in cgroup::mounted_keys() {
        assert_eq!(paths[&key], container.cgroup, "hierarchy {key:?}");
    }
    for directory in cgroup::directories(&container.cgroup) {
        let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        assert_eq!(members, format!("{}\n", container.pid), "{directory:?}");
    }
    container.start();
    assert_eq!(cgroup::of_process(container.pid), paths);
}

#[test]
fn children_are_in_it_too() {
    let container = Bundle::sh("sleep 600 & sleep 600 & echo ready; wait").start();
    container.says("ready");
    for directory in cgroup::directories(&container.cgroup) {
        let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        assert_eq!(members.lines().count(), 3, "{directory:?}");
    }
}

#[test]
fn the_runtime_itself_stays_where_it_was() {
    let before = fs::read_to_string("/proc/self/cgroup").unwrap();
    let container = Bundle::idle().start();
    assert_eq!(fs::read_to_string("/proc/self/cgroup").unwrap(), before);
    container.kill("KILL");
    container.wait();
    container.delete();
    assert_eq!(fs::read_to_string("/proc/self/cgroup").unwrap(), before);
}

#[test]
fn delete_removes_it_and_leaves_its_parent() {
    let bundle = Bundle::new();
    let parents: Vec<_> =
        cgroup::directories(&bundle.cgroup).into_iter().map(|it| it.parent().unwrap().to_owned()).collect();
    // What create makes goes with the container.
    parents.iter().for_each(|parent| directory(parent));
    let container = bundle.create();
    assert!(cgroup::directories(&container.cgroup).iter().all(|it| it.exists()));
    container.delete();
    assert!(!cgroup::directories(&container.cgroup).iter().any(|it| it.exists()));
    assert!(parents.iter().all(|it| it.exists()));
}

/// Whichever of them that is: the one that made a parent may go before others that are in it.
#[test]
fn parents_go_with_the_last_one() {
    differs!(Runc | Crun, "leave them behind");
    let bundles = [(); 2].map(|()| Bundle::new());
    let parent = format!("{}-parents", bundles[0].cgroup);
    let parents = cgroup::directories(&parent);
    let [first, second] = bundles.map(|bundle| {
        let path = format!("{parent}/inner/{}", bundle.id);
        bundle.set("/linux/cgroupsPath", &*path).create()
    });
    first.delete();
    assert!(parents.iter().all(|it| it.join("inner").exists()), "{parents:?}");
    second.delete();
    let left: Vec<_> = parents.iter().filter(|it| it.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// While some make what is missing, others take away what nobody is in any more.
#[test]
fn parents_come_and_go() {
    differs!(Runc | Crun, "leave them behind");
    let parent = Bundle::new().cgroup.clone() + "-parents/inner";
    let run = || {
        let bundle = Bundle::sh("echo ok");
        let path = format!("{parent}/{}", bundle.id);
        assert_eq!(bundle.set("/linux/cgroupsPath", path).prints(), "ok\n");
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..12).for_each(|_| run()));
        }
    });
    let left: Vec<_> = cgroup::directories(&parent).into_iter().filter(|it| it.parent().unwrap().exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whoever may write to a group may mark it, too.
#[test]
fn parents_of_others_stay_though_they_are_marked() {
    differs!(Runc | Crun, "leave all of them behind");
    for (owner, mode, goes) in [(0, 0o755, true), (1000, 0o755, false), (0, 0o775, false)] {
        let bundle = Bundle::new();
        let parent = format!("{}-parent", bundle.cgroup);
        let parents = cgroup::directories(&parent);
        for parent in &parents {
            directory(parent);
            setxattr(parent, "user.corten.made", &[], XattrFlags::empty()).unwrap();
            chown(parent, Some(owner), None).unwrap();
            fs::set_permissions(parent, Permissions::from_mode(mode)).unwrap();
        }
        let path = format!("{parent}/{}", bundle.id);
        bundle.set("/linux/cgroupsPath", path).create().delete();
        for parent in parents {
            assert_eq!(!parent.exists(), goes, "{parent:?} of {owner}, {mode:o}");
            let _ = fs::remove_dir(parent);
        }
    }
}

/// A relative path may start anywhere, but must be part of what /proc shows.
#[test]
fn a_relative_path() {
    for form in ["corten-test-relative-ID/leaf", "system.slice:docker:ID"] {
        let bundle = Bundle::new().args(&["cat", "/proc/self/cgroup"]);
        let path = form.replace("ID", &bundle.id);
        let paths = cgroup::parse(&bundle.set("/linux/cgroupsPath", &*path).prints());
        for key in cgroup::mounted_keys() {
            assert!(paths[&key].ends_with(&format!("/{path}")), "{key:?} {}", paths[&key]);
        }
        remove_parents(&path);
    }
}

/// The directory above the leaf, which nobody else removes.
fn remove_parents(path: &str) {
    let Some((parent, _)) = path.split_once('/') else { return };
    for hierarchy in cgroup::hierarchies() {
        // Below our own cgroup, which is not the root in every hierarchy.
        let own = cgroup::of_process(std::process::id().try_into().unwrap());
        for own in own.values() {
            let _ = fs::remove_dir(hierarchy.mount_point.join(own.trim_start_matches('/')).join(parent));
        }
    }
}

#[test]
fn without_a_path_it_has_one_with_the_id() {
    let bundle = Bundle::new().args(&["cat", "/proc/self/cgroup"]).remove("/linux/cgroupsPath");
    let id = bundle.id.clone();
    let paths = cgroup::parse(&bundle.prints());
    for key in cgroup::mounted_keys() {
        assert!(paths[&key].contains(&id), "{key:?} {}", paths[&key]);
    }
}

#[test]
fn a_path_with_dots_is_refused() {
    differs!(Runc | Crun, "cleans it, or takes it as it is");
    for form in ["/../../../ID", "../ID", "/ID/../..", "ID/../../../ID"] {
        let bundle = Bundle::new();
        let path = form.replace("ID", &bundle.id);
        let places: Vec<_> = cgroup::hierarchies()
            .iter()
            .flat_map(|it| [it.mount_point.join(path.trim_start_matches('/')), it.mount_point.join(&bundle.id)])
            .collect();
        let refusal = bundle.set("/linux/cgroupsPath", &*path).create_fails();
        refusal.names("linux.cgroupsPath: ").because(&format!("{path:?} contains \"..\""));
        let made: Vec<_> = places.iter().filter(|it| it.exists() && !it.ends_with("..")).collect();
        assert!(made.is_empty(), "{path:?}: {made:?}");
    }
}

#[test]
fn a_cgroup_with_processes_is_refused_and_left_alone() {
    differs!(Runc | Crun, "joins it in these versions, or has other words");
    for index in 0..cgroup::hierarchies().len() {
        for below in ["", "/below"] {
            let bundle = Bundle::new();
            bundle.write();
            let path = bundle.cgroup.clone();
            let occupied = cgroup::Occupied::new(&format!("{path}{below}")).by_process_in(index);
            let _parents = cgroup::Occupied::new(&path);
            let refusal = Refusal::from_output("create", bundle.command("create").output());
            refusal.names("linux.cgroupsPath: ").says("container's cgroup is not empty: 1 process(es) found");
            assert!(occupied.is_as_it_was(), "{index} {below}");
            assert!(!bundle.state_root().join(&bundle.id).exists());
            drop(occupied);
        }
    }
}

#[test]
fn a_frozen_cgroup_is_refused_and_left_alone() {
    differs!(Crun, "thaws it");
    for below in ["", "/below"] {
        let bundle = Bundle::new();
        let path = bundle.cgroup.clone();
        let bundle = bundle.set("/linux/cgroupsPath", format!("{path}{below}"));
        bundle.write();
        let occupied = cgroup::Occupied::new(&path);
        let frozen = cgroup::Frozen::new(&path);
        let refusal = Refusal::from_output("create", bundle.command("create").output());
        refusal.names("linux.cgroupsPath: ").says("container's cgroup unexpectedly frozen");
        assert!(occupied.is_as_it_was() && frozen.is_frozen(), "{below}");
        let made: Vec<_> = occupied.directories.iter().map(|it| it.join("below")).filter(|it| it.exists()).collect();
        assert!(made.is_empty(), "{made:?}");
    }
}

// ---- no cgroups ----

/// `--cgroup-manager` of Podman's `--cgroups=disabled`.
#[test]
fn without_a_cgroup_manager_it_stays_in_the_callers_cgroups() {
    differs!(Runc, "has no such flag");
    let devices = json!([{"allow": false, "access": "rwm"}]);
    let bundle = Bundle::idle().set("/linux/resources/devices", devices).global("--cgroup-manager=disabled");
    let container = bundle.create();
    let own = cgroup::of_process(std::process::id().try_into().unwrap());
    assert_eq!(cgroup::of_process(container.pid), own);
    assert!(!cgroup::directories(&container.cgroup).iter().any(|it| it.exists()));
    container.start();
    assert_eq!(container.runtime("exec").args([&container.id, "echo", "ok"]).output().ok().no_stderr().line(), "ok");
    // Those who are in the caller's cgroups are not all the container's.
    for (command, flags) in [("pause", &[][..]), ("update", &["--pids-limit", "9"])] {
        let output = container.runtime(command).args(flags).arg(&container.id).output();
        let refusal = Refusal::from_output(command, output);
        assert!(!is_corten() || refusal.text.contains("cgroup"), "{}", refusal.text);
    }
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    assert_eq!(container.wait(), 128 + 9);
    container.delete();
}

#[test]
fn without_a_cgroup_manager_there_are_no_limits() {
    differs!(Runc | Crun, "has no such flag, or drops them");
    let bundle = Bundle::new().set("/linux/resources/pids/limit", 9).global("--cgroup-manager=disabled");
    bundle.create_fails().names("linux.resources: ").because("--cgroup-manager is disabled");
}

#[test]
fn an_unknown_cgroup_manager_is_refused() {
    differs!(Runc, "has no such flag");
    let refusal = Bundle::new().global("--cgroup-manager=none").create_fails();
    refusal.names("--cgroup-manager: ").because("\"none\" is not cgroupfs, systemd or disabled");
}

#[test]
fn the_systemd_driver_needs_systemd() {
    requires!(!fs::exists("/run/systemd/system").unwrap(), "a machine without systemd");
    Bundle::new().global("--systemd-cgroup").create_fails().because("systemd");
}

// ---- memory ----

#[test]
fn memory_limit_is_written() {
    requires!(cgroup::has("memory"), "the memory controller");
    let container = Bundle::idle().set("/linux/resources/memory/limit", 64 << 20).create();
    assert_eq!(read(&container, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
}

#[test]
fn memory_limit_bites() {
    requires!(cgroup::has("memory"), "the memory controller");
    let container = Bundle::new().args(&["tail", "/dev/zero"]).set("/linux/resources/memory/limit", 24 << 20).start();
    assert_eq!(container.wait(), 128 + 9);
    let events = read(&container, "memory", "memory.oom_control", "memory.events");
    assert!(events.contains("oom_kill 1"), "{events}");
}

#[test]
fn memory_reservation_and_swap() {
    requires!(cgroup::has("memory"), "the memory controller");
    let memory = json!({"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20});
    let container = Bundle::idle().set("/linux/resources/memory", memory).create();
    assert_eq!(read(&container, "memory", "memory.soft_limit_in_bytes", "memory.low"), (32 << 20).to_string());
    let swap = if cgroup::view() == View::Unified { 32 << 20 } else { 96 << 20 };
    let file = cgroup::file("memory", &container.cgroup, "memory.memsw.limit_in_bytes", "memory.swap.max");
    requires!(file.exists(), "swap accounting");
    assert_eq!(fs::read_to_string(file).unwrap().trim(), swap.to_string());
}

#[test]
fn memory_unlimited() {
    requires!(cgroup::has("memory"), "the memory controller");
    let container = Bundle::idle().set("/linux/resources/memory/limit", -1).create();
    let limit = read(&container, "memory", "memory.limit_in_bytes", "memory.max");
    assert!(limit == "max" || limit.parse::<u64>().unwrap() > 1 << 62, "{limit}");
}

#[test]
fn a_small_memory_limit_starts_a_small_program() {
    differs!(Runc, "may need 3 MiB for itself");
    requires!(cgroup::has("memory"), "the memory controller");
    let bundle = Bundle::sh("echo ok").set("/linux/resources/memory/limit", 2 << 20);
    assert_eq!(bundle.prints(), "ok\n");
}

// ---- processes ----

#[test]
fn pids_limit_is_written_and_bites() {
    requires!(cgroup::has("pids"), "the pids controller");
    let script = "sleep 600 & sleep 600 & sleep 600 & sleep 600 & sleep 600 & echo not reached";
    let container = Bundle::sh(script).set("/linux/resources/pids/limit", 3).start();
    assert_eq!(read(&container, "pids", "pids.max", "pids.max"), "3");
    container.wait();
    assert!(container.stderr().contains("can't fork"), "{}", container.stderr());
    assert!(!container.stdout().contains("not reached"));
}

#[test]
fn pids_unlimited() {
    requires!(cgroup::has("pids"), "the pids controller");
    let container = Bundle::idle().set("/linux/resources/pids/limit", -1).create();
    assert_eq!(read(&container, "pids", "pids.max", "pids.max"), "max");
}

// ---- processor ----

#[test]
fn cpu_shares_are_written() {
    requires!(cgroup::has("cpu"), "the cpu controller");
    for (shares, weight) in [(1024, "100"), (512, "59")] {
        let container = Bundle::idle().set("/linux/resources/cpu/shares", shares).create();
        let expected = if cgroup::view() == View::Unified { weight.to_owned() } else { shares.to_string() };
        assert_eq!(read(&container, "cpu", "cpu.shares", "cpu.weight"), expected);
    }
}

#[test]
fn cpu_quota_is_written() {
    requires!(cgroup::has("cpu"), "the cpu controller");
    let container = Bundle::idle().set("/linux/resources/cpu", json!({"quota": 25_000, "period": 50_000})).create();
    let quota = read(&container, "cpu", "cpu.cfs_quota_us", "cpu.max");
    match cgroup::view() {
        View::Unified => assert_eq!(quota, "25000 50000"),
        View::Hybrid => {
            assert_eq!(quota, "25000");
            assert_eq!(read(&container, "cpu", "cpu.cfs_period_us", ""), "50000");
        }
    }
}

#[test]
fn cpu_quota_bites() {
    requires!(cgroup::has("cpu"), "the cpu controller");
    // More than one, which together are too busy on a busy machine, too.
    let script = "for i in 1 2 3; do while :; do :; done & done; while :; do :; done";
    let container = Bundle::sh(script).set("/linux/resources/cpu", json!({"quota": 20_000, "period": 100_000})).start();
    let is_throttled = || {
        let stat = read(&container, "cpu", "cpu.stat", "cpu.stat");
        let periods = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "))?;
        (periods != "0").then_some(())
    };
    until("throttled periods", is_throttled);
}

#[test]
fn cpuset_is_written() {
    requires!(cgroup::has("cpuset"), "the cpuset controller");
    let container = Bundle::idle().set("/linux/resources/cpu", json!({"cpus": "0", "mems": "0"})).create();
    assert_eq!(read(&container, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert!(container.proc("status").contains("Cpus_allowed_list:\t0\n"));
}

#[test]
fn limits_are_there_before_the_program_is() {
    requires!(cgroup::has("pids"), "the pids controller");
    let bundle =
        Bundle::sh("cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null").namespace("cgroup", None);
    let bundle = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
    let output = bundle.set("/linux/resources/pids/limit", 77).run();
    assert_eq!(output.stdout, "77\n");
}

#[test]
fn a_limit_that_the_kernel_refuses_leaves_nothing() {
    requires!(cgroup::has("cpu"), "the cpu controller");
    let cpu = json!({"quota": 10, "period": 100_000});
    Bundle::new().set("/linux/resources/cpu", cpu).create_fails().names("linux.resources.cpu").says("invalid argument");
    requires!(cgroup::has("cpuset"), "the cpuset controller");
    let refusal = Bundle::new().set("/linux/resources/cpu/cpus", "4000").create_fails();
    refusal.names("linux.resources.cpu.cpus");
}

#[test]
fn a_limit_whose_controller_is_missing_is_refused() {
    requires!(!cgroup::has("memory"), "a view without the memory controller");
    let refusal = Bundle::new().set("/linux/resources/memory/limit", 64 << 20).create_fails();
    refusal.names("linux.resources.memory").because("memory");
}

#[test]
fn no_resources_are_no_limits() {
    requires!(cgroup::has("pids"), "the pids controller");
    let container = Bundle::idle().create();
    assert_eq!(read(&container, "pids", "pids.max", "pids.max"), "max");
}
