//! A command's flags and arguments, and the runtime that the flags before it describe.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use clap::ArgMatches;
use corten::Runtime;
use corten::error::{OrCall, Result, Within};
use corten::machine::{rootless, systemd};
use corten::subsystems::cgroups::Driver;
use nix::unistd::geteuid;

use super::args::{ARGUMENTS, Words, parse_bool};
use super::invalid;

/// What a command is called with.
#[derive(Debug)]
pub struct Invocation {
    matches: ArgMatches,
    root: Option<PathBuf>,
    systemd_cgroup: bool,
    cgroup_manager: Option<String>,
    rootless: Option<bool>,
}

impl Invocation {
    /// Takes what [`super::args`] read.
    pub fn new(globals: &Words, matches: ArgMatches) -> Result<Self> {
        let rootless = match globals.value("rootless").map(OsStr::to_string_lossy).as_deref() {
            None | Some("auto") => None,
            Some(word) => Some(
                parse_bool(word)
                    .ok_or_else(|| invalid(format_args!("{word:?} is not true, false or auto")).within("--rootless"))?,
            ),
        };
        Ok(Self {
            matches,
            root: globals.value("root").map(PathBuf::from),
            rootless,
            systemd_cgroup: globals.has("systemd-cgroup"),
            cgroup_manager: globals.value("cgroup-manager").map(|name| name.to_string_lossy().into_owned()),
        })
    }

    /// Whether a switch is on.
    pub fn has(&self, flag: &str) -> bool {
        self.matches.get_flag(flag)
    }

    /// A flag's value. COMPAT(runc): an empty one is none.
    pub fn value(&self, flag: &str) -> Option<&OsStr> {
        self.matches.get_one::<OsString>(flag).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// All values of a flag that may be repeated.
    pub fn values(&self, flag: &str) -> impl Iterator<Item = &OsStr> {
        self.matches.get_many::<OsString>(flag).into_iter().flatten().map(OsString::as_os_str)
    }

    /// A flag's value that is a path.
    pub fn path(&self, flag: &str) -> Option<PathBuf> {
        self.value(flag).map(PathBuf::from)
    }

    /// All arguments.
    pub fn arguments(&self) -> impl Iterator<Item = &OsStr> {
        self.matches.get_many::<OsString>(ARGUMENTS).into_iter().flatten().map(OsString::as_os_str)
    }

    /// An argument, by its place. Empty when there is none.
    pub fn argument(&self, index: usize) -> Option<&OsStr> {
        self.arguments().nth(index)
    }

    /// What follows the first argument.
    pub fn further_arguments(&self) -> Vec<OsString> {
        self.matches.get_many::<OsString>(ARGUMENTS).into_iter().flatten().skip(1).cloned().collect()
    }

    /// The first argument: a container's id.
    pub fn id(&self) -> Result<&str> {
        let id = self.argument(0).unwrap_or_default();
        id.to_str().ok_or_else(|| invalid(format_args!("container id {id:?}: is not UTF-8")))
    }

    /// Whether `--root` was given: then it is an error if it is not there.
    pub fn has_explicit_root(&self) -> bool {
        self.root.is_some()
    }

    /// Where the containers' state is.
    pub fn root(&self) -> Result<PathBuf> {
        match &self.root {
            Some(root) => absolute(root).within(|| "--root"),
            None => default_root(),
        }
    }

    /// The runtime.
    pub fn runtime(&self) -> Result<Runtime> {
        Ok(Runtime::new(self.root()?).with_user_bus(user_bus()).with_one_thread())
    }

    /// Whether the caller says that we have no privileges; `None`: that is for us to find out.
    pub fn rootless(&self) -> Option<bool> {
        self.rootless
    }

    /// Who makes the cgroups of a new container; what a container has is known of it later, whatever the flags say.
    pub fn cgroup_driver(&self) -> Result<Driver> {
        match self.cgroup_manager.as_deref() {
            None if self.systemd_cgroup => Ok(Driver::Systemd),
            None | Some("cgroupfs") => Ok(Driver::Cgroupfs),
            Some("systemd") => Ok(Driver::Systemd),
            Some("disabled") => Ok(Driver::Disabled),
            Some(other) => {
                let why = format_args!("{other:?} is not cgroupfs, systemd or disabled");
                Err(invalid(why).within("--cgroup-manager"))
            }
        }
    }
}

fn user_bus() -> Option<PathBuf> {
    let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    systemd::user_bus(address.as_deref(), runtime_dir.as_deref())
}

/// As Go's filepath.Abs: without `.`, `..` and double slashes.
fn absolute(path: &Path) -> Result<PathBuf> {
    let path =
        if path.is_absolute() { path.to_owned() } else { std::env::current_dir().or_call(|| "getcwd")?.join(path) };
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean == Path::new("/") {
        return Err(invalid("must not be \"/\": everything below it would be taken for state"));
    }
    Ok(clean)
}

/// COMPAT(Podman): of the environment only XDG_RUNTIME_DIR, as most of its calls pass nothing else; there it is empty for
/// root. Root of a user namespace is a user.
fn default_root() -> Result<PathBuf> {
    let theirs = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    let Some(theirs) = theirs else { return Ok("/run/corten".into()) };
    if !geteuid().is_root() || rootless::in_user_namespace()? {
        return absolute(&Path::new(&theirs).join("corten")).within(|| "$XDG_RUNTIME_DIR");
    }
    Ok("/run/corten".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots() {
        let here = std::env::current_dir().unwrap();
        for (path, expected) in [
            ("/run/x", Some(PathBuf::from("/run/x"))),
            ("/run//x/./y/../", Some("/run/x".into())),
            ("x", Some(here.join("x"))),
            ("/", None),
            ("//", None),
            ("/run/..", None),
            ("/../..", None),
        ] {
            assert_eq!(absolute(Path::new(path)).ok(), expected, "{path:?}");
        }
    }
}
