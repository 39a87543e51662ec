//! `mounts[]`: what is mounted where. The meaning of the options is in `subsystems::mounts::options`.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime;

use super::linux::{IdMappings, NamespaceKind, Namespaces};
use crate::error::{Error, Result};

/// One entry of `mounts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// The JSON path of the entry, such as `mounts[3]`, for messages of later layers.
    pub property: String,
    /// Absolute and without `.` and `..`. SPEC(config, mounts): a relative destination is taken below `/`.
    pub destination: PathBuf,
    /// As in `/proc/filesystems`; empty for a bind mount, whose options decide.
    pub kind: String,
    /// A device, a file or directory of a bind mount, or a dummy.
    pub source: Option<PathBuf>,
    /// Words, in the order given: the last of contradicting ones wins.
    pub options: Vec<String>,
    /// An id-mapped mount's own mapping: both halves or none.
    pub id_mappings: Option<IdMappings>,
}

impl Mount {
    /// Checks the chapter.
    pub(super) fn check_all(spec: &[runtime::Mount], namespaces: &Namespaces) -> Result<Vec<Self>> {
        spec.iter()
            .enumerate()
            .map(|(index, mount)| Self::check(format!("mounts[{index}]"), mount, namespaces))
            .collect()
    }

    fn check(property: String, spec: &runtime::Mount, namespaces: &Namespaces) -> Result<Self> {
        let options: Vec<String> = spec.options().iter().flatten().filter(|word| !word.is_empty()).cloned().collect();
        let id_mappings = check_id_mappings(&property, spec)?;
        check_has_mapping(&property, &options, id_mappings.is_some() || namespaces.has(NamespaceKind::User))?;
        Ok(Self {
            destination: check_destination(&property, spec.destination())?,
            kind: kind(spec, &options),
            source: spec.source().clone().filter(|source| !source.as_os_str().is_empty()),
            options,
            id_mappings,
            property,
        })
    }
}

/// SPEC(config, mounts): a relative destination is below `/`.
///
/// COMPAT(runc): `..` goes up in the text, before any link is followed, and never above `/`.
fn check_destination(property: &str, destination: &Path) -> Result<PathBuf> {
    if destination.as_os_str().is_empty() {
        return Err(Error::invalid(format!("{property}.destination"), "is empty"));
    }
    let mut cleaned = PathBuf::from("/");
    for component in destination.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => _ = cleaned.pop(),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    Ok(cleaned)
}

/// SPEC(config, mounts): `bind` or `rbind` makes a bind mount, whatever the type says.
fn kind(spec: &runtime::Mount, options: &[String]) -> String {
    if options.iter().any(|word| word == "bind" || word == "rbind") {
        String::new()
    } else {
        spec.typ().clone().unwrap_or_default()
    }
}

/// SPEC(config, mounts): `uidMappings` and `gidMappings` must be given along with each other.
fn check_id_mappings(property: &str, spec: &runtime::Mount) -> Result<Option<IdMappings>> {
    let uids = spec.uid_mappings().as_deref().unwrap_or_default();
    let gids = spec.gid_mappings().as_deref().unwrap_or_default();
    IdMappings::check(property, uids, gids)
}

/// SPEC(config, mounts): `idmap` and `ridmap` need the mount's own mapping or the container's.
fn check_has_mapping(property: &str, options: &[String], has_mapping: bool) -> Result<()> {
    let index = options.iter().position(|word| word == "idmap" || word == "ridmap");
    match index {
        Some(index) if !has_mapping => Err(Error::invalid(
            property,
            format!("option {:?} has no mapping: neither the mount nor a user namespace has one", options[index]),
        )),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::testing::{accept, assert_refused};
    use crate::error::Kind;

    #[test]
    fn destinations_are_cleaned_in_the_text() {
        let rows = [
            ("/data", "/data"),
            ("data/x", "/data/x"),
            ("/a//b/./c/", "/a/b/c"),
            ("/a/../b", "/b"),
            ("../../etc", "/etc"),
            ("/", "/"),
        ];
        for (written, cleaned) in rows {
            assert_eq!(check_destination("mounts[0]", Path::new(written)).unwrap(), Path::new(cleaned), "{written}");
        }
    }

    #[test]
    fn kinds_sources_and_options() {
        let config = accept(&json!({"mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/a", "type": "none", "source": "/a", "options": ["ro", "", "rbind", "rw"]},
            {"destination": "/b", "source": ""}
        ]}));
        let [proc, bind, bare] = &config.mounts[..] else { panic!("three mounts") };
        assert_eq!((proc.kind.as_str(), proc.property.as_str()), ("proc", "mounts[0]"));
        assert_eq!((bind.kind.as_str(), bind.options.join(" ")), ("", "ro rbind rw".to_owned()));
        assert_eq!((bare.kind.as_str(), &bare.source, bare.options.len()), ("", &None, 0));
    }

    #[test]
    fn mappings() {
        let maps = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        let both =
            json!({"mounts": [{"destination": "/a", "uidMappings": maps, "gidMappings": maps, "options": ["ridmap"]}]});
        assert_eq!(accept(&both).mounts[0].id_mappings.as_ref().unwrap().gids[0].host_id, 1000);
        accept(&json!({
            "mounts": [{"destination": "/a", "options": ["bind", "idmap"]}],
            "linux": {"namespaces": [{"type": "user"}], "uidMappings": maps, "gidMappings": maps}
        }));
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "gids missing",
                    json!({"mounts": [{"destination": "/a"}, {"destination": "/a", "uidMappings": maps}]}),
                    "mounts[1].gidMappings: is empty though uidMappings is given: each needs the other",
                ),
                (
                    "uids missing",
                    json!({"mounts": [{"destination": "/a", "gidMappings": maps, "uidMappings": []}]}),
                    "mounts[0].uidMappings: is empty though gidMappings is given: each needs the other",
                ),
                (
                    "no mapping",
                    json!({"mounts": [{"destination": "/a", "options": ["bind", "idmap"]}]}),
                    "mounts[0]: option \"idmap\" has no mapping: neither the mount nor a user namespace has one",
                ),
                (
                    "size",
                    json!({"mounts": [{"destination": "/a", "gidMappings": maps, "uidMappings": [{"containerID": 0, "hostID": 0, "size": 0}]}]}),
                    "mounts[0].uidMappings[0].size: 0 ids is no mapping",
                ),
                ("destination", json!({"mounts": [{"destination": ""}]}), "mounts[0].destination: is empty"),
            ],
        );
    }
}
