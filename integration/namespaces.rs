//! All eight kinds of namespaces: created, inherited, joined by path, and each pair of them joined together.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::holder::{Holder, link};
use crate::support::{Bundle, differs, peer, requires};

/// Kind in config.json, name below /proc/PID/ns, flag of unshare(1).
const KINDS: [(&str, &str, &str); 8] = [
    ("pid", "pid", "--pid"),
    ("network", "net", "--net"),
    ("ipc", "ipc", "--ipc"),
    ("uts", "uts", "--uts"),
    ("mount", "mnt", "--mount"),
    ("user", "user", "--user"),
    ("cgroup", "cgroup", "--cgroup"),
    ("time", "time", "--time"),
];

/// Whether the program under test knows the kind at all.
fn known(kind: &str) -> bool {
    kind != "time" || peer::peer() != crate::support::Peer::Runc
}

fn own(name: &str) -> String {
    link(Path::new(&format!("/proc/self/ns/{name}")))
}

/// A bundle with no namespaces but these. The kernel lets a user namespace mount a new proc only together with a new pid
/// namespace (and so on), so it has the host's.
fn only(kinds: &[(&str, Option<PathBuf>)]) -> Bundle {
    let mounts = json!([
        {"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
    ]);
    let bundle = Bundle::sh("sleep 600").set("/linux/namespaces", json!([])).set("/mounts", mounts).remove("/hostname");
    kinds.iter().fold(bundle, |bundle, (kind, path)| bundle.namespace(kind, path.clone()))
}

/// As the mount namespace is always new here, tests of other kinds need not clean up mounts.
fn with(kind: &str, path: Option<PathBuf>) -> Bundle {
    match kind {
        "user" if path.is_none() => only(&[("mount", None)]).user_namespace(100_000),
        "mount" => only(&[(kind, path)]),
        _ => only(&[("mount", None), (kind, path)]),
    }
}

#[test]
fn a_new_one_of_each_kind() {
    for (kind, name, _) in KINDS.iter().filter(|(kind, _, _)| known(kind)) {
        let container = with(kind, None).create();
        assert_ne!(container.namespace(name), own(name), "{kind}");
        for (_, other, _) in KINDS.iter().filter(|(_, other, _)| other != name && *other != "mnt") {
            assert_eq!(container.namespace(other), own(other), "{kind} alone, but {other} too");
        }
    }
}

#[test]
fn all_of_them_at_once() {
    let bundle = only(&[]).user_namespace(100_000);
    let kinds = KINDS.iter().filter(|(kind, _, _)| known(kind) && *kind != "user");
    let container = kinds.fold(bundle, |bundle, (kind, _, _)| bundle.namespace(kind, None)).create();
    for (_, name, _) in KINDS.iter().filter(|(kind, _, _)| known(kind)) {
        assert_ne!(container.namespace(name), own(name), "{name}");
    }
    container.start();
    for (_, name, _) in KINDS.iter().filter(|(kind, _, _)| known(kind)) {
        assert_ne!(container.namespace(name), own(name), "{name}");
    }
}

#[test]
fn what_is_not_listed_is_inherited() {
    let container = only(&[("mount", None)]).create();
    for (_, name, _) in KINDS.iter().filter(|(_, name, _)| *name != "mnt") {
        assert_eq!(container.namespace(name), own(name), "{name}");
    }
}

/// A holder of new namespaces, by flags of unshare(1); a user namespace gets the mapping of `Bundle::user_namespace`.
fn holder_of(flags: &[&str]) -> Holder {
    let holder = Holder::new(flags);
    if flags.contains(&"--user") {
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", holder.pid()), "0 100000 65536\n").unwrap();
        }
    }
    holder
}

/// The file of a holder to join: a process is not itself in the pid and time namespaces that it has made.
fn file_of(holder: &Holder, name: &str) -> PathBuf {
    match name {
        "pid" => holder.path("pid_for_children"),
        "time" => holder.path("time_for_children"),
        _ => holder.path(name),
    }
}

#[test]
fn each_kind_joined_by_path() {
    for (kind, name, flag) in KINDS.iter().filter(|(kind, _, _)| known(kind)) {
        match *kind {
            // See the tests of their own.
            "pid" | "user" | "mount" => continue,
            _ => {}
        }
        let holder = holder_of(&[flag]);
        let file = file_of(&holder, name);
        let container = with(kind, Some(file.clone())).create();
        assert_eq!(container.namespace(name), link(&file), "{kind}");
        container.start();
        assert_eq!(container.namespace(name), link(&file), "{kind}");
    }
}

/// A pid namespace that somebody lives in: its first process must stay for others to enter.
fn pid_holder(more: &[&str]) -> (Holder, PathBuf) {
    let holder = holder_of(&[&["--pid", "--fork"], more].concat());
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.pid())).unwrap();
    let child = children.split_whitespace().next().unwrap().to_owned();
    (holder, PathBuf::from(format!("/proc/{child}/ns/pid")))
}

#[test]
fn a_pid_namespace_joined_by_path() {
    let (_holder, file) = pid_holder(&[]);
    let container = with("pid", Some(file.clone())).create();
    assert_eq!(container.namespace("pid"), link(&file));
    let status = container.proc("status");
    let pids = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
    let pids: Vec<_> = pids.split_whitespace().skip(1).collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert_eq!(pids[0], container.pid.to_string());
    assert_ne!(pids[1], "1");
    container.start();
    container.kill("KILL");
    assert_eq!(container.wait(), 128 + 9);
    container.delete();
}

#[test]
fn a_mount_namespace_joined_by_path() {
    let holder = Holder::mounts("private");
    let container = with("mount", Some(holder.path("mnt"))).create();
    assert_eq!(container.namespace("mnt"), holder.link("mnt"));
}

/// Lets the root of that user namespace through to the root filesystem.
fn reachable(bundle: Bundle) -> Bundle {
    bundle.user_namespace(100_000).without_namespace("user").remove("/linux/uidMappings").remove("/linux/gidMappings")
}

#[test]
fn a_user_namespace_joined_by_path() {
    differs!(Runc, "1.1.5 wants mappings nevertheless");
    let holder = holder_of(&["--user"]);
    let bundle = reachable(only(&[("mount", None)])).namespace("user", Some(holder.path("user")));
    let container = bundle.create();
    assert_eq!(container.namespace("user"), holder.link("user"));
    assert!(container.proc("uid_map").split_whitespace().eq(["0", "100000", "65536"]));
}

/// Made, joined by its path, and the host's, as the program sees it.
#[test]
fn each_kind_from_inside() {
    differs!(Runc, "1.1.5 wants mappings for a joined user namespace");
    differs!(Crun, "leaves what it has mounted in the host's mount namespace");
    for (kind, name, flag) in KINDS.iter().filter(|(kind, _, _)| known(kind)) {
        let seen =
            |bundle: Bundle| bundle.args(&["readlink", &format!("/proc/self/ns/{name}")]).prints().trim().to_owned();
        assert_ne!(seen(with(kind, None)), own(name), "{kind}, a new one");

        let (holder, file) = match *kind {
            "pid" => pid_holder(&[]),
            "mount" => (Holder::mounts("private"), PathBuf::new()),
            _ => (holder_of(&[flag]), PathBuf::new()),
        };
        let file = if *kind == "pid" { file } else { file_of(&holder, name) };
        let joined = match *kind {
            "user" => reachable(only(&[("mount", None)])).namespace("user", Some(file.clone())),
            _ => with(kind, Some(file.clone())),
        };
        assert_ne!(link(&file), own(name), "{kind}");
        assert_eq!(seen(joined), link(&file), "{kind}, joined");

        let hosts = if *kind == "mount" { only(&[]) } else { only(&[("mount", None)]) };
        assert_eq!(seen(hosts), own(name), "{kind}, the host's");
    }
}

#[test]
fn each_pair_joined_by_path() {
    for (index, first) in KINDS.iter().enumerate() {
        for second in &KINDS[index + 1..] {
            let pair = [first, second];
            let has = |kind: &str| pair.iter().any(|it| it.0 == kind);
            if !pair.iter().all(|it| known(it.0)) || (has("user") && peer::peer() == crate::support::Peer::Runc) {
                continue;
            }
            // The pid namespace belongs to a child of the holder, which has all the others too.
            let flags: Vec<_> = pair.iter().map(|it| it.2).filter(|flag| *flag != "--pid").collect();
            let (holder, pid_file) = match has("pid") {
                true => pid_holder(&flags),
                false => (holder_of(&flags), PathBuf::new()),
            };
            let file = |name: &str| if name == "pid" { pid_file.clone() } else { file_of(&holder, name) };
            let mut bundle = only(&[("mount", None)]);
            if has("user") {
                bundle = reachable(bundle);
            }
            for (kind, name, _) in pair {
                bundle = bundle.namespace(kind, Some(file(name)));
            }
            let container = bundle.create();
            for (kind, name, _) in pair {
                assert_eq!(container.namespace(name), link(&file(name)), "{kind} of {} and {}", first.0, second.0);
            }
            container.start();
            container.kill("KILL");
            container.wait();
            container.delete();
        }
    }
}

#[test]
fn a_file_of_another_kind_is_refused() {
    for (kind, wrong) in
        [("network", "uts"), ("uts", "net"), ("ipc", "mnt"), ("pid", "net"), ("cgroup", "uts"), ("mount", "net")]
    {
        let file = PathBuf::from(format!("/proc/self/ns/{wrong}"));
        let refusal = only(&[("mount", None), (kind, Some(file))]).create_fails();
        let index = if kind == "mount" { 0 } else { 1 };
        refusal.names(&format!("linux.namespaces[{index}].path")).because(&format!("not a {kind} namespace"));
    }
}

#[test]
fn a_file_of_another_kind_is_refused_for_user_and_time() {
    for (kind, wrong) in [("user", "net"), ("time", "uts")] {
        let file = PathBuf::from(format!("/proc/self/ns/{wrong}"));
        only(&[("mount", None), (kind, Some(file))]).create_fails().names("linux.namespaces[1].path");
    }
}

#[test]
fn a_file_that_is_no_namespace_or_not_there_is_refused() {
    for path in ["/etc/passwd", "/no/such/file", "/dev/null"] {
        let refusal = only(&[("mount", None), ("network", Some(path.into()))]).create_fails();
        refusal.names("linux.namespaces[1].path").because(path);
    }
}

#[test]
fn a_relative_path_is_refused() {
    let refusal = only(&[("mount", None), ("network", Some("ns/net".into()))]).create_fails();
    refusal.names("linux.namespaces[1].path");
}

#[test]
fn an_empty_path_makes_a_new_one() {
    differs!(Crun, "opens it");
    let container = only(&[("mount", None), ("uts", Some("".into()))]).create();
    assert_ne!(container.namespace("uts"), own("uts"));
}

#[test]
fn hostname_and_domainname() {
    let bundle = Bundle::sh("hostname; cat /proc/sys/kernel/domainname").set("/hostname", "inside");
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(bundle.prints().starts_with("inside\n"));
    differs!(Runc, "1.1.5 and 1.8 do not know domainname");
    let bundle = Bundle::sh("hostname; cat /proc/sys/kernel/domainname").set("/domainname", "example.org");
    assert_eq!(bundle.prints(), "container\nexample.org\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
}

#[test]
fn hostname_without_a_uts_namespace_is_refused() {
    Bundle::new().without_namespace("uts").create_fails().names("hostname");
}

#[test]
fn domainname_without_a_uts_namespace_is_refused() {
    differs!(Runc, "1.1.5 and 1.8 do not know domainname");
    let bundle = Bundle::new().without_namespace("uts").remove("/hostname");
    bundle.set("/domainname", "example.org").create_fails().names("domainname");
}

#[test]
fn hostname_in_a_joined_uts_namespace() {
    let holder = holder_of(&["--uts"]);
    let bundle = Bundle::sh("hostname").namespace("uts", Some(holder.path("uts"))).set("/hostname", "shared-name");
    assert_eq!(bundle.prints(), "shared-name\n");
}

#[test]
fn an_empty_hostname_is_none() {
    let bundle = Bundle::sh("hostname").without_namespace("uts").set("/hostname", "");
    assert_eq!(bundle.prints(), fs::read_to_string("/proc/sys/kernel/hostname").unwrap());
}

#[test]
fn user_namespace_maps_are_as_configured() {
    let uids = json!([
        {"containerID": 0, "hostID": 100_000, "size": 1000},
        {"containerID": 1000, "hostID": 5000, "size": 1},
        {"containerID": 2000, "hostID": 300_000, "size": 65536},
    ]);
    let gids = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
    let bundle = Bundle::sh("cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '").user_namespace(100_000);
    let bundle = bundle.set("/linux/uidMappings", uids).set("/linux/gidMappings", gids);
    assert_eq!(bundle.prints(), " 0 100000 1000\n 1000 5000 1\n 2000 300000 65536\n 0 200000 65536\n");
}

#[test]
fn root_of_a_user_namespace_is_nobody_outside() {
    let bundle = Bundle::sh("id -u; stat -c %u:%g /; touch /made; echo done; sleep 600").user_namespace(100_000);
    let container = bundle.start();
    container.says("done");
    assert_eq!(container.stdout(), "0\n0:0\ndone\n");
    let status = container.proc("status");
    assert!(status.contains("Uid:\t100000\t100000\t100000\t100000"), "{status}");
    let made = fs::metadata(container.rootfs().join("made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 100_000);
}

#[test]
fn users_and_groups_in_a_user_namespace() {
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6]});
    let bundle = Bundle::sh("id -u; id -g; id -G; pwd").user_namespace(100_000).set("/process/user", user);
    assert_eq!(bundle.prints(), "1000\n1001\n1001 5 6\n/\n");
}

#[test]
fn an_id_that_is_not_mapped_is_refused() {
    for pointer in ["/process/user/uid", "/process/user/gid"] {
        let bundle = Bundle::new().user_namespace(100_000).set(pointer, 70_000);
        bundle.create_fails().names(&pointer[1..].replace('/', "."));
    }
}

#[test]
fn namespaces_of_a_user_namespace_belong_to_it() {
    requires!(Path::new("/usr/bin/lsns").exists(), "lsns");
    let container = Bundle::idle().user_namespace(100_000).create();
    let files: Vec<_> = ["net", "uts", "ipc", "pid", "mnt"]
        .iter()
        .map(|name| fs::File::open(format!("/proc/{}/ns/{name}", container.pid)).unwrap())
        .collect();
    let user = container.namespace("user");
    for file in files {
        let owner = crate::support::run::Run::new("sh")
            .args(["-c", "nsenter --user=/proc/$0/ns/user --net=/proc/$0/ns/net readlink /proc/self/ns/user"])
            .arg(container.pid.to_string())
            .output()
            .ok();
        assert_eq!(owner.line(), user);
        drop(file);
    }
}

#[test]
fn mappings_and_user_namespace_go_together() {
    differs!(Crun, "makes up a mapping, or a user namespace");
    Bundle::new().namespace("user", None).create_fails().names("linux");
    differs!(Runc, "ignores mappings without a user namespace");
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = Bundle::new().set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.create_fails().names("linux.uidMappings");
}

#[test]
fn time_offsets() {
    differs!(Runc | Crun, "1.1.5 and 1.8 know no offsets");
    let offsets = json!({"monotonic": {"secs": 7_000_000, "nanosecs": 5}, "boottime": {"secs": 9_000_000}});
    let bundle = Bundle::sh("cut -d. -f1 /proc/uptime; tr -s ' ' < /proc/self/timens_offsets").namespace("time", None);
    let printed = bundle.set("/linux/timeOffsets", offsets).prints();
    let (uptime, offsets) = printed.split_once('\n').unwrap();
    assert!(uptime.parse::<u64>().unwrap() >= 9_000_000, "{uptime}");
    assert_eq!(offsets.replace('\t', " "), "monotonic 7000000 5\nboottime 9000000 0\n");
}

#[test]
fn time_offsets_of_exec() {
    differs!(Runc | Crun, "1.1.5 and 1.8 know no offsets");
    let offsets = json!({"boottime": {"secs": 9_000_000}});
    let container = Bundle::idle().namespace("time", None).set("/linux/timeOffsets", offsets).start();
    let script = "cut -d. -f1 /proc/uptime; readlink /proc/self/ns/time";
    let printed =
        container.runtime("exec").arg(&container.id).args(["sh", "-c", script]).output().ok().no_stderr().stdout;
    let (uptime, namespace) = printed.split_once('\n').unwrap();
    assert!(uptime.parse::<u64>().unwrap() >= 9_000_000, "{uptime}");
    assert_eq!(namespace.trim(), container.namespace("time"));
}

#[test]
fn time_offsets_need_a_new_time_namespace() {
    differs!(Runc | Crun, "1.1.5 and 1.8 know no offsets");
    let offsets = json!({"monotonic": {"secs": 1}});
    Bundle::new().set("/linux/timeOffsets", offsets).create_fails().names("linux.timeOffsets");
    let offsets = json!({"realtime": {"secs": 1}});
    let bundle = Bundle::new().namespace("time", None).set("/linux/timeOffsets", offsets);
    bundle.create_fails().names("linux.timeOffsets");
}

#[test]
fn null_offsets_are_none() {
    let bundle = Bundle::sh("echo alive").set("/linux/timeOffsets", json!(null));
    assert_eq!(bundle.prints(), "alive\n");
}

#[test]
fn cgroup_namespace_starts_at_the_containers_cgroup() {
    let bundle = Bundle::new().args(&["cat", "/proc/self/cgroup"]).namespace("cgroup", None);
    let paths = crate::support::cgroup::parse(&bundle.prints());
    for key in crate::support::cgroup::mounted_keys() {
        assert_eq!(paths[&key], "/", "{key}");
    }
}

#[test]
fn the_program_is_process_one() {
    assert_eq!(Bundle::sh("echo $$ /proc/[0-9]*").prints(), "1 /proc/1\n");
}

#[test]
fn a_new_network_namespace_has_lo_alone() {
    let printed = Bundle::sh("ls /sys/class/net; ip link show lo").prints();
    assert!(printed.starts_with("lo\n"), "{printed}");
}

#[test]
fn ipc_objects_are_the_containers_own() {
    let made = crate::support::run::Run::host_sh("ipcmk -M 4096 | grep -o '[0-9]*$'").output().ok();
    let id = made.line().to_owned();
    let inside = Bundle::sh("ipcs -m | grep -c 0x; true").run();
    crate::support::run::Run::new("ipcrm").args(["-m", &id]).output().ok();
    assert_eq!(inside.ok().stdout, "0\n");
}
