//! The configurations that containerd and Docker write for a default container, without their seccomp profiles, which are a
//! subject of their own.

use serde_json::{Value, json};

use crate::support::{Bundle, cgroup, differs};

/// The fourteen that both give.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const SCRIPT: &str = "id; hostname; echo x > /dev/null; cat /proc/keys | wc -c; (echo 1 > /proc/sys/kernel/panic) 2>&1; ls /sys/fs/cgroup | wc -l";

fn capabilities() -> Value {
    json!({"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES})
}

fn readonly_paths() -> Value {
    json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"])
}

/// containerd's `populateDefaultUnixSpec`, as `ctr run` writes it.
fn containerd(bundle: &Bundle) -> Value {
    json!({
        "ociVersion": "1.2.1",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0, 10]},
            "args": ["sh", "-c", SCRIPT],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": capabilities(),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "hostname": "from-containerd",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "cgroupsPath": bundle.cgroup,
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/sys/devices/virtual/powercap", "/proc/scsi"],
            "readonlyPaths": readonly_paths(),
        },
    })
}

/// Docker's, with the files that it mounts from its own directory.
fn docker(bundle: &Bundle) -> Value {
    let files = bundle.host_directory("docker");
    let bind = |name: &str| {
        std::fs::write(files.join(name), "").unwrap();
        json!({"destination": format!("/etc/{name}"), "type": "bind", "source": files.join(name),
            "options": ["rbind", "rprivate"]})
    };
    let rule = |kind: &str, major: i64, minor: i64| json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": "rwm"});
    let mut config = containerd(bundle);
    config["ociVersion"] = "1.2.1".into();
    config["hostname"] = "0123456789ab".into();
    config["root"] = json!({"path": bundle.rootfs()});
    config["process"]["oomScoreAdj"] = 0.into();
    config["process"]["noNewPrivileges"] = Value::Null;
    config["process"]["consoleSize"] = json!({"height": 0, "width": 0});
    config["process"]["env"] =
        json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=0123456789ab"]);
    config["process"]["rlimits"] = Value::Null;
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.pop();
    mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["ro", "nosuid", "noexec", "nodev"]}));
    mounts.extend(["resolv.conf", "hostname", "hosts"].map(bind));
    let linux = &mut config["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    linux["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"});
    linux["resources"] = json!({
        "devices": [
            {"allow": false, "access": "rwm"},
            rule("c", 1, 5), rule("c", 1, 3), rule("c", 1, 9), rule("c", 1, 8), rule("c", 5, 0), rule("c", 5, 1),
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        ],
        "memory": {},
        "cpu": {"shares": 0},
        "blockIO": {"weight": 0},
    });
    if cgroup::has("pids") {
        linux["resources"]["pids"] = json!({"limit": -1});
    }
    config
}

#[track_caller]
fn assert_runs(mut bundle: Bundle, config: impl Fn(&Bundle) -> Value, hostname: &str) {
    bundle.config = config(&bundle);
    let printed = bundle.prints();
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines[0].starts_with("uid=0(root) gid=0(root)"), "{printed}");
    assert_eq!(
        lines[1..4],
        [hostname, "0", "sh: can't create /proc/sys/kernel/panic: Read-only file system"],
        "{printed}"
    );
}

#[test]
fn containerds_runs() {
    differs!(Crun, "needs CAP_SYS_RESOURCE for device rules");
    assert_runs(Bundle::new(), containerd, "from-containerd");
}

#[test]
fn dockers_runs() {
    differs!(Crun, "needs CAP_SYS_RESOURCE for device rules");
    assert_runs(Bundle::new(), docker, "0123456789ab");
}
