//! Bad input: one clear line, the cause last, and nothing left.

use std::fs;

use serde_json::{Value, json};

use crate::support::holder::Holder;
use crate::support::refusal::Refusal;
use crate::support::{Bundle, differs};

/// Writes this as config.json.
fn with_config(text: impl AsRef<[u8]>) -> Bundle {
    let bundle = Bundle::new();
    fs::write(bundle.bundle().join("config.json"), text).unwrap();
    bundle
}

#[test]
fn not_json() {
    for text in ["", "{", "not json", "[1, 2", "{\"ociVersion\": \"1.0.2\",}", "\u{0}"] {
        with_config(text).refuses("create").because("config.json");
    }
    with_config([0xff, 0xfe, b'{']).refuses("create").because("config.json");
}

#[test]
fn not_an_object() {
    differs!(Runc, "crashes on null");
    for text in ["[]", "7", "\"text\"", "null"] {
        with_config(text).refuses("create").because("config.json");
    }
}

#[test]
fn a_wrong_type_is_named_by_its_path() {
    differs!(Crun, "reads what it can");
    for (pointer, value, property) in [
        ("/process/args/0", json!(7), "process.args[0]"),
        ("/process/args", json!("true"), "process.args"),
        ("/process/env", json!({"A": "B"}), "process.env"),
        ("/process/user/uid", json!("0"), "process.user.uid"),
        ("/process/user/uid", json!(-1), "process.user.uid"),
        ("/process/user/uid", json!(1u64 << 40), "process.user.uid"),
        ("/process/noNewPrivileges", json!("yes"), "process.noNewPrivileges"),
        ("/mounts", json!({}), "mounts"),
        ("/mounts/3/options", json!("ro"), "mounts[3].options"),
        ("/mounts/3/destination", json!(5), "mounts[3].destination"),
        ("/root", json!("rootfs"), "root"),
        ("/root/readonly", json!(1), "root.readonly"),
        ("/hostname", json!(["x"]), "hostname"),
        ("/linux/namespaces", json!({"type": "pid"}), "linux.namespaces"),
        ("/linux/maskedPaths", json!("/proc"), "linux.maskedPaths"),
        ("/annotations", json!({"a": 1}), "annotations"),
        ("/ociVersion", json!(1), "ociVersion"),
        ("/linux/resources/memory/limit", json!("64M"), "linux.resources.memory.limit"),
    ] {
        Bundle::new().set(pointer, value.clone()).create_fails().names(property);
    }
}

#[test]
fn unknown_words_are_named_by_their_path() {
    for (pointer, value, property) in [
        ("/linux/namespaces/0/type", json!("bogus"), "linux.namespaces[0].type"),
        ("/linux/namespaces/0/type", json!("PID"), "linux.namespaces[0].type"),
        ("/process/rlimits", json!([{"type": "RLIMIT_BOGUS", "soft": 1, "hard": 1}]), "process.rlimits[0].type"),
    ] {
        Bundle::new().set(pointer, value.clone()).create_fails().names(property).because(&value_text(&value));
    }
}

/// The word itself, where there is one.
fn value_text(value: &Value) -> String {
    value.as_str().unwrap_or("RLIMIT_BOGUS").to_owned()
}

/// A `Value` cannot hold such an object.
#[test]
fn a_name_that_stands_twice() {
    differs!(Runc | Crun, "takes the last");
    let bundle = Bundle::new();
    let text = bundle.config.to_string();
    let twice = text.replacen('{', "{\"hostname\":\"one\",", 1);
    with_config(twice).refuses("create").names("hostname").because("stands twice");
    let deep = text.replacen("\"path\":", "\"path\":\"a\",\"path\":", 1);
    assert_ne!(deep, text);
    with_config(deep).refuses("create").names("root.path").because("stands twice");
}

/// `/linux/devices/0/path` is `linux.devices[0].path`.
fn property_at(pointer: &str) -> String {
    let join = |property: String, key: &str| match key.parse::<usize>() {
        Ok(index) => format!("{property}[{index}]"),
        Err(_) if property.is_empty() => key.to_owned(),
        Err(_) => format!("{property}.{key}"),
    };
    pointer.split('/').skip(1).fold(String::new(), join)
}

/// A configuration in which each of these properties is right.
fn with_all_of_them() -> Bundle {
    let condition = json!({"index": 0, "value": 0, "op": "SCMP_CMP_EQ"});
    let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_LOG", "args": [condition]});
    let disk = json!({"major": 8, "minor": 0, "weight": 100, "rate": 100});
    let resources = json!({
        "devices": [{"allow": true, "access": "r"}],
        "cpu": {"quota": 5000},
        "blockIO": {"weightDevice": [disk], "throttleReadBpsDevice": [disk], "throttleWriteIOPSDevice": [disk]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "network": {"priorities": [{"name": "lo", "priority": 1}]},
        "rdma": {"mlx5_0": {"hcaHandles": 1}},
    });
    Bundle::new()
        .set("/process/scheduler", json!({"policy": "SCHED_OTHER"}))
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 4}))
        .set("/linux/personality", json!({"domain": "LINUX"}))
        .set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"}))
        .set("/linux/devices", json!([{"type": "p", "path": "/fifo"}]))
        .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
        .set("/linux/resources", resources)
}

/// What the text of the specification makes invalid, beside what has a test of its own. `null` is absent.
#[test]
fn values_that_the_specification_rules_out() {
    differs!(Runc | Crun, "takes some of it");
    for (pointer, values) in [
        ("/process/scheduler/policy", json!([null, "SCHED_NO", "SCHED_ISO", 0])),
        ("/process/scheduler/flags", json!([["SCHED_FLAG_NO"]])),
        ("/process/scheduler/nice", json!([20, -21])),
        ("/process/scheduler/priority", json!([1])),
        ("/process/scheduler/runtime", json!([1])),
        ("/process/ioPriority/class", json!([null, "IOPRIO_CLASS_NO"])),
        ("/process/ioPriority/priority", json!([null, -1, 8])),
        ("/process/execCPUAffinity/initial", json!(["a", "1-0"])),
        ("/process/execCPUAffinity/final", json!(["0,", 3])),
        ("/process/oomScoreAdj", json!([1 << 31, 0.5])),
        ("/linux/personality/domain", json!([null, "BSD"])),
        ("/linux/personality/flags", json!([["ADDR_NO_RANDOMIZE"]])),
        ("/linux/memoryPolicy/mode", json!([null, "MPOL_NO"])),
        ("/linux/memoryPolicy/nodes", json!([null, "", "a"])),
        ("/linux/memoryPolicy/flags", json!([["MPOL_F_NO"]])),
        ("/linux/devices/0/type", json!([null, "", "x"])),
        ("/linux/devices/0/path", json!([null, "fifo"])),
        ("/linux/devices/0/fileMode", json!([512, -1])),
        ("/linux/resources/devices/0/allow", json!([null, "yes"])),
        ("/linux/resources/devices/0/type", json!(["p", "x"])),
        ("/linux/resources/devices/0/access", json!(["x"])),
        ("/linux/resources/memory/limit", json!([-2, "64M"])),
        ("/linux/resources/memory/swappiness", json!([101, -1])),
        ("/linux/resources/cpu/burst", json!([6000])),
        ("/linux/resources/cpu/idle", json!([2])),
        ("/linux/resources/cpu/cpus", json!(["a"])),
        ("/linux/resources/pids/limit", json!([-2, "many"])),
        ("/linux/resources/blockIO/weight", json!([70_000])),
        ("/linux/resources/blockIO/weightDevice/0", json!([{"major": 8, "minor": 0}])),
        ("/linux/resources/blockIO/weightDevice/0/major", json!([null])),
        ("/linux/resources/blockIO/throttleReadBpsDevice/0/minor", json!([null])),
        ("/linux/resources/blockIO/throttleReadBpsDevice/0/rate", json!([null, -1])),
        ("/linux/resources/blockIO/throttleWriteIOPSDevice/0/rate", json!([null])),
        ("/linux/resources/hugepageLimits/0/pageSize", json!([null, "64kB", "2"])),
        ("/linux/resources/hugepageLimits/0/limit", json!([null, -1])),
        ("/linux/resources/network/priorities/0/name", json!([null])),
        ("/linux/resources/network/priorities/0/priority", json!([null])),
        ("/linux/resources/rdma/mlx5_0", json!([{}])),
        ("/linux/resources/unified", json!([{"memory.high": 5}])),
        ("/linux/seccomp/defaultAction", json!([null, "SCMP_ACT_NO"])),
        ("/linux/seccomp/defaultErrnoRet", json!([1])),
        ("/linux/seccomp/architectures", json!([["SCMP_ARCH_NO"]])),
        ("/linux/seccomp/flags", json!([["SECCOMP_FILTER_FLAG_NO"]])),
        ("/linux/seccomp/listenerMetadata", json!(["x"])),
        ("/linux/seccomp/syscalls/0/names", json!([null, []])),
        ("/linux/seccomp/syscalls/0/action", json!([null, "SCMP_ACT_NO"])),
        ("/linux/seccomp/syscalls/0/errnoRet", json!([1])),
        ("/linux/seccomp/syscalls/0/args/0/index", json!([null, 6, -1])),
        ("/linux/seccomp/syscalls/0/args/0/value", json!([null, -1])),
        ("/linux/seccomp/syscalls/0/args/0/op", json!([null, "SCMP_CMP_NO"])),
        ("/linux/uidMappings", json!([[{"containerID": 0, "size": 1}]])),
        ("/linux/cgroupsPath", json!([["/a"]])),
    ] {
        for value in values.as_array().unwrap() {
            with_all_of_them().set(pointer, value.clone()).create_fails().names(&property_at(pointer));
        }
    }
}

#[test]
fn a_namespace_listed_twice() {
    differs!(Crun, "takes the last");
    let bundle = Bundle::new().push("/linux/namespaces", json!({"type": "uts"}));
    bundle.create_fails().names("linux.namespaces[5]").because("uts");
}

#[test]
fn oci_versions() {
    differs!(Crun, "does not know 1.1 and later");
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0", "1.3.0+dev", "1.0.0-rc1"] {
        assert_eq!(Bundle::sh("echo ok").set("/ociVersion", version).prints(), "ok\n", "{version}");
    }
    differs!(Runc | Crun, "does not look");
    for version in ["invalid", "", "1", "1.0", "2.0.0", "0.9.0", "v1.0.0", "1.0.0.0", "01.0.0"] {
        Bundle::new().set("/ociVersion", version).create_fails().names("ociVersion");
    }
    Bundle::new().remove("/ociVersion").create_fails().names("ociVersion");
}

#[test]
fn unknown_properties_are_ignored_at_any_depth() {
    let unknown = json!({"deep": [1, {"er": null}]});
    let bundle =
        ["", "/process", "/process/user", "/root", "/linux", "/linux/namespaces/0", "/mounts/0", "/linux/resources"]
            .iter()
            .fold(Bundle::sh("echo ok"), |bundle, parent| {
                bundle.set(&format!("{parent}/noSuchProperty"), unknown.clone())
            });
    assert_eq!(bundle.set("/windows", json!({"layerFolders": ["x"]})).prints(), "ok\n");
}

/// Go programs write them for empty slices and maps.
#[test]
fn null_is_absent() {
    let pointers = [
        "/annotations",
        "/hooks",
        "/linux/devices",
        "/linux/resources",
        "/linux/sysctl",
        "/linux/uidMappings",
        "/linux/seccomp",
        "/linux/maskedPaths",
        "/process/rlimits",
        "/process/oomScoreAdj",
        "/process/user/additionalGids",
        "/process/user/umask",
        "/process/consoleSize",
        "/mounts/0/options",
        "/linux/rootfsPropagation",
        "/domainname",
    ];
    let bundle = pointers.iter().fold(Bundle::sh("echo ok"), |bundle, pointer| bundle.set(pointer, Value::Null));
    assert_eq!(bundle.prints(), "ok\n");
}

#[test]
fn empty_is_absent() {
    differs!(Crun, "writes an empty label");
    let bundle = Bundle::sh("echo ok")
        .set("/annotations", json!({}))
        .set("/hooks", json!({"prestart": [], "poststop": null}))
        .set("/linux/devices", json!([]))
        .set("/linux/resources", json!({}))
        .set("/linux/sysctl", json!({}))
        .set("/linux/uidMappings", json!([]))
        .set("/linux/rootfsPropagation", "")
        .set("/linux/mountLabel", "")
        .set("/process/apparmorProfile", "")
        .set("/process/selinuxLabel", "");
    assert_eq!(bundle.prints(), "ok\n");
}

#[test]
fn an_empty_annotation_key() {
    differs!(Runc | Crun, "does not look");
    Bundle::new().set("/annotations", json!({"": "x"})).create_fails().names("annotations");
}

#[test]
fn a_bundle_that_is_not_there() {
    differs!(Crun, "does not open the log");
    let bundle = Bundle::new();
    fs::remove_dir_all(bundle.bundle()).unwrap();
    bundle.refuses("create").says("no such file or directory");
    fs::write(bundle.bundle(), "a file").unwrap();
    bundle.refuses("create").says("not a directory");
}

#[test]
fn a_bundle_without_config() {
    let bundle = Bundle::new();
    bundle.refuses("create").because("config.json").because("no such file or directory");
    fs::create_dir(bundle.bundle().join("config.json")).unwrap();
    bundle.refuses("create").because("config.json").because("is a directory");
}

#[test]
fn labels_without_their_security_module() {
    for (pointer, directory, property) in [
        ("/process/apparmorProfile", "/sys/kernel/security/apparmor", "process.apparmorProfile"),
        ("/process/selinuxLabel", "/sys/fs/selinux", "process.selinuxLabel"),
    ] {
        if !fs::exists(directory).unwrap() {
            Bundle::new().set(pointer, "some-label").create_fails().names(property);
        }
    }
}

// ---- the state root ----

#[test]
fn a_state_root_that_is_a_file() {
    let bundle = Bundle::new();
    bundle.write();
    let run = |command: &str| {
        let run = crate::support::run::Run::new(crate::support::peer::program());
        run.arg("--root").arg(bundle.rootfs().join("etc/passwd")).arg(command).arg(&bundle.id).dir(&bundle.bundle())
    };
    for command in ["create", "run", "state", "start"] {
        Refusal::from_output(command, run(command).output()).because("etc/passwd");
    }
    bundle.assert_nothing_left();
}

#[test]
fn a_state_root_that_is_not_there_is_made() {
    let bundle = Bundle::sh("echo ok");
    fs::remove_dir(bundle.state_root()).unwrap();
    assert_eq!(bundle.prints(), "ok\n");
}

#[test]
fn a_state_root_of_slash() {
    let bundle = Bundle::new();
    let run = crate::support::run::Run::new(crate::support::peer::program()).args(["--root", "/", "state", &bundle.id]);
    Refusal::from_output("state", run.output()).because("root");
}

/// A state root on a filesystem of its own, in a mount namespace of its own.
fn on_filesystem(options: &str, fill: &str) -> (Bundle, Holder) {
    let holder = Holder::mounts("private");
    let bundle = Bundle::new();
    let root = bundle.state_root();
    holder.sh(&format!("mount -t tmpfs -o {options} state {0}; cd {0}; {fill}", root.display()));
    let enter = holder.enter();
    (bundle.through(enter), holder)
}

#[track_caller]
fn assert_refused_and_empty(bundle: Bundle, holder: &Holder, cause: &str, expected: &str) {
    for command in ["create", "run"] {
        bundle.write();
        bundle.refuses(command).because(cause);
        let left = holder.sh(&format!("ls -A {}", bundle.state_root().display()));
        assert_eq!(left.stdout, expected, "{command}");
    }
}

#[test]
fn a_state_root_that_cannot_be_written() {
    let (bundle, holder) = on_filesystem("size=64k", "true");
    holder.sh(&format!("mount -o remount,ro {}", bundle.state_root().display()));
    assert_refused_and_empty(bundle, &holder, "read-only file system", "");
}

#[test]
fn a_full_disk() {
    differs!(Crun, "leaves its directory");
    let (bundle, holder) = on_filesystem("size=16k", "dd if=/dev/zero of=filler bs=4k 2>/dev/null || true");
    assert_refused_and_empty(bundle, &holder, "no space left on device", "filler\n");
}

#[test]
fn a_disk_without_inodes() {
    differs!(Crun, "leaves its directory");
    for inodes in 2..5 {
        let (bundle, holder) = on_filesystem(&format!("size=1m,nr_inodes={inodes}"), "true");
        bundle.write();
        let output = bundle.command("run").output();
        if !output.status.success() {
            assert!(
                output.stderr.contains("no space left on device") || !crate::support::peer::is_corten(),
                "{output:#?}"
            );
        }
        let left = holder.sh(&format!("ls -A {}", bundle.state_root().display()));
        assert_eq!(left.stdout, "", "{inodes} inodes");
        bundle.assert_nothing_left();
    }
}
