//! `linux.cgroupsPath`, and the places that it means.

use std::path::{Component, Path};

use crate::error::{Error, Result};
use crate::machine::cgroups::Hierarchy;

/// The place in one hierarchy: below its mount point, beginning with a slash.
///
/// An absolute path counts from the mount point. A relative one, or none (then it is the container's id), is below our own
/// cgroup on v1 and beside it on v2, where a cgroup with processes in it cannot have controlled children.
///
/// COMPAT(docker build): `system.slice:docker:ID` without `--systemd-cgroup` is a relative path like any other.
pub fn in_hierarchy(cgroups_path: Option<&str>, id: &str, hierarchy: &Hierarchy) -> Result<String> {
    const PROPERTY: &str = "linux.cgroupsPath";
    let wanted = cgroups_path.unwrap_or(id);
    let mut place = String::new();
    if !wanted.starts_with('/') {
        let is_v2 = hierarchy.controllers.is_empty();
        let base = if is_v2 { parent(&hierarchy.own) } else { &hierarchy.own };
        place.push_str(base.trim_end_matches('/'));
    }
    for component in Path::new(wanted).components() {
        match component {
            Component::Normal(name) => {
                place.push('/');
                place.push_str(&name.to_string_lossy());
            }
            Component::ParentDir => return Err(Error::invalid(PROPERTY, format!("{wanted:?} contains \"..\""))),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if place.is_empty() {
        return Err(Error::invalid(PROPERTY, format!("{wanted:?} is the root of the hierarchy")));
    }
    Ok(place)
}

fn parent(own: &str) -> &str {
    own.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let v1 = |own: &str| Hierarchy {
            mount_point: "/m".into(),
            controllers: vec!["memory".to_owned()],
            own: own.to_owned(),
        };
        let v2 = |own: &str| Hierarchy { mount_point: "/m".into(), controllers: vec![], own: own.to_owned() };
        for (path, hierarchy, place) in [
            (Some("/default/c1"), v1("/user"), "/default/c1"),
            (Some("//a/./b/"), v2("/user"), "/a/b"),
            (Some("rel/c1"), v1("/user"), "/user/rel/c1"),
            (Some("rel"), v1("/"), "/rel"),
            (Some("rel"), v2("/user/session"), "/user/rel"),
            (Some("rel"), v2("/init"), "/rel"),
            (Some("rel"), v2("/"), "/rel"),
            (None, v2("/init"), "/c1"),
            (Some("system.slice:docker:c1"), v2("/init"), "/system.slice:docker:c1"),
        ] {
            assert_eq!(in_hierarchy(path, "c1", &hierarchy).unwrap(), place, "{path:?} {hierarchy:?}");
        }
        for path in ["/", "/a/../b", ".."] {
            let error = in_hierarchy(Some(path), "c1", &v2("/")).unwrap_err();
            assert!(error.to_string().starts_with("linux.cgroupsPath: "), "{error}");
        }
    }
}
