//! What must be there, and where an object or an array belongs: one table, walked once over the whole document.
//!
//! The walk also finds keys that stand twice and strings that hold a NUL byte, at any depth and below unknown
//! properties too.

use super::document::Node;
use super::property::Property;
use crate::error::{Error, Result};

/// What a value looks like.
pub(super) enum Shape {
    /// A scalar, or unknown: the typed model has the say.
    Any,
    /// An object with `required` members; the shapes of the others that are not scalars.
    Object { required: &'static [&'static str], members: &'static [(&'static str, &'static Shape)] },
    /// An array.
    ListOf(&'static Shape),
    /// An object whose keys are the user's.
    MapOf(&'static Shape),
}

use Shape::{Any, ListOf, MapOf, Object};

const STRINGS: Shape = ListOf(&Any);
const OBJECT: Shape = Object { required: &[], members: &[] };

const fn object(required: &'static [&'static str]) -> Shape {
    Object { required, members: &[] }
}

/// A whole `config.json`.
pub(super) const SPEC: Shape = Object {
    required: &["ociVersion", "root"],
    members: &[
        ("root", &object(&["path"])),
        ("mounts", &ListOf(&MOUNT)),
        ("process", &PROCESS),
        ("hooks", &HOOKS),
        ("annotations", &MapOf(&Any)),
        ("linux", &LINUX),
    ],
};

const ID_MAPPINGS: Shape = ListOf(&object(&["containerID", "hostID", "size"]));

const MOUNT: Shape = Object {
    required: &["destination"],
    members: &[("options", &STRINGS), ("uidMappings", &ID_MAPPINGS), ("gidMappings", &ID_MAPPINGS)],
};

/// `process`, and the document that `exec --process` reads. That `consoleSize` is whole is checked only with a terminal.
pub(super) const PROCESS: Shape = Object {
    required: &["cwd"],
    members: &[
        ("user", &Object { required: &["uid", "gid"], members: &[("additionalGids", &ListOf(&Any))] }),
        ("args", &STRINGS),
        ("env", &STRINGS),
        ("capabilities", &CAPABILITIES),
        ("rlimits", &ListOf(&object(&["type", "soft", "hard"]))),
        ("scheduler", &Object { required: &["policy"], members: &[("flags", &STRINGS)] }),
        ("ioPriority", &object(&["class", "priority"])),
        ("execCPUAffinity", &OBJECT),
    ],
};

const CAPABILITIES: Shape = Object {
    required: &[],
    members: &[
        ("bounding", &STRINGS),
        ("effective", &STRINGS),
        ("inheritable", &STRINGS),
        ("permitted", &STRINGS),
        ("ambient", &STRINGS),
    ],
};

const HOOK_LIST: Shape = ListOf(&Object { required: &["path"], members: &[("args", &STRINGS), ("env", &STRINGS)] });

const HOOKS: Shape = Object {
    required: &[],
    members: &[
        ("prestart", &HOOK_LIST),
        ("createRuntime", &HOOK_LIST),
        ("createContainer", &HOOK_LIST),
        ("startContainer", &HOOK_LIST),
        ("poststart", &HOOK_LIST),
        ("poststop", &HOOK_LIST),
    ],
};

const LINUX: Shape = Object {
    required: &[],
    members: &[
        ("namespaces", &ListOf(&object(&["type"]))),
        ("uidMappings", &ID_MAPPINGS),
        ("gidMappings", &ID_MAPPINGS),
        // Numbers too, except for a FIFO: linux::check_device.
        ("devices", &ListOf(&object(&["type", "path"]))),
        ("netDevices", &MapOf(&OBJECT)),
        ("resources", &RESOURCES),
        ("maskedPaths", &STRINGS),
        ("readonlyPaths", &STRINGS),
        ("sysctl", &MapOf(&Any)),
        ("timeOffsets", &MapOf(&OBJECT)),
        ("seccomp", &SECCOMP),
        ("intelRdt", &Object { required: &[], members: &[("schemata", &STRINGS)] }),
        ("memoryPolicy", &object(&["mode"])),
        ("personality", &Object { required: &["domain"], members: &[("flags", &STRINGS)] }),
    ],
};

/// `linux.resources`, and the document that `update --resources` reads.
pub(super) const RESOURCES: Shape = Object {
    required: &[],
    members: &[
        ("devices", &ListOf(&object(&["allow"]))),
        ("memory", &OBJECT),
        ("cpu", &OBJECT),
        ("pids", &OBJECT),
        ("blockIO", &BLOCK_IO),
        ("hugepageLimits", &ListOf(&object(&["pageSize", "limit"]))),
        ("network", &Object { required: &[], members: &[("priorities", &ListOf(&object(&["name", "priority"])))] }),
        ("rdma", &MapOf(&OBJECT)),
        ("unified", &MapOf(&Any)),
    ],
};

const THROTTLES: Shape = ListOf(&object(&["major", "minor", "rate"]));

const BLOCK_IO: Shape = Object {
    required: &[],
    members: &[
        ("weightDevice", &ListOf(&object(&["major", "minor"]))),
        ("throttleReadBpsDevice", &THROTTLES),
        ("throttleWriteBpsDevice", &THROTTLES),
        ("throttleReadIOPSDevice", &THROTTLES),
        ("throttleWriteIOPSDevice", &THROTTLES),
    ],
};

const SECCOMP: Shape = Object {
    required: &["defaultAction"],
    members: &[
        ("architectures", &STRINGS),
        ("flags", &STRINGS),
        (
            "syscalls",
            &ListOf(&Object {
                required: &["names", "action"],
                members: &[("names", &STRINGS), ("args", &ListOf(&object(&["index", "value", "op"])))],
            }),
        ),
    ],
};

/// Walks `node`, which stands at `at` and should look like `shape`.
pub(super) fn check(at: &Property<'_>, node: &Node<'_>, shape: &Shape) -> Result<()> {
    match node {
        Node::Null | Node::Bool(_) | Node::Number(_) => check_kind(at, node, shape),
        Node::Text(text) => check_kind(at, node, shape).and_then(|()| check_no_nul(at, text)),
        Node::List(items) => {
            check_kind(at, node, shape)?;
            let inner = if let ListOf(inner) = shape { inner } else { &Any };
            items.iter().enumerate().try_for_each(|(index, item)| check(&Property::Item(at, index), item, inner))
        }
        Node::Object(entries) => {
            check_kind(at, node, shape)?;
            check_no_duplicates(at, node)?;
            check_required(at, node, shape)?;
            entries.iter().try_for_each(|(key, value)| {
                check_no_nul(at, key)?;
                check(&Property::Key(at, key), value, member_shape(shape, key))
            })
        }
    }
}

fn member_shape(shape: &Shape, key: &str) -> &'static Shape {
    match shape {
        Object { members, .. } => members.iter().find(|(name, _)| *name == key).map_or(&Any, |(_, shape)| shape),
        MapOf(inner) => inner,
        Any | ListOf(_) => &Any,
    }
}

/// SPEC(config, Valid values): oci-spec would read `"linux": []` as an object without members.
fn check_kind(at: &Property<'_>, node: &Node<'_>, shape: &Shape) -> Result<()> {
    let expected = match (shape, node) {
        (Any, _) | (_, Node::Null) | (ListOf(_), Node::List(_)) | (Object { .. } | MapOf(_), Node::Object(_)) => {
            return Ok(());
        }
        (ListOf(_), _) => "an array",
        (Object { .. } | MapOf(_), _) => "an object",
    };
    Err(Error::invalid(at.to_string(), format!("expected {expected}, found {}", node.kind())))
}

/// SPEC(config, JSON): objects must not hold a name twice. Which of the two would be meant?
fn check_no_duplicates(at: &Property<'_>, node: &Node<'_>) -> Result<()> {
    let mut keys: Vec<&str> = node.entries().iter().map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Error::invalid(Property::Key(at, pair[0]).to_string(), "stands twice in its object")),
    }
}

fn check_required(at: &Property<'_>, node: &Node<'_>, shape: &Shape) -> Result<()> {
    let Object { required, .. } = shape else { return Ok(()) };
    required.iter().try_for_each(|key| require(at, node, key))
}

/// `key` must be given in `node`.
pub(super) fn require(at: &Property<'_>, node: &Node<'_>, key: &str) -> Result<()> {
    if node.get(key).is_given() {
        Ok(())
    } else {
        Err(Error::invalid(Property::Key(at, key).to_string(), "is required"))
    }
}

/// The kernel ends a string at NUL: `/a\0b` would be checked as one path and opened as another.
fn check_no_nul(at: &Property<'_>, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::invalid(at.to_string(), format!("{text:?} contains a NUL byte")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::testing::{accept, assert_refused, assert_text_refused};
    use crate::error::Kind;

    #[test]
    fn required_properties() {
        let mapping = |entry: serde_json::Value| json!({"linux": {"uidMappings": [entry]}});
        assert_refused(
            Kind::InvalidConfig,
            &[
                ("version", json!({"ociVersion": null}), "ociVersion: is required"),
                ("root", json!({"root": null}), "root: is required"),
                ("root path", json!({"root": {"path": null}}), "root.path: is required"),
                ("cwd", json!({"process": {"cwd": null}}), "process.cwd: is required"),
                ("uid", json!({"process": {"user": {"uid": null}}}), "process.user.uid: is required"),
                ("gid", json!({"process": {"user": {"gid": null}}}), "process.user.gid: is required"),
                (
                    "rlimit type",
                    json!({"process": {"rlimits": [{"soft": 1, "hard": 1}]}}),
                    "process.rlimits[0].type: is required",
                ),
                (
                    "rlimit soft",
                    json!({"process": {"rlimits": [{"type": "RLIMIT_CPU", "hard": 1}]}}),
                    "process.rlimits[0].soft: is required",
                ),
                (
                    "rlimit hard",
                    json!({"process": {"rlimits": [{"type": "RLIMIT_CPU", "soft": 0}]}}),
                    "process.rlimits[0].hard: is required",
                ),
                ("destination", json!({"mounts": [{"type": "proc"}]}), "mounts[0].destination: is required"),
                ("hook", json!({"hooks": {"poststop": [{}]}}), "hooks.poststop[0].path: is required"),
                (
                    "container id",
                    mapping(json!({"hostID": 1, "size": 1})),
                    "linux.uidMappings[0].containerID: is required",
                ),
                ("host id", mapping(json!({"containerID": 1, "size": 1})), "linux.uidMappings[0].hostID: is required"),
                ("size", mapping(json!({"hostID": 1, "containerID": 1})), "linux.uidMappings[0].size: is required"),
                ("namespace", json!({"linux": {"namespaces": [{}]}}), "linux.namespaces[0].type: is required"),
                ("device", json!({"linux": {"devices": [{"path": "/dev/a"}]}}), "linux.devices[0].type: is required"),
                (
                    "allow",
                    json!({"linux": {"resources": {"devices": [{"access": "r"}]}}}),
                    "linux.resources.devices[0].allow: is required",
                ),
                (
                    "weight device",
                    json!({"linux": {"resources": {"blockIO": {"weightDevice": [{"major": 8, "weight": 10}]}}}}),
                    "linux.resources.blockIO.weightDevice[0].minor: is required",
                ),
                (
                    "rate",
                    json!({"linux": {"resources": {"blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 0}]}}}}),
                    "linux.resources.blockIO.throttleReadIOPSDevice[0].rate: is required",
                ),
                (
                    "huge page limit",
                    json!({"linux": {"resources": {"hugepageLimits": [{"pageSize": "2MB"}]}}}),
                    "linux.resources.hugepageLimits[0].limit: is required",
                ),
                (
                    "interface priority",
                    json!({"linux": {"resources": {"network": {"priorities": [{"name": "eth0"}]}}}}),
                    "linux.resources.network.priorities[0].priority: is required",
                ),
                (
                    "default action",
                    json!({"linux": {"seccomp": {"flags": []}}}),
                    "linux.seccomp.defaultAction: is required",
                ),
                (
                    "action",
                    json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["a"]}]}}}),
                    "linux.seccomp.syscalls[0].action: is required",
                ),
                (
                    "operator",
                    json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_LOG", "syscalls": [
                        {"names": ["a"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 0}]}]}}}),
                    "linux.seccomp.syscalls[0].args[0].op: is required",
                ),
                (
                    "personality",
                    json!({"linux": {"personality": {"flags": []}}}),
                    "linux.personality.domain: is required",
                ),
            ],
        );
    }

    #[test]
    fn objects_and_arrays_in_each_others_place() {
        assert_refused(
            Kind::InvalidConfig,
            &[
                ("linux", json!({"linux": []}), "linux: expected an object, found an array"),
                ("root", json!({"root": ["rootfs"]}), "root: expected an object, found an array"),
                ("user", json!({"process": {"user": [0, 0]}}), "process.user: expected an object, found an array"),
                ("hooks", json!({"hooks": "none"}), "hooks: expected an object, found a string"),
                ("mounts", json!({"mounts": {"a": 1}}), "mounts: expected an array, found an object"),
                (
                    "memory",
                    json!({"linux": {"resources": {"memory": []}}}),
                    "linux.resources.memory: expected an object, found an array",
                ),
                (
                    "rdma",
                    json!({"linux": {"resources": {"rdma": {"mlx5_1": "a"}}}}),
                    "linux.resources.rdma.mlx5_1: expected an object, found a string",
                ),
            ],
        );
        assert_text_refused(&[
            ("array", "[]", "the document: expected an object, found an array"),
            ("null", "null", "the document: expected an object, found null"),
        ]);
        // Below unknown properties anything goes.
        accept(&json!({"x-vendor": {"process": []}, "linux": {"intelRDT": []}}));
    }

    #[test]
    fn a_key_twice_anywhere() {
        let document = |inner: &str| format!(r#"{{"ociVersion":"1.0.0","root":{{"path":"r"}},{inner}}}"#);
        let root = document(r#""root":{"path":"s"}"#);
        let annotation = document(r#""annotations":{"a.b":"1","a.b":"2"}"#);
        let unknown = document(r#""x-vendor":[{"k":1,"l":2,"k":3}]"#);
        assert_text_refused(&[
            ("known", &root, "root: stands twice in its object"),
            ("map", &annotation, "annotations[\"a.b\"]: stands twice in its object"),
            ("unknown", &unknown, "[\"x-vendor\"][0].k: stands twice in its object"),
        ]);
    }

    #[test]
    fn nul_bytes() {
        assert_refused(
            Kind::InvalidConfig,
            &[
                ("path", json!({"root": {"path": "a\0b"}}), "root.path: \"a\\0b\" contains a NUL byte"),
                (
                    "environment",
                    json!({"process": {"env": ["A=1", "B=\0"]}}),
                    "process.env[1]: \"B=\\0\" contains a NUL byte",
                ),
                ("key", json!({"annotations": {"a\0": ""}}), "annotations: \"a\\0\" contains a NUL byte"),
            ],
        );
        accept(&json!({"process": {"env": ["A=\\u0000"]}}));
    }
}
