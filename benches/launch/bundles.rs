//! The bundles that are run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use corten::config::Config;
use corten::machine::Machine;
use corten::plan::{Plan, Request};
use corten::subsystems::cgroups::{Version, When};
use corten::sys::bpf::Instruction;
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
    /// Which of Docker's `linux.resources` they have, in words.
    pub limits: String,
}

impl Bundles {
    pub fn write(directory: &Path, name: &str, docker: bool) -> Self {
        let directory = directory.join(name);
        let root = directory.join("rootfs");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for name in ["true", "sleep"] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let mut limits = String::new();
        let mut write = |name: &str, words: &[&str]| {
            let bundle = directory.join(name);
            fs::create_dir(&bundle).unwrap();
            let mut config = config(&root, words);
            if docker {
                limits = like_docker(&mut config, &directory);
            }
            fs::write(bundle.join("config.json"), config.to_string()).unwrap();
            for_floor(&Config::parse(config.to_string().as_bytes()).unwrap(), &bundle);
            bundle
        };
        let (ending, sleeping) = (write("ending", &["/bin/true"]), write("sleeping", &["/bin/sleep", "1000"]));
        Self { ending, sleeping, limits }
    }

    /// Containers of the sleeping one are to be in another cgroup than those before.
    pub fn move_to_group(&self, number: usize) {
        let file = self.sleeping.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config["linux"]["cgroupsPath"] = json!(format!("{}-{number}", group(&self.sleeping)));
        fs::write(file, config.to_string()).unwrap();
    }
}

/// A cgroup's path that is not there yet: what is below `directory` has a name of its own.
fn group(directory: &Path) -> String {
    let unique = directory.iter().find_map(|name| name.to_str()?.strip_prefix(".tmp")).unwrap();
    format!("/corten-bench-{unique}")
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
    config["linux"]["cgroupsPath"] = json!(group(root));
    if !device_rules_work() {
        config["linux"].as_object_mut().unwrap().remove("resources");
    }
    config
}

/// The answer is which of Docker's `linux.resources` it has, in words.
fn like_docker(config: &mut Value, directory: &Path) -> String {
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
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    let mut limit = |name: &'static str, works: bool, limits: Value| {
        if works {
            resources[name] = limits;
            there.push(name);
        } else {
            missing.push(name);
        }
    };
    let rule = |(kind, major, minor, access): &(&str, Option<u32>, Option<u32>, &str)| json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
    let deny = json!({"allow": false, "access": "rwm"});
    limit("devices", device_rules_work(), std::iter::once(deny).chain(DEVICES.iter().map(rule)).collect());
    limit("memory", has("memory"), json!({"limit": 512 << 20}));
    limit("cpu", has("cpu"), json!({"shares": 1024, "quota": 100_000, "period": 100_000}));
    limit("pids", has("pids"), json!({"limit": 100}));
    linux["resources"] = resources;
    match (there.join(", "), missing.join(", ")) {
        (all, missing) if missing.is_empty() => all,
        (there, missing) if there.is_empty() => format!("none ({missing} do not work here for every runtime)"),
        (there, missing) => format!("{there} ({missing} do not work here for every runtime)"),
    }
}

/// What differs between configurations and machines, for `benches/floor.rs`.
fn for_floor(config: &Config, bundle: &Path) {
    let plan = plan(config, bundle);
    let program = config.process.as_ref().unwrap().args.join(" ");
    let mut lines = vec![format!("root {}", plan.inside.rootfs().display()), format!("program {program}")];
    lines.extend(config.linux.masked_paths.iter().map(|path| format!("mask {}", path.display())));
    lines.extend(config.linux.readonly_paths.iter().map(|path| format!("readonly {}", path.display())));
    for mount in config.mounts.iter().filter(|mount| mount.kind.is_empty()) {
        lines.push(format!("bind {}\t{}", mount.source.as_ref().unwrap().display(), mount.destination.display()));
    }
    let groups = &plan.cgroups.groups;
    for group in groups {
        let directory = group.directory();
        match group.version {
            Version::V2 => lines.push(format!("birthplace {}", directory.display())),
            Version::V1 => {
                let name = group.mount_point.file_name().unwrap().display();
                lines.push(format!("group {}", directory.display()));
                lines.push(format!("hierarchy {name}\t{}", group.controllers.join(",")));
                if group.is_of("cpuset") {
                    lines.extend(["cpuset.cpus", "cpuset.mems"].map(|file| inherited(&directory, file)));
                }
            }
        }
    }
    // Those that depend on what else is there are for kernels of long ago.
    for write in plan.cgroups.writes.iter().filter(|write| write.when == When::Always) {
        lines.push(format!("write {}\t{}", groups[write.group].directory().join(&write.file).display(), write.value));
    }
    let device = |it: &Instruction| format!("device {} {} {} {}", it.code, it.registers, it.offset, it.immediate);
    lines.extend(plan.cgroups.device_program.iter().map(device));
    fs::write(bundle.join("floor"), lines.join("\n")).unwrap();
    if let Some((filter, _)) = plan.inside.seccomp {
        let bytes = filter.program.iter().flat_map(|instruction| {
            let [code_low, code_high] = instruction.code.to_ne_bytes();
            let [a, b, c, d] = instruction.k.to_ne_bytes();
            [code_low, code_high, instruction.jt, instruction.jf, a, b, c, d]
        });
        fs::write(bundle.join("filter"), bytes.collect::<Vec<u8>>()).unwrap();
    }
}

/// A new group of v1's cpuset has nothing, and then nobody may enter.
fn inherited(directory: &Path, file: &str) -> String {
    let value = fs::read_to_string(directory.parent().unwrap().join(file)).unwrap();
    format!("write {}\t{}", directory.join(file).display(), value.trim())
}

fn plan(config: &Config, bundle: &Path) -> Plan {
    Plan::new(config, &Machine::default(), &Request::new("bench", bundle)).unwrap()
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
