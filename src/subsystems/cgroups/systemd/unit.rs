//! `linux.cgroupsPath` as systemd's driver reads it: `slice:prefix:name`, a unit below a slice (systemd.unit(5),
//! systemd.slice(5)).

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, phrases};
use crate::machine::systemd::Bus;

const PROPERTY: &str = "linux.cgroupsPath";
/// The slice that all others are below.
const ROOT_SLICE: &str = "-.slice";
/// The longest name that systemd takes.
const LONGEST_NAME: usize = 255;

/// A unit: what systemd calls a container's cgroup. Kept in the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Whose manager made it.
    pub bus: Bus,
    /// `docker-ID.scope`, or a slice.
    pub name: String,
    /// The version of the manager, which decides what it can be told.
    pub version: u32,
}

impl Unit {
    /// Slices have no processes of their own for systemd: it does not take any for them, nor delegates them.
    pub fn is_slice(&self) -> bool {
        is_slice(&self.name)
    }
}

/// Whether a unit of this name is a slice.
pub fn is_slice(name: &str) -> bool {
    name.ends_with(".slice")
}

/// Where a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// The slice that it is in.
    pub slice: String,
    /// Its cgroup, below that of its manager, beginning with a slash.
    pub path: String,
}

/// Reads `slice:prefix:name`: the scope `prefix-name.scope` in that slice, or `name` itself when it is a slice. An empty slice
/// is the manager's default one, and `-` the root of all.
///
/// COMPAT(runc): without a path the prefix is the runtime's name, and the name the container's id.
pub fn place(cgroups_path: Option<&str>, id: &str, bus: &Bus) -> Result<Place> {
    let wanted = cgroups_path.filter(|path| !path.is_empty());
    let (slice, prefix, name) = match wanted {
        None => ("", "corten", id),
        Some(path) => {
            let parts: Vec<&str> = path.split(':').collect();
            let [slice, prefix, name] = parts[..] else {
                let why = format!("{}, got {path:?} instead", phrases::SLICE_PREFIX_NAME);
                return Err(Error::invalid(PROPERTY, why));
            };
            (slice, prefix, name)
        }
    };
    let slice = match (slice, bus) {
        ("-", _) => ROOT_SLICE,
        ("", Bus::System) => "system.slice",
        // A user's manager has no system.slice.
        ("", Bus::User(_)) => "user.slice",
        (slice, _) => slice,
    };
    let above = slice_path(slice)?;
    if is_slice(name) {
        return slice_unit(name, slice, wanted.is_some_and(|path| path.starts_with(':')));
    }
    if name.is_empty() {
        return Err(Error::invalid(PROPERTY, format!("{:?} has no name", wanted.unwrap_or_default())));
    }
    let name = format!("{prefix}-{name}.scope");
    check_name(&name)?;
    Ok(Place { path: format!("{above}/{name}"), name, slice: slice.to_owned() })
}

/// Where a slice is follows from its name alone.
fn slice_unit(name: &str, slice: &str, any_slice: bool) -> Result<Place> {
    let path = slice_path(name)?;
    let parent = match name.trim_end_matches(".slice").rsplit_once('-') {
        Some((parent, _)) => format!("{parent}.slice"),
        None => ROOT_SLICE.to_owned(),
    };
    if !any_slice && parent != slice {
        return Err(Error::invalid(PROPERTY, format!("{name:?} is in {parent:?} by its name, not in {slice:?}")));
    }
    Ok(Place { name: name.to_owned(), slice: parent, path })
}

/// `a-b.slice` is in `a.slice`: `/a.slice/a-b.slice`. Nothing for the root.
fn slice_path(slice: &str) -> Result<String> {
    if slice == ROOT_SLICE {
        return Ok(String::new());
    }
    let invalid = || Error::invalid(PROPERTY, format!("{slice:?} is not the name of a slice, such as \"a-b.slice\""));
    let dashed = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    let (mut path, mut prefix) = (String::new(), String::new());
    for part in dashed.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        prefix = if prefix.is_empty() { part.to_owned() } else { format!("{prefix}-{part}") };
        path = format!("{path}/{prefix}.slice");
    }
    check_name(slice)?;
    Ok(path)
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if let Some(letter) = name.chars().find(|letter| !u8::try_from(*letter).is_ok_and(allowed)) {
        return Err(Error::invalid(PROPERTY, format!("{letter:?} cannot be in the name of a unit, {name:?}")));
    }
    if name.len() > LONGEST_NAME {
        let why = format!("{name:?} is longer than the name of a unit can be ({LONGEST_NAME})");
        return Err(Error::invalid(PROPERTY, why));
    }
    Ok(())
}

/// The unit as an object on the bus: what is no letter or digit is written as `_` and two hexadecimal digits.
pub fn object_path(name: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Bus {
        Bus::User("/run/user/1/bus".into())
    }

    #[test]
    fn places() {
        for (path, bus, name, slice, group) in [
            (None, Bus::System, "corten-c1.scope", "system.slice", "/system.slice/corten-c1.scope"),
            (Some(""), user(), "corten-c1.scope", "user.slice", "/user.slice/corten-c1.scope"),
            (Some(":p:n"), Bus::System, "p-n.scope", "system.slice", "/system.slice/p-n.scope"),
            (Some(":p:n"), user(), "p-n.scope", "user.slice", "/user.slice/p-n.scope"),
            (Some("-:p:n"), Bus::System, "p-n.scope", "-.slice", "/p-n.scope"),
            (Some("-.slice:p:n"), Bus::System, "p-n.scope", "-.slice", "/p-n.scope"),
            (
                Some("kubepods-besteffort-pod1_2.slice:cri-containerd:0af"),
                Bus::System,
                "cri-containerd-0af.scope",
                "kubepods-besteffort-pod1_2.slice",
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-0af.scope",
            ),
            (Some("user.slice:libpod:x"), user(), "libpod-x.scope", "user.slice", "/user.slice/libpod-x.scope"),
            (Some("a.slice::n"), Bus::System, "-n.scope", "a.slice", "/a.slice/-n.scope"),
            (Some("a.slice:p:a-b.slice"), Bus::System, "a-b.slice", "a.slice", "/a.slice/a-b.slice"),
            (Some("::a-b.slice"), Bus::System, "a-b.slice", "a.slice", "/a.slice/a-b.slice"),
            (Some("-::a.slice"), Bus::System, "a.slice", "-.slice", "/a.slice"),
        ] {
            let expected = Place { name: name.to_owned(), slice: slice.to_owned(), path: group.to_owned() };
            assert_eq!(place(path, "c1", &bus).unwrap(), expected, "{path:?}");
        }
    }

    #[test]
    fn what_is_no_unit() {
        let long = format!("a.slice:p:{}", "x".repeat(250));
        for (path, why) in [
            (
                "/a/b",
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/a/b\" instead",
            ),
            ("a.slice:p", phrases::SLICE_PREFIX_NAME),
            ("a.slice:p:n:m", phrases::SLICE_PREFIX_NAME),
            ("a.slice:p:", "\"a.slice:p:\" has no name"),
            ("a:p:n", "\"a\" is not the name of a slice"),
            (".slice:p:n", "\".slice\" is not the name of a slice"),
            ("a--b.slice:p:n", "\"a--b.slice\" is not the name of a slice"),
            ("-a.slice:p:n", "is not the name of a slice"),
            ("a-.slice:p:n", "is not the name of a slice"),
            ("a/b.slice:p:n", "'/' cannot be in the name of a unit, \"a/b.slice\""),
            ("a.slice:p:n/m", "'/' cannot be in the name of a unit, \"p-n/m.scope\""),
            ("a.slice:p:ä", "'ä' cannot be in the name of a unit"),
            ("a.slice:p:c-d.slice", "\"c-d.slice\" is in \"c.slice\" by its name, not in \"a.slice\""),
            (&long, "is longer than the name of a unit can be (255)"),
        ] {
            let error = place(Some(path), "c1", &Bus::System).unwrap_err().to_string();
            assert!(error.starts_with("linux.cgroupsPath: ") && error.contains(why), "{path}: {error}");
        }
    }

    #[test]
    fn names_on_the_bus() {
        for (name, path) in
            [("a-b.scope", "a_2db_2escope"), ("1a.slice", "_31a_2eslice"), ("x_1.scope", "x_5f1_2escope")]
        {
            assert_eq!(object_path(name), format!("/org/freedesktop/systemd1/unit/{path}"));
        }
    }
}
