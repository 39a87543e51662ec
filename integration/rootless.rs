//! As a user without privileges. Where root runs the tests it makes itself one, who may not make cgroups; in the guest
//! (`integration/vm`) it is `u`, under that user's own service manager, who may, and in a session beside it, who may not.

use std::fs;

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::phrases::{DISCOURAGED, ROOTLESS_LIMITS};
use crate::support::run::Run;
use crate::support::{Bundle, Sandbox, cgroup, differs, requires};

/// Whoever was started by his own service manager may, beside himself.
fn may_make_cgroups() -> bool {
    !geteuid().is_root() && cgroup::home().is_some()
}

fn sh(script: &str) -> Bundle {
    Bundle::sh(script).without_privileges()
}

#[test]
fn spec_maps_root_to_the_user() {
    requires!(!geteuid().is_root(), "a user without privileges");
    let sandbox = Sandbox::new();
    sandbox.runtime("spec").args(["--rootless", "--bundle"]).arg(sandbox.path("")).output().ok().silent();
    let config: Value = serde_json::from_slice(&fs::read(sandbox.path("config.json")).unwrap()).unwrap();
    let of_one = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    assert_eq!(config["linux"]["uidMappings"], of_one(geteuid().as_raw()));
    assert_eq!(config["linux"]["gidMappings"], of_one(rustix::process::getegid().as_raw()));
}

/// The example as `spec` writes it, with the state where a user's is by default.
#[test]
fn the_example_runs() {
    let bundle = sh("");
    let call = |command: &str| {
        bundle.program().env("XDG_RUNTIME_DIR", bundle.path("state")).dir(&bundle.bundle()).arg(command)
    };
    call("spec").arg("--rootless").output().ok().silent();
    let path = bundle.bundle().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", "id -u; id -g; hostname; echo $$; ls /dev; echo > /dev/null"]);
    fs::write(&path, config.to_string()).unwrap();
    let printed = call("run").arg(&bundle.id).output().ok().no_stderr().stdout;
    let words: Vec<_> = printed.split_whitespace().collect();
    assert_eq!(words[..2], ["0", "0"], "{printed}");
    assert_eq!(words[3], "1", "{printed}");
    assert!(words.contains(&"null") && words.contains(&"urandom"), "{printed}");
    let program = if crate::support::peer::is_corten() { "corten" } else { "runc" };
    fs::remove_dir(bundle.path("state").join(program)).unwrap();
}

#[test]
fn a_whole_life() {
    let container = sh("trap 'exit 7' TERM; echo ready; sleep 600 & wait").create();
    assert_eq!(container.status(), "created");
    container.start();
    container.says("ready");
    assert_eq!(container.status(), "running");
    let list = container.runtime("list").arg("--quiet").output().ok().stdout;
    assert_eq!(list.trim(), container.id);
    container.kill("TERM");
    assert_eq!(container.wait(), 7);
    assert_eq!(container.status(), "stopped");
    container.delete();
}

#[test]
fn running_ones_are_killed_and_deleted() {
    let container = sh("sleep 600 & sleep 600").start();
    container.runtime("delete").args(["--force", &container.id]).output().ok().silent();
    container.assert_nothing_left();
}

/// Nothing was asked for that needs another one.
#[test]
fn it_stays_in_the_callers_cgroups() {
    requires!(!may_make_cgroups(), "a user who may not make cgroups");
    let devices = json!([{"allow": false, "access": "rwm"}]);
    let container = sh("sleep 600").set("/linux/resources/devices", devices).create();
    assert_eq!(cgroup::of_process(container.pid), cgroup::of_process(std::process::id().try_into().unwrap()));
    container.start();
    container.kill("KILL");
    container.wait();
    container.delete();
}

#[test]
fn it_has_a_group_where_the_user_may_make_one() {
    requires!(may_make_cgroups(), "a user who may make cgroups");
    let container = sh("sleep 600").set("/linux/resources/pids/limit", 7).create();
    let group = &cgroup::of_process(container.pid)[""];
    assert!(group.ends_with(&container.id), "{group}");
    let directory = &cgroup::directories(group)[0];
    assert_eq!(fs::read_to_string(directory.join("pids.max")).unwrap(), "7\n");
    container.start();
    container.kill("KILL");
    container.wait();
    container.delete();
    assert!(!directory.exists());
}

#[test]
fn limits_need_a_group() {
    requires!(!may_make_cgroups(), "a user who may not make cgroups");
    let controller = if cgroup::has("pids") { "pids" } else { "hugetlb" };
    requires!(cgroup::has(controller), "the pids or hugetlb controller");
    let limits = match controller {
        "pids" => json!({"pids": {"limit": 7}}),
        _ => json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}),
    };
    let refusal = sh("true").set("/linux/resources", limits).create_fails();
    refusal.names("linux.resources").because(ROOTLESS_LIMITS).ends("permission denied");
}

#[test]
fn a_path_that_was_asked_for_must_be_made() {
    let bundle = sh("true");
    let path = format!("/{}", bundle.id);
    let refusal = bundle.set("/linux/cgroupsPath", path.as_str()).create_fails();
    refusal.because(&path).ends("permission denied");
}

#[test]
fn who_says_that_it_is_not_rootless_must_be_able_to_make_groups() {
    requires!(!may_make_cgroups(), "a user who may not make cgroups");
    differs!(Runc | Crun, "ignores it for somebody who is not root");
    let refusal = sh("true").global("--rootless=false").create_fails();
    refusal.because("create cgroup").ends("permission denied");
}

/// Root whose cgroups are read-only, as in a container.
#[test]
fn who_says_that_it_is_rootless_may_do_without_groups() {
    requires!(geteuid().is_root(), "root");
    differs!(Crun, "knows this of itself");
    let readonly = |flags: &[&str]| {
        let bundle = Bundle::sh("cat /proc/self/cgroup").remove("/linux/cgroupsPath");
        let bundle = bundle.after_host_mounts(
            "grep -o ' /sys/fs/cgroup[^ ]* ' /proc/self/mounts | xargs -n 1 mount -o remount,bind,ro",
        );
        flags.iter().fold(bundle, |bundle, flag| bundle.global(*flag))
    };
    readonly(&["--rootless=false"]).run_fails().because("create cgroup").ends("read-only file system");
    readonly(&[]).run_fails().because("create cgroup").ends("read-only file system");
    let printed = readonly(&["--rootless=true"]).prints();
    assert_eq!(cgroup::parse(&printed), cgroup::of_process(std::process::id().try_into().unwrap()));
}

/// CVE-2023-25809.
#[test]
fn the_callers_cgroups_cannot_be_changed_from_inside() {
    let bundle = sh("cd /sys/fs/cgroup; for d in ./ */; do mkdir $d/made 2>&1; done; echo end");
    let printed = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]).run().stdout;
    assert!(printed.ends_with("end\n"), "{printed}");
    let refused = |line: &str| line.contains("ead-only") || line.contains("denied") || line.contains("No such");
    assert!(printed.lines().all(|line| line == "end" || refused(line)), "{printed}");
}

/// The intermediate process has its ids mapped, too.
#[test]
fn with_an_intermediate_process() {
    differs!(Runc, "knows no time namespaces");
    let bundle = sh("id -u; cat /proc/self/timens_offsets").namespace("time", None);
    let printed = bundle.set("/linux/timeOffsets/boottime/secs", 1000).prints();
    assert!(printed.starts_with("0\n") && printed.contains("1000"), "{printed}");
}

/// user_namespaces(7): who maps his own group has given up setgroups(2).
#[test]
fn further_groups_are_refused() {
    sh("true").set("/process/user/additionalGids", json!([0])).create_fails().names("process.user");
}

#[test]
fn the_oom_score_can_be_raised_and_not_lowered() {
    let raised = sh("cat /proc/self/oom_score_adj").set("/process/oomScoreAdj", 500);
    assert_eq!(raised.prints(), "500\n");
    sh("true").set("/process/oomScoreAdj", -1000).create_fails().names("process.oomScoreAdj").ends("permission denied");
}

#[test]
fn more_ids_take_a_helper() {
    differs!(Crun, "tries without");
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    // The machine may have it.
    let bundle = sh("true").set("/linux/uidMappings", map).through(["env", "PATH=/no/where"]);
    let refusal = bundle.create_fails();
    refusal.names("linux.uidMappings").because("newuidmap: fork/exec: ").because("(a user who maps more");
}

#[test]
fn more_ids_with_the_helper() {
    let has_helper = Run::host_sh("command -v newuidmap").output().status.success();
    let has_ids = fs::read_to_string("/etc/subuid").unwrap_or_default().starts_with("u:");
    requires!(has_helper && has_ids && !geteuid().is_root(), "a user with newuidmap and subordinate ids");
    let subordinate: u32 = fs::read_to_string("/etc/subuid").unwrap().split(':').nth(1).unwrap().parse().unwrap();
    let map = json!([
        {"containerID": 0, "hostID": geteuid().as_raw(), "size": 1},
        {"containerID": 1, "hostID": subordinate, "size": 10},
    ]);
    let bundle = sh("id -u; id -g").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    assert_eq!(bundle.set("/process/user", json!({"uid": 5, "gid": 6})).prints(), "5\n6\n");
}

#[test]
fn the_pid_namespace_is_what_ends_it() {
    differs!(Runc | Crun, "says nothing in these versions");
    requires!(!may_make_cgroups(), "a user who may not make cgroups");
    let mounts = json!([{"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]}]);
    let bundle = sh("exit 0").without_namespace("pid").set("/mounts", mounts);
    let output = bundle.run().ok();
    assert!(output.stderr.contains(DISCOURAGED), "{output:#?}");
}

/// As root of a user namespace, which knows of no other.
#[test]
fn root_of_a_user_namespace() {
    let bundle = Bundle::sh("id -u; cat /proc/self/uid_map").without_privileges();
    let bundle = bundle.remove("/linux/uidMappings").remove("/linux/gidMappings").without_namespace("user");
    let devices = json!([{"allow": false, "access": "rwm"}]);
    let bundle = bundle.set("/linux/resources/devices", devices);
    let printed = bundle.through(["unshare", "--user", "--map-root-user", "--mount", "--"]).prints();
    let words: Vec<_> = printed.split_whitespace().collect();
    assert_eq!((words[0], words[1], words[3]), ("0", "0", "1"), "{printed}");
}
