//! `features`: what this program knows, from the tables that it works by.

use std::collections::BTreeMap;

use corten::config::execution::{MEMORY_POLICY_FLAGS, memory_policy_modes};
use corten::config::process::{CAPABILITIES, KEEP_GROUPS};
use corten::error::Result;
use corten::subsystems::cgroups::systemd::UNIT_PROPERTY;
use corten::subsystems::checkpoint::CONFIG_FILE;
use corten::subsystems::hooks::OCI_VERSION;
use corten::subsystems::mounts::options::OPTIONS;
use corten::subsystems::seccomp;
use oci_spec::runtime::{
    Apparmor, Cgroup, IDMap, IntelRdt, LinuxFeature, LinuxNamespaceType, LinuxSeccompAction, MemoryPolicy,
    MountExtensions, NetDevices, Seccomp, Selinux,
};
use serde::Serialize;

use super::args::FlagsEnd;
use super::{Command, Invocation, invalid, output, version};

pub(super) const COMMAND: Command = Command {
    name: "features",
    about: "Print what this runtime can do",
    arguments: "",
    counts: (0, 0),
    flags: &[],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

fn run(_: &Invocation) -> Result<u8> {
    output::print(&document()?)?;
    Ok(0)
}

/// The page of features.md, in its order. (oci-spec's own type for it has its annotations in the order of a hash.)
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: [&'static str; 6],
    mount_options: Vec<&'static str>,
    linux: LinuxFeature,
    annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: [&'static str; 3],
}

/// COMPAT(runc): four spaces.
fn document() -> Result<String> {
    let mut mount_options: Vec<&str> = OPTIONS.iter().map(|(name, ..)| *name).collect();
    mount_options.sort_unstable();
    let document = Document {
        oci_version_min: "1.0.0",
        oci_version_max: OCI_VERSION,
        hooks: ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        mount_options,
        linux: linux(),
        annotations: annotations(),
        potentially_unsafe_config_annotations: [UNIT_PROPERTY, KEEP_GROUPS, CONFIG_FILE],
    };
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, format)).map_err(invalid)?;
    text.push(b'\n');
    String::from_utf8(text).map_err(invalid)
}

fn annotations() -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([
        ("dev.corten.commit", version::COMMIT.unwrap_or("unknown").to_owned()),
        ("dev.corten.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("org.opencontainers.runc.checkpoint.enabled", "true".to_owned()),
    ]);
    if let Some(version) = version::libseccomp() {
        annotations.insert("io.github.seccomp.libseccomp.version", version);
    }
    annotations
}

/// Everything that is `null` by default is said, so that nobody has to guess.
fn linux() -> LinuxFeature {
    use LinuxNamespaceType as Namespace;
    let mut cgroup = Cgroup::default();
    cgroup.set_v1(Some(true)).set_v2(Some(true)).set_rdma(Some(true));
    cgroup.set_systemd(Some(true)).set_systemd_user(Some(true));
    let mut rdt = IntelRdt::default();
    rdt.set_enabled(Some(true)).set_schemata(Some(true)).set_monitoring(Some(true));
    let mut policy = MemoryPolicy::default();
    policy.set_modes(owned(memory_policy_modes()));
    policy.set_flags(owned(MEMORY_POLICY_FLAGS.into_iter().map(|(name, _)| name)));
    let mut linux = LinuxFeature::default();
    linux
        .set_namespaces(Some(vec![
            Namespace::Cgroup,
            Namespace::Ipc,
            Namespace::Mount,
            Namespace::Network,
            Namespace::Pid,
            Namespace::Time,
            Namespace::User,
            Namespace::Uts,
        ]))
        .set_capabilities(owned(CAPABILITIES))
        .set_cgroup(Some(cgroup))
        .set_seccomp(Some(seccomp_features()))
        .set_apparmor(Some(Apparmor::default().set_enabled(Some(true)).clone()))
        .set_selinux(Some(Selinux::default().set_enabled(Some(true)).clone()))
        .set_intel_rdt(Some(rdt))
        .set_memory_policy(Some(policy))
        .set_mount_extensions(Some(
            MountExtensions::default().set_idmap(Some(IDMap::default().set_enabled(Some(true)).clone())).clone(),
        ))
        .set_net_devices(Some(NetDevices::default().set_enabled(Some(true)).clone()));
    linux
}

fn owned(names: impl IntoIterator<Item = &'static str>) -> Option<Vec<String>> {
    Some(names.into_iter().map(str::to_owned).collect())
}

fn seccomp_features() -> Seccomp {
    use LinuxSeccompAction as Action;
    let flags = |taken: fn(u64) -> bool| {
        let named = seccomp::FLAGS.into_iter().filter(|(_, bit)| taken(*bit));
        Some(named.map(|(name, _)| format!("SECCOMP_FILTER_FLAG_{name}")).collect())
    };
    let mut features = Seccomp::default();
    features
        .set_enabled(Some(true))
        .set_actions(Some(vec![
            Action::ScmpActAllow,
            Action::ScmpActErrno,
            Action::ScmpActKill,
            Action::ScmpActKillProcess,
            Action::ScmpActKillThread,
            Action::ScmpActLog,
            Action::ScmpActNotify,
            Action::ScmpActTrace,
            Action::ScmpActTrap,
        ]))
        .set_operators(owned([
            "SCMP_CMP_EQ",
            "SCMP_CMP_GE",
            "SCMP_CMP_GT",
            "SCMP_CMP_LE",
            "SCMP_CMP_LT",
            "SCMP_CMP_MASKED_EQ",
            "SCMP_CMP_NE",
        ]))
        .set_archs(Some(seccomp::architectures().collect()))
        .set_known_flags(flags(|_| true))
        .set_supported_flags(flags(seccomp::is_supported));
    features
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten::config::Config;
    use corten::subsystems::mounts::options::Options;
    use oci_spec::runtime::Arch;
    use serde_json::{Value, json};

    #[test]
    fn nothing_is_left_to_guess() {
        let text = document().unwrap();
        assert!(!text.contains("null"), "{text}");
        let parsed: oci_spec::runtime::Features = serde_json::from_str(&text).unwrap();
        assert_eq!((parsed.oci_version_min().as_str(), parsed.oci_version_max().as_str()), ("1.0.0", "1.3.0"));
        assert!(parsed.mount_options().as_ref().unwrap().iter().any(|option| option == "rro"));
        let linux = parsed.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 8);
        assert!(linux.seccomp().as_ref().unwrap().archs().as_ref().unwrap().contains(&Arch::ScmpArchX86_64));
        assert!(text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\""), "{text}");
    }

    /// SPEC(features): each word is known where a configuration may have it, and makes no warning.
    #[test]
    fn what_is_listed_is_taken() {
        let features: Value = serde_json::from_str(&document().unwrap()).unwrap();
        let linux = &features["linux"];
        let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": ""}]});
        let mut config = json!({
            "ociVersion": "1.3.0", "root": {"path": "rootfs"},
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"], "capabilities": {"bounding": [""]}},
            "linux": {
                "namespaces": [{"type": "", "path": "/proc/1/ns/x"}],
                "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a", "architectures": [""], "flags": [""],
                            "syscalls": [rule]},
                "memoryPolicy": {"mode": "", "nodes": "0", "flags": [""]}
            }
        });
        let places = [
            (&linux["namespaces"], "/linux/namespaces/0/type"),
            (&linux["capabilities"], "/process/capabilities/bounding/0"),
            (&linux["seccomp"]["actions"], "/linux/seccomp/syscalls/0/action"),
            (&linux["seccomp"]["operators"], "/linux/seccomp/syscalls/0/args/0/op"),
            (&linux["seccomp"]["archs"], "/linux/seccomp/architectures/0"),
            (&linux["seccomp"]["knownFlags"], "/linux/seccomp/flags/0"),
            (&linux["memoryPolicy"]["modes"], "/linux/memoryPolicy/mode"),
            (&linux["memoryPolicy"]["flags"], "/linux/memoryPolicy/flags/0"),
        ];
        let names = |list: &Value| list.as_array().unwrap().clone();
        places.iter().for_each(|(list, place)| *config.pointer_mut(place).unwrap() = names(list).remove(0));
        for (list, place) in places {
            for name in names(list) {
                *config.pointer_mut(place).unwrap() = name.clone();
                let policy = &mut config["linux"]["memoryPolicy"];
                let takes_none = policy["mode"] == "MPOL_DEFAULT" || policy["mode"] == "MPOL_LOCAL";
                policy["nodes"] = if takes_none { "" } else { "0" }.into();
                let config =
                    Config::parse(config.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(config.warnings, Vec::<String>::new(), "{name}");
            }
        }
        for name in names(&features["mountOptions"]) {
            assert_eq!(Options::parse(name.as_str()).data, [], "{name} would be the filesystem's");
        }
    }
}
