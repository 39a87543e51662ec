//! The example configuration that the `spec` command writes: runc's, so that scripts that edit it go on working.

use std::borrow::Cow;

use serde::Serialize;

use super::document::Node;
use crate::error::{Error, Kind, Result};

/// Who runs a container without privileges: root inside is this user outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// An example, in the order in which it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Example(Node<'static>);

/// The version of the specification that examples are written for.
const OCI_VERSION: &str = "1.3.0";

/// What `spec` writes; `rootless` is what `spec --rootless` adds. With a `cgroup_namespace` where the host has cgroup v2.
pub fn default_spec(rootless: Option<Owner>, cgroup_namespace: bool) -> Example {
    Example(object([
        ("ociVersion", text(OCI_VERSION)),
        ("process", process()),
        ("root", object([("path", text("rootfs")), ("readonly", Node::Bool(true))])),
        ("hostname", text("corten")),
        ("mounts", mounts(rootless.is_some())),
        ("linux", linux(rootless, cgroup_namespace)),
    ]))
}

impl Example {
    /// The file's content: indented by tabs, no line break at the end, as runc writes it.
    pub fn to_json(&self) -> Result<String> {
        let mut bytes = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, tabs);
        let failed = |error: &dyn std::fmt::Display| Error::new(Kind::Failed, error.to_string());
        self.0.serialize(&mut serializer).map_err(|error| failed(&error))?;
        String::from_utf8(bytes).map_err(|error| failed(&error))
    }
}

fn text(value: &'static str) -> Node<'static> {
    Node::Text(Cow::Borrowed(value))
}

fn number(value: u32) -> Node<'static> {
    Node::Number(value.into())
}

fn texts(values: &[&'static str]) -> Node<'static> {
    Node::List(values.iter().map(|value| text(value)).collect())
}

fn object<const N: usize>(members: [(&'static str, Node<'static>); N]) -> Node<'static> {
    Node::Object(members.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
}

/// CVE-2022-29162: no inheritable set.
const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

fn process() -> Node<'static> {
    let nofile = object([("type", text("RLIMIT_NOFILE")), ("hard", number(1024)), ("soft", number(1024))]);
    object([
        ("terminal", Node::Bool(true)),
        ("user", object([("uid", number(0)), ("gid", number(0))])),
        ("args", texts(&["sh"])),
        ("env", texts(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"])),
        ("cwd", text("/")),
        // No ambient set, unlike runc's example: without an inheritable one it cannot be raised, and only makes warnings.
        ("capabilities", object(["bounding", "effective", "permitted"].map(|set| (set, texts(&CAPABILITIES))))),
        ("rlimits", Node::List(vec![nofile])),
        ("noNewPrivileges", Node::Bool(true)),
    ])
}

fn mounts(rootless: bool) -> Node<'static> {
    let devpts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    // Without privileges there is no gid 5 to give terminals to, and no sysfs of one's own without a network namespace.
    let devpts = if rootless { &devpts[..5] } else { &devpts[..] };
    let sys = if rootless {
        mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"])
    } else {
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
    };
    Node::List(vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", devpts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sys,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}

fn mount(
    destination: &'static str,
    kind: &'static str,
    source: &'static str,
    options: &[&'static str],
) -> Node<'static> {
    let mut members = vec![("destination", text(destination)), ("type", text(kind)), ("source", text(source))];
    if !options.is_empty() {
        members.push(("options", texts(options)));
    }
    Node::Object(members.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
}

fn linux(rootless: Option<Owner>, cgroup_namespace: bool) -> Node<'static> {
    let mut members = match rootless {
        None => {
            let deny_all = object([("allow", Node::Bool(false)), ("access", text("rwm"))]);
            vec![("resources", object([("devices", Node::List(vec![deny_all]))]))]
        }
        Some(owner) => vec![("uidMappings", root_is(owner.uid)), ("gidMappings", root_is(owner.gid))],
    };
    members.push(("namespaces", namespaces(rootless.is_some(), cgroup_namespace)));
    members.push(("maskedPaths", texts(&MASKED_PATHS)));
    members.push(("readonlyPaths", texts(&READONLY_PATHS)));
    Node::Object(members.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
}

fn root_is(host_id: u32) -> Node<'static> {
    Node::List(vec![object([("containerID", number(0)), ("hostID", number(host_id)), ("size", number(1))])])
}

fn namespaces(rootless: bool, cgroup_namespace: bool) -> Node<'static> {
    let kinds = [
        ("pid", true),
        ("network", !rootless),
        ("ipc", true),
        ("uts", true),
        ("mount", true),
        ("cgroup", cgroup_namespace),
        ("user", rootless),
    ];
    Node::List(kinds.iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| object([("type", text(kind))])).collect())
}

const MASKED_PATHS: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// What runc 1.1.5 writes, with what we mean to be different.
    fn expected(runc: &str) -> String {
        let (before, ambient) = runc.split_once(",\n\t\t\t\"ambient\"").unwrap();
        let (_, behind) = ambient.split_once("\t\t\t]").unwrap();
        format!("{before}{behind}")
            .replace("\"1.0.2-dev\"", "\"1.3.0\"")
            .replace("\"hostname\": \"runc\"", "\"hostname\": \"corten\"")
    }

    #[test]
    fn is_runcs_to_the_byte() {
        let plain = default_spec(None, false).to_json().unwrap();
        assert_eq!(plain, expected(include_str!("testdata/runc-spec.json")));
        let rootless = default_spec(Some(Owner { uid: 0, gid: 0 }), false).to_json().unwrap();
        assert_eq!(rootless, expected(include_str!("testdata/runc-spec-rootless.json")));
    }

    #[test]
    fn can_be_parsed() {
        for rootless in [None, Some(Owner { uid: 1000, gid: 1001 })] {
            for cgroup_namespace in [false, true] {
                let example = default_spec(rootless, cgroup_namespace).to_json().unwrap();
                let config = Config::parse(example.as_bytes()).unwrap();
                assert_eq!(config.linux.namespaces.has(crate::config::NamespaceKind::Cgroup), cgroup_namespace);
                let mapped = config.linux.id_mappings.map(|maps| (maps.uids[0].host_id, maps.gids[0].host_id));
                assert_eq!(mapped, rootless.map(|owner| (owner.uid, owner.gid)));
            }
        }
    }
}
