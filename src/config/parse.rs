//! From bytes to the checked configuration: this file drives, the checks stand with their chapters.
//!
//! ```text
//! bytes ─► Node (as written) ─► presence: shapes, required, duplicates, NUL
//!       └► oci-spec's types; if they do not fit: Node ─► normalise ─► oci-spec's types, with the path of what is wrong
//! both  ─► one check for each MUST ─► Config
//! ```

use oci_spec::runtime;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::Node;
use super::hooks::Hooks;
use super::linux::Linux;
use super::mounts::Mount;
use super::presence::{self, Shape};
use super::process::{KEEP_GROUPS, Process};
use super::property::{Property, of_serde};
use super::resources::Resources;
use super::{Config, normalise, top};
use crate::error::{Error, Kind, Result};

impl Config {
    /// Parses and checks a `config.json`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let (spec, given) = WHOLE.read(json)?;
        Self::check(&spec, &given)
    }

    /// The same by the second of the two ways, which [`Self::parse`] only goes when the first is none: for what both take
    /// they must agree.
    #[cfg(any(test, fuzzing))]
    pub fn parse_normalised(json: &[u8]) -> Result<Self> {
        let given = WHOLE.read_as_written(text(json)?)?;
        Self::check(&WHOLE.read_normalised(&given)?, &given)
    }

    fn check(spec: &runtime::Spec, given: &Node<'_>) -> Result<Self> {
        let mut warnings = Vec::new();
        let oci_version = top::check_version(spec)?;
        let root = top::check_root(spec)?;
        let annotations = top::check_annotations(spec)?;
        let linux = Linux::check(spec.linux().as_ref(), given.get("linux"), &mut warnings)?;
        let mut process = match spec.process() {
            None => None,
            Some(process) => Some(Process::check(process, given.get("process"), &mut warnings)?),
        };
        if let Some(process) = &mut process {
            linux.check_user_is_mapped(&process.user)?;
            process.user.keeps_groups = annotations.get(KEEP_GROUPS).is_some_and(|value| value == "1");
        }
        Ok(Self {
            oci_version,
            root,
            mounts: Mount::check_all(spec.mounts().as_deref().unwrap_or_default(), &linux.namespaces)?,
            process,
            hostname: top::check_hostname(spec, &linux.namespaces)?,
            domainname: top::check_domainname(spec, &linux.namespaces)?,
            hooks: Hooks::check(spec.hooks().as_ref())?,
            annotations,
            linux,
            warnings,
        })
    }
}

impl Process {
    /// Parses and checks a `process` object by itself, as `exec --process` gets it; the second part are warnings.
    pub fn parse(json: &[u8]) -> Result<(Self, Vec<String>)> {
        let (spec, given) = PROCESS.read(json)?;
        let mut warnings = Vec::new();
        Ok((Self::check(&spec, &given, &mut warnings)?, warnings))
    }
}

impl Resources {
    /// Parses and checks a `linux.resources` object by itself, as `update --resources` gets it; the second part are
    /// warnings.
    pub fn parse(json: &[u8]) -> Result<(Self, Vec<String>)> {
        let (spec, given) = RESOURCES.read(json)?;
        let mut warnings = Vec::new();
        Ok((Self::check(&spec, &given, &mut warnings)?, warnings))
    }
}

/// A kind of document.
struct Document {
    /// What its properties' paths begin with.
    name: &'static str,
    shape: Shape,
    normalise: fn(&mut Value),
}

const WHOLE: Document = Document { name: "", shape: presence::SPEC, normalise: normalise::spec };
const PROCESS: Document = Document { name: "process", shape: presence::PROCESS, normalise: normalise::process };
const RESOURCES: Document =
    Document { name: "linux.resources", shape: presence::RESOURCES, normalise: normalise::resources };

impl Document {
    /// The typed document, and the document as written.
    fn read<'a, T: DeserializeOwned>(&self, json: &'a [u8]) -> Result<(T, Node<'a>)> {
        // One look at the encoding for both readers.
        let json = text(json)?;
        let given = self.read_as_written(json)?;
        let typed = match serde_json::from_str(json) {
            Ok(typed) => typed,
            Err(_) => self.read_normalised(&given)?,
        };
        Ok((typed, given))
    }

    fn read_as_written<'a>(&self, json: &'a str) -> Result<Node<'a>> {
        let given: Node<'_> = serde_json::from_str(json).map_err(|error| not_json(&error))?;
        if !matches!(given, Node::Object(_)) {
            let found = format!("expected an object, found {}", given.kind());
            return Err(Error::invalid(Property::Document(self.name).to_string(), found));
        }
        presence::check(&Property::Document(self.name), &given, &self.shape)?;
        Ok(given)
    }

    fn read_normalised<T: DeserializeOwned>(&self, given: &Node<'_>) -> Result<T> {
        let mut value = given.to_value();
        (self.normalise)(&mut value);
        serde_path_to_error::deserialize(value)
            .map_err(|error| Error::invalid(of_serde(self.name, error.path()), in_words(&error.inner().to_string())))
    }
}

fn text(json: &[u8]) -> Result<&str> {
    std::str::from_utf8(json).map_err(|error| {
        let place = error.valid_up_to();
        Error::new(Kind::InvalidConfig, format!("not valid JSON: byte {place} is not UTF-8"))
    })
}

fn not_json(error: &serde_json::Error) -> Error {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = error.to_string();
    let what = what.strip_suffix(&place).unwrap_or(&what);
    Error::new(Kind::InvalidConfig, format!("not valid JSON: line {}, column {}: {what}", error.line(), error.column()))
}

/// serde's expectations in words that need no Rust.
const EXPECTATIONS: [(&str, &str); 11] = [
    ("u8", "a number from 0 to 255"),
    ("u16", "a number from 0 to 65535"),
    ("u32", "a number from 0 to 4294967295"),
    ("u64", "a number from 0 to 18446744073709551615"),
    ("usize", "a number from 0 to 18446744073709551615"),
    ("i32", "a number from -2147483648 to 2147483647"),
    ("i64", "a number from -9223372036854775808 to 9223372036854775807"),
    ("path string", "a string"),
    ("a sequence", "an array"),
    ("a map", "an object"),
    ("string or map", "a string"),
];

/// `unknown variant `x`, expected ..` is about Rust; `"x" is not known, expected ..` is about the value.
fn in_words(message: &str) -> String {
    let quote = if message.starts_with("invalid ") { "" } else { "\"" };
    let message = message.replace("unknown variant ", "unknown value ").replace('`', quote);
    let message = message.replace("invalid type: sequence,", "invalid type: array,");
    let message = message.replace("invalid type: map,", "invalid type: object,");
    match message.rsplit_once(", expected ") {
        Some((found, expected)) => {
            let expected = EXPECTATIONS.iter().find(|(rust, _)| *rust == expected).map_or(expected, |(_, words)| words);
            format!("{found}, expected {expected}")
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::linux::NamespaceKind;
    use crate::config::testing::{accept, assert_refused, assert_text_refused, with};
    use crate::config::{CapSet, NamespaceChoice};

    const FIXTURES: [(&str, &[u8]); 7] = [
        ("minimal", include_bytes!("testdata/minimal.json")),
        ("minimal for start", include_bytes!("testdata/minimal-for-start.json")),
        ("runc spec", include_bytes!("testdata/runc-spec.json")),
        ("runc spec --rootless", include_bytes!("testdata/runc-spec-rootless.json")),
        ("docker", include_bytes!("testdata/docker.json")),
        ("containerd", include_bytes!("testdata/containerd.json")),
        ("containerd-cri-userns", include_bytes!("testdata/containerd-cri-userns.json")),
    ];

    fn fixture(wanted: &str) -> Config {
        let (name, bytes) = FIXTURES.into_iter().find(|(name, _)| *name == wanted).unwrap();
        Config::parse(bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    #[test]
    fn both_routes_say_the_same() {
        for (name, bytes) in FIXTURES {
            assert_eq!(Config::parse(bytes).unwrap(), Config::parse_normalised(bytes).unwrap(), "{name}");
        }
        for patch in [
            json!({"process": {"capabilities": {"bounding": ["CAP_CHOWN", "chown"], "ambient": []}}}),
            json!({"process": {"terminal": true, "consoleSize": {"height": 3, "width": 4}}}),
            json!({"linux": {"resources": {"pids": {}, "hugepageLimits": [{"pageSize": "2MB", "limit": 5}]}}}),
            json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}, "hooks": {}, "annotations": {"a": ""}}),
        ] {
            let bytes = with(&patch);
            assert_eq!(Config::parse(&bytes).unwrap(), Config::parse_normalised(&bytes).unwrap(), "{patch}");
        }
    }

    #[test]
    fn fixtures_take_the_route_they_are_for() {
        for (name, bytes) in FIXTURES {
            let fits = serde_json::from_slice::<runtime::Spec>(bytes).is_ok();
            assert_eq!(fits, name != "minimal for start", "{name}");
        }
    }

    #[test]
    fn minimal() {
        let config = fixture("minimal");
        assert_eq!(config.process, None);
        assert_eq!(config.linux, Linux::default());
        assert!(!config.root.readonly);
        let process = fixture("minimal for start").process.unwrap();
        assert_eq!((process.user.uid, process.user.gid, process.user.umask), (0, 0, 0o022));
        assert_eq!((process.capabilities, process.terminal, process.oom_score_adj), (None, None, None));
    }

    #[test]
    fn docker() {
        let config = fixture("docker");
        assert_eq!(config.warnings, Vec::<String>::new());
        assert_eq!(config.hooks.prestart.len(), 1);
        assert_eq!(config.linux.resources.cpu.shares, None);
        assert_eq!(config.linux.resources.block_io.weight, None);
        assert_eq!(config.linux.resources.pids_limit, Some(2048));
        assert_eq!(config.linux.resources.devices.len(), 8);
        let seccomp = config.linux.seccomp.unwrap();
        assert_eq!((seccomp.rules.len(), seccomp.flags), (13, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW));
        let process = config.process.unwrap();
        assert_eq!(process.terminal.unwrap().size, Some((45, 160)));
        assert_eq!(process.oom_score_adj, Some(0));
        let capabilities = process.capabilities.unwrap();
        assert_eq!((capabilities.bounding, capabilities.inheritable), (CapSet(0xa804_25fb), CapSet(0)));
    }

    #[test]
    fn containerd() {
        let config = fixture("containerd");
        let terminals = config.linux.resources.devices[8];
        assert_eq!((terminals.major, terminals.minor, terminals.mknod), (Some(136), None, true));
        assert!(config.process.unwrap().no_new_privileges);
    }

    #[test]
    fn a_pod_joins_a_user_namespace_and_says_its_mappings() {
        let config = fixture("containerd-cri-userns");
        let NamespaceChoice::Join { path, property } = config.linux.namespaces.of(NamespaceKind::User) else {
            panic!("not joined")
        };
        assert_eq!((path.to_str(), property.as_str()), (Some("/proc/5151/ns/user"), "linux.namespaces[6].path"));
        assert_eq!(config.linux.id_mappings.unwrap().uids[0].host_id, 65536);
        assert!(config.mounts[6].id_mappings.is_some());
        assert_eq!(config.mounts[6].kind, "");
    }

    #[test]
    fn wrong_values_name_their_path() {
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "namespace",
                    json!({"linux": {"namespaces": [{"type": "pid"}, {"type": "net"}]}}),
                    "linux.namespaces[1].type: unknown value \"net\", expected one of \"mount\", \"cgroup\", \"uts\", \
                     \"ipc\", \"user\", \"pid\", \"network\", \"time\"",
                ),
                (
                    "string for number",
                    json!({"process": {"user": {"uid": "root"}}}),
                    "process.user.uid: invalid type: string \"root\", expected a number from 0 to 4294967295",
                ),
                (
                    "out of range",
                    json!({"process": {"user": {"gid": -1}}}),
                    "process.user.gid: invalid value: integer -1, expected a number from 0 to 4294967295",
                ),
                (
                    "fraction",
                    json!({"process": {"oomScoreAdj": 1.5}}),
                    "process.oomScoreAdj: invalid type: floating point 1.5, expected a number from -2147483648 to 2147483647",
                ),
                (
                    "weight",
                    json!({"linux": {"resources": {"blockIO": {"weight": 70000}}}}),
                    "linux.resources.blockIO.weight: invalid value: integer 70000, expected a number from 0 to 65535",
                ),
                ("array", json!({"process": {"cwd": ["/"]}}), "process.cwd: invalid type: array, expected a string"),
                (
                    "object",
                    json!({"root": {"readonly": {}}}),
                    "root.readonly: invalid type: object, expected a boolean",
                ),
                (
                    "boolean",
                    json!({"root": {"readonly": "yes"}}),
                    "root.readonly: invalid type: string \"yes\", expected a boolean",
                ),
                (
                    "annotation",
                    json!({"annotations": {"org.example/a": 1}}),
                    "annotations[\"org.example/a\"]: invalid type: integer 1, expected a string",
                ),
                (
                    "rlimit",
                    json!({"process": {"rlimits": [{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]}}),
                    "process.rlimits[0].type: unknown value \"RLIMIT_TEST\", expected one of \"RLIMIT_CPU\", \
                     \"RLIMIT_FSIZE\", \"RLIMIT_DATA\", \"RLIMIT_STACK\", \"RLIMIT_CORE\", \"RLIMIT_RSS\", \
                     \"RLIMIT_NPROC\", \"RLIMIT_NOFILE\", \"RLIMIT_MEMLOCK\", \"RLIMIT_AS\", \"RLIMIT_LOCKS\", \
                     \"RLIMIT_SIGPENDING\", \"RLIMIT_MSGQUEUE\", \"RLIMIT_NICE\", \"RLIMIT_RTPRIO\", \"RLIMIT_RTTIME\"",
                ),
            ],
        );
        // What `with` would take for "take this out".
        let document = r#"{"ociVersion":"1.0.0","root":{"path":"r"},"annotations":{"a":null}}"#;
        assert_text_refused(&[("null", document, "annotations.a: invalid type: null, expected a string")]);
    }

    #[test]
    fn what_is_not_json() {
        assert_text_refused(&[
            ("empty", "", "not valid JSON: line 1, column 0: EOF while parsing a value"),
            ("comma", "{\n  \"a\": 1,\n}", "not valid JSON: line 3, column 1: trailing comma"),
            ("text after", "{} x", "not valid JSON: line 1, column 4: trailing characters"),
        ]);
        let error = Config::parse(b"{\"a\": \"\xff\"}").unwrap_err();
        assert_eq!(error.to_string(), "not valid JSON: byte 7 is not UTF-8");
        assert_eq!(error.kind(), Kind::InvalidConfig);
    }

    #[test]
    fn what_oci_spec_is_too_strict_for() {
        let document = r#"{
            "ociVersion": "1.0.2-dev", "root": {"path": "rootfs", "readonly": null}, "mounts": null, "hooks": null,
            "process": {"user": {"uid": 1, "gid": 2, "additionalGids": null, "username": 5}, "cwd": "/", "args": ["a"],
                "commandLine": 5, "consoleSize": "ignored", "capabilities": {"bounding": ["CAP_CHOWN", "CAP_NEW"],
                "permitted": ["chown", "CAP_NEW"], "ambient": null}, "execCPUAffinity": {"initial": "", "final": "0-1, 3"}},
            "linux": {"timeOffsets": null, "namespaces": [{"type": "mount", "path": null}], "seccomp": {"defaultAction": ""},
                "resources": {"devices": [{"allow": true, "type": "", "major": null, "access": "rw"}],
                "memory": {"swappiness": null}, "pids": null,
                "hugepageLimits": [{"pageSize": "1GB", "limit": 18446744073709551615}]}},
            "windows": {"layerFolders": 5}, "solaris": 5, "vm": [], "zos": 5, "uidMappings": 5
        }"#;
        let config = Config::parse(document.as_bytes()).unwrap();
        assert_eq!(config.warnings, ["ignoring unknown or unavailable capabilities: [CAP_NEW chown]"]);
        let process = config.process.unwrap();
        assert_eq!((process.user.uid, process.user.gid), (1, 2));
        assert_eq!(process.capabilities.map(|sets| (sets.bounding, sets.permitted)), Some((CapSet(1), CapSet(0))));
        assert_eq!(config.linux.seccomp, None);
        assert_eq!(config.linux.resources.devices[0].major, None);
        assert_eq!(config.linux.resources.hugepages[0].limit, u64::MAX);
    }

    #[test]
    fn unknown_properties_are_ignored() {
        let config = accept(&json!({"x": {"y": [1]}, "process": {"z": 1}, "linux": {"intelRdtt": 1}}));
        assert_eq!(config.warnings, Vec::<String>::new());
    }

    #[test]
    fn parts_by_themselves() {
        let (process, warnings) =
            Process::parse(br#"{"cwd": "/", "args": ["a"], "capabilities": {"ambient": ["x"]}}"#).unwrap();
        assert_eq!((process.args.len(), warnings.len()), (1, 1));
        let error = Process::parse(br#"{"cwd": "/", "user": {"uid": "a", "gid": 0}}"#).unwrap_err();
        assert!(error.to_string().starts_with("process.user.uid: invalid type"), "{error}");
        let error = Process::parse(br#"{"args": []}"#).unwrap_err();
        assert_eq!(error.to_string(), "process.cwd: is required");
        assert_eq!(Process::parse(b"[]").unwrap_err().to_string(), "process: expected an object, found an array");

        let (resources, _) = Resources::parse(br#"{"pids": {"limit": -1}, "cpu": {"shares": 5}}"#).unwrap();
        assert_eq!((resources.pids_limit, resources.cpu.shares), (Some(-1), Some(5)));
        let error = Resources::parse(br#"{"memory": {"limit": "1G"}}"#).unwrap_err();
        assert!(error.to_string().starts_with("linux.resources.memory.limit: invalid type"), "{error}");
    }
}
