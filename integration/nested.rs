//! The program inside a container of its own: what an engine in a container needs.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::support::cgroup::{self, View};
use crate::support::{Bundle, differs, peer, requires, rootfs};

/// What it takes to make containers.
const CAPABILITIES: [&str; 14] = [
    "CAP_BPF",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
];

/// A container that runs a script with the program in `$PATH` and a bundle in `/inner`, whose program sleeps.
///
/// The script can use `inner COMMAND..`, and sees the cgroups of its own namespace, which it may write to.
fn outer(script: &str, inner: &Value) -> Bundle {
    let script = format!("inner() {{ corten --root /run/inner \"$@\"; }}; set -e; {script}");
    let held = json!(CAPABILITIES.iter().filter(|name| is_held(name)).collect::<Vec<_>>());
    let bundle = Bundle::sh(&script)
        .set("/process/capabilities", json!({"bounding": held, "effective": held, "permitted": held}))
        .set("/process/noNewPrivileges", false)
        .set("/mounts/5/options", json!(["nosuid", "noexec", "nodev"]))
        .namespace("cgroup", None)
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw"])
        .tmpfs("/run", &[])
        .file("inner/config.json", &inner.to_string());
    rootfs::make(&bundle.rootfs().join("inner/rootfs"));
    fs::copy(peer::program(), bundle.rootfs().join("bin/corten")).unwrap();
    bundle
}

/// The machine may lack some, and then a container cannot be given them.
fn is_held(name: &str) -> bool {
    let number = match name {
        "CAP_SYS_RESOURCE" => 24,
        "CAP_BPF" => 39,
        _ => return true,
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(held.trim(), 16).unwrap() >> number & 1 == 1
}

fn inner() -> Value {
    let mut config = Bundle::new().args(&["sleep", "600"]).namespace("cgroup", None).config.clone();
    config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    config
}

/// A limit that this view has.
fn limit() -> Value {
    match cgroup::has("pids") {
        true => json!({"pids": {"limit": 77}}),
        false => json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}),
    }
}

/// Groups of the inner container on the machine: its place in the hierarchies that the outer one sees.
fn groups(outer: &str) -> Vec<PathBuf> {
    let directories = cgroup::directories(outer).into_iter().map(|it| it.join("c1"));
    directories.filter(|it| it.exists()).collect()
}

const LIFE: &str = "inner create --bundle /inner c1 > /dev/null; inner state c1 | grep -o '\"status\": \"[a-z]*\"'
    inner start c1; echo started; read go; inner kill c1 KILL
    until inner state c1 | grep -q stopped; do sleep 0.1; done
    inner delete c1; echo deleted; read go";

/// The script waits for a line on stdin before it goes on; meanwhile the inner container's groups can be looked at.
fn live(bundle: Bundle, look: impl Fn(&[PathBuf])) {
    let fifo = bundle.path("stdin");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    // For reading, too, so that neither end waits for the other.
    let mut line = File::options().read(true).write(true).open(&fifo).unwrap();
    let container = bundle.start();
    container.says("started\n");
    assert!(container.stdout().contains("\"status\": \"created\""), "{}", container.stdout());
    let made = groups(&container.cgroup);
    assert!(!made.is_empty(), "{}", container.stderr());
    for group in &made {
        assert_eq!(fs::read_to_string(group.join("cgroup.procs")).unwrap().lines().count(), 1, "{group:?}");
    }
    look(&made);
    line.write_all(b"go\n").unwrap();
    container.says("deleted\n");
    assert_eq!(groups(&container.cgroup), Vec::<PathBuf>::new());
    line.write_all(b"go\n").unwrap();
    assert_eq!(container.wait(), 0, "{}", container.stderr());
    container.delete();
}

#[test]
fn a_whole_life() {
    differs!(Runc | Crun, "is not a static program");
    live(outer(LIFE, &inner()), |_| {});
}

/// As engines in containers do: the processes make room, so that controllers can be handed down.
const MAKE_ROOM: &str = "cd /sys/fs/cgroup; mkdir room
    while read pid; do echo $pid > room/cgroup.procs || true; done < cgroup.procs; cd /";

#[test]
fn with_limits() {
    differs!(Runc | Crun, "is not a static program");
    let mut inner = inner();
    inner["linux"]["resources"] = limit();
    let script = match cgroup::view() {
        View::Hybrid => LIFE.to_owned(),
        View::Unified => format!("{MAKE_ROOM}\n{LIFE}"),
    };
    let (file, value) = if cgroup::has("pids") { ("pids.max", "77\n") } else { ("hugetlb.2MB.max", "2097152\n") };
    live(outer(&script, &inner), |groups| {
        let limits: Vec<_> = groups.iter().filter_map(|group| fs::read_to_string(group.join(file)).ok()).collect();
        assert_eq!(limits, [value]);
    });
}

/// The root of a cgroup namespace is a group like any other.
#[test]
fn limits_need_room() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    requires!(cgroup::has("memory") || cgroup::has("hugetlb"), "the memory or hugetlb controller");
    differs!(Runc | Crun, "is not a static program");
    let mut inner = inner();
    inner["linux"]["resources"] = match cgroup::has("memory") {
        true => json!({"memory": {"limit": 64 << 20}}),
        false => limit(),
    };
    let output = outer("inner run --bundle /inner c1", &inner).run();
    assert!(output.stderr.contains("below \"/sys/fs/cgroup\": "), "{output:#?}");
    assert!(output.stderr.contains("it has processes of its own"), "{output:#?}");
}

/// The group was given to the root of the user namespace, who makes groups in it.
#[test]
fn in_a_user_namespace() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    differs!(Runc | Crun, "is not a static program");
    live(outer(LIFE, &inner()).user_namespace(100_000), |_| {});
}
