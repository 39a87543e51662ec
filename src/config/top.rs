//! What stands at the top of the document beside the chapters: version, root, names, annotations.

use std::collections::BTreeMap;

use oci_spec::runtime;

use super::Root;
use super::linux::{NamespaceKind, Namespaces};
use super::property::unless_empty;
use crate::error::{Error, Result};

/// SPEC(config, ociVersion): a SemVer 2.0.0 version. Any 1.x, pre-releases too: Go tools write `1.0.2-dev`.
pub(super) fn check_version(spec: &runtime::Spec) -> Result<String> {
    let text = spec.version();
    let version = semver::Version::parse(text)
        .map_err(|error| Error::invalid("ociVersion", format!("{text:?} is not a semantic version: {error}")))?;
    if version.major != 1 {
        return Err(Error::unsupported("ociVersion", format!("{text:?} is not a version 1.x of the specification")));
    }
    Ok(text.clone())
}

/// SPEC(config, root): required on Linux, and so is its path.
pub(super) fn check_root(spec: &runtime::Spec) -> Result<Root> {
    let root = spec.root().as_ref().ok_or_else(|| Error::invalid("root", "is required"))?;
    if root.path().as_os_str().is_empty() {
        return Err(Error::invalid("root.path", "is empty"));
    }
    Ok(Root { path: root.path().clone(), readonly: root.readonly().unwrap_or(false) })
}

/// SPEC(config, annotations): keys must not be empty. Unknown ones are nobody's business.
pub(super) fn check_annotations(spec: &runtime::Spec) -> Result<BTreeMap<String, String>> {
    let annotations: BTreeMap<_, _> =
        spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    if annotations.contains_key("") {
        return Err(Error::invalid("annotations", "a key is empty"));
    }
    Ok(annotations)
}

/// SPEC(config, hostname): set in the container's UTS namespace, never in the runtime's.
pub(super) fn check_hostname(spec: &runtime::Spec, namespaces: &Namespaces) -> Result<Option<String>> {
    check_uts_name("hostname", unless_empty(spec.hostname().as_ref()), namespaces)
}

/// SPEC(config, domainname): the same.
pub(super) fn check_domainname(spec: &runtime::Spec, namespaces: &Namespaces) -> Result<Option<String>> {
    check_uts_name("domainname", unless_empty(spec.domainname().as_ref()), namespaces)
}

/// `__NEW_UTS_LEN` of uname(2).
const UTS_LENGTH: usize = 64;

fn check_uts_name(property: &str, name: Option<String>, namespaces: &Namespaces) -> Result<Option<String>> {
    let Some(name) = name else { return Ok(None) };
    if !namespaces.has(NamespaceKind::Uts) {
        let why = format!("{name:?} would rename this machine: linux.namespaces has no uts namespace");
        return Err(Error::invalid(property, why));
    }
    if name.len() > UTS_LENGTH {
        let why = format!("{name:?} has {} bytes, the kernel takes {UTS_LENGTH}", name.len());
        return Err(Error::invalid(property, why));
    }
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::testing::{accept, assert_refused};
    use crate::error::Kind;

    #[test]
    fn versions() {
        for version in ["1.0.0", "1.0.2-dev", "1.3.0+dev", "1.0.0-rc5-dev", "1.99.0"] {
            assert_eq!(accept(&json!({"ociVersion": version})).oci_version, version);
        }
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "word",
                    json!({"ociVersion": "invalid"}),
                    "ociVersion: \"invalid\" is not a semantic version: unexpected character 'i' while parsing major version number",
                ),
                (
                    "two numbers",
                    json!({"ociVersion": "1.3"}),
                    "ociVersion: \"1.3\" is not a semantic version: unexpected end of input while parsing minor version number",
                ),
                (
                    "v",
                    json!({"ociVersion": "v1.3.0"}),
                    "ociVersion: \"v1.3.0\" is not a semantic version: unexpected character 'v' while parsing major version number",
                ),
            ],
        );
        assert_refused(
            Kind::Unsupported,
            &[
                (
                    "2",
                    json!({"ociVersion": "2.0.0"}),
                    "ociVersion: \"2.0.0\" is not a version 1.x of the specification",
                ),
                (
                    "0",
                    json!({"ociVersion": "0.6.0"}),
                    "ociVersion: \"0.6.0\" is not a version 1.x of the specification",
                ),
            ],
        );
    }

    #[test]
    fn names_and_annotations() {
        let config = accept(&json!({"hostname": "a", "domainname": "", "annotations": {"org.opencontainers.x": ""}}));
        assert_eq!((config.hostname.as_deref(), config.domainname), (Some("a"), None));
        assert_eq!(config.annotations.len(), 1);
        accept(&json!({"hostname": "", "linux": {"namespaces": [{"type": "mount"}]}}));
        accept(&json!({"hostname": "a", "linux": {"namespaces": [{"type": "uts", "path": "/proc/1/ns/uts"}]}}));
        let long = "x".repeat(65);
        assert_refused(
            Kind::InvalidConfig,
            &[
                ("root path", json!({"root": {"path": ""}}), "root.path: is empty"),
                (
                    "hostname without namespace",
                    json!({"hostname": "a", "linux": {"namespaces": [{"type": "mount"}]}}),
                    "hostname: \"a\" would rename this machine: linux.namespaces has no uts namespace",
                ),
                (
                    "domainname without namespace",
                    json!({"domainname": "b", "linux": null}),
                    "domainname: \"b\" would rename this machine: linux.namespaces has no uts namespace",
                ),
                (
                    "long hostname",
                    json!({"hostname": long}),
                    &format!("hostname: {long:?} has 65 bytes, the kernel takes 64"),
                ),
                ("empty key", json!({"annotations": {"": "x"}}), "annotations: a key is empty"),
            ],
        );
    }
}
