//! The bundles that are run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

const SECCOMP: &str = include_str!("../../src/subsystems/seccomp/testdata/docker-default.json");

/// What Docker masks beside what `spec` does.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Type, major and minor number of what Docker allows beside the devices that every container has.
const DEVICES: [(&str, Option<u32>, Option<u32>, &str); 4] =
    [("c", None, None, "m"), ("b", None, None, "m"), ("c", Some(10), Some(229), "rwm"), ("c", Some(5), Some(1), "rwm")];

/// One whose program ends at once, and one whose program sleeps. They have a root in common.
pub struct Bundles {
    pub ending: PathBuf,
    pub sleeping: PathBuf,
}

impl Bundles {
    pub fn write(directory: &Path, docker: bool) -> Self {
        let root = directory.join("rootfs");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for name in ["true", "sleep"] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let write = |name: &str, words: &[&str]| {
            let bundle = directory.join(name);
            fs::create_dir(&bundle).unwrap();
            let mut config = config(&root, words);
            if docker {
                like_docker(&mut config, directory);
            }
            fs::write(bundle.join("config.json"), config.to_string()).unwrap();
            for_floor(&config, &bundle);
            bundle
        };
        Self { ending: write("ending", &["/bin/true"]), sleeping: write("sleeping", &["/bin/sleep", "1000"]) }
    }
}

/// What `spec` writes, for crun 1.8, without what takes CAP_SYS_RESOURCE.
fn config(root: &Path, words: &[&str]) -> Value {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let example = corten::config::spec::default_spec(None, unified).to_json().unwrap();
    let mut config: Value = serde_json::from_str(&example).unwrap();
    config["ociVersion"] = json!("1.0.2");
    config["root"]["path"] = json!(root);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(words);
    config["process"].as_object_mut().unwrap().remove("rlimits");
    config["linux"]["cgroupsPath"] = json!(format!("/corten-bench-{}", std::process::id()));
    if !device_rules_work() {
        config["linux"].as_object_mut().unwrap().remove("resources");
    }
    config
}

fn like_docker(config: &mut Value, directory: &Path) {
    for name in ["resolv.conf", "hostname", "hosts"] {
        let file = directory.join(name);
        fs::write(&file, "").unwrap();
        let mount = json!({
            "destination": format!("/etc/{name}"), "type": "bind", "source": file, "options": ["rbind", "rprivate"],
        });
        config["mounts"].as_array_mut().unwrap().push(mount);
    }
    let linux = &mut config["linux"];
    linux["maskedPaths"] = json!(MASKED);
    linux["seccomp"] = serde_json::from_str(SECCOMP).unwrap();
    let mut resources = json!({});
    if device_rules_work() {
        let rule = |(kind, major, minor, access): &(&str, Option<u32>, Option<u32>, &str)| json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
        let deny = json!({"allow": false, "access": "rwm"});
        resources["devices"] = std::iter::once(deny).chain(DEVICES.iter().map(rule)).collect();
    }
    for (controller, limits) in [
        ("memory", json!({"limit": 512 << 20})),
        ("cpu", json!({"shares": 1024, "quota": 100_000, "period": 100_000})),
        ("pids", json!({"limit": 100})),
    ] {
        if has(controller) {
            resources[controller] = limits;
        }
    }
    linux["resources"] = resources;
}

/// What differs between the configurations, for `benches/floor.rs`.
fn for_floor(config: &Value, bundle: &Path) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let linux = &config["linux"];
    let words: Vec<_> = config["process"]["args"].as_array().unwrap().iter().map(text).collect();
    let mut lines = vec![
        format!("root {}", text(&config["root"]["path"])),
        format!("cgroup {}", text(&linux["cgroupsPath"]).trim_start_matches('/')),
        format!("program {}", words.join(" ")),
    ];
    for (name, property) in [("mask", "maskedPaths"), ("readonly", "readonlyPaths")] {
        lines.extend(linux[property].as_array().unwrap().iter().map(|path| format!("{name} {}", text(path))));
    }
    let binds = config["mounts"].as_array().unwrap().iter().filter(|mount| mount["type"] == "bind");
    lines.extend(binds.map(|mount| format!("bind {}\t{}", text(&mount["source"]), text(&mount["destination"]))));
    fs::write(bundle.join("floor"), lines.join("\n")).unwrap();
    if let Some(profile) = corten::config::Config::parse(config.to_string().as_bytes()).unwrap().linux.seccomp {
        let program = corten::subsystems::seccomp::compile(&profile).unwrap().program;
        let bytes = program.iter().flat_map(|instruction| {
            let [code_low, code_high] = instruction.code.to_ne_bytes();
            let [a, b, c, d] = instruction.k.to_ne_bytes();
            [code_low, code_high, instruction.jt, instruction.jf, a, b, c, d]
        });
        fs::write(bundle.join("filter"), bytes.collect::<Vec<u8>>()).unwrap();
    }
}

fn has(controller: &str) -> bool {
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    unified.map_or(Path::new("/sys/fs/cgroup").join(controller).exists(), |all| {
        all.split_whitespace().any(|it| it == controller)
    })
}

/// crun 1.8 wants to lock memory for a program of cgroup v2.
fn device_rules_work() -> bool {
    has("devices") || caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_RESOURCE).unwrap()
}
