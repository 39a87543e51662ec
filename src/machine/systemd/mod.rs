//! systemd: whether it is there, which of its managers is ours, and speaking with it (org.freedesktop.systemd1(5)).

mod connection;
mod wire;

use std::fmt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, OrCall, Result, Within};
pub use connection::{Answer, Connection, Refusal};
pub use wire::Value;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// Where a service manager is spoken with. Kept in the state: later commands find it whatever their environment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bus {
    /// Process 1.
    System,
    /// A user's own, at this socket.
    User(PathBuf),
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("systemd"),
            Self::User(socket) => write!(f, "the user's systemd at {socket:?}"),
        }
    }
}

/// What there is to know of a service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceManager {
    /// Where it is.
    pub bus: Bus,
    /// `257`.
    pub version: u32,
    /// The cgroup below which all of its units are, without a slash at the end: empty for process 1.
    pub control_group: String,
}

/// Looks for the manager that is ours: that of the system for its root, that of the user for others.
pub fn probe(user_bus: Option<&Path>) -> Result<ServiceManager> {
    let bus = choose(user_bus)?;
    let mut connection = Connection::open(&bus)?;
    let mut ask = |property: &str| {
        let body = [Value::text(MANAGER), Value::text(property)];
        connection.send_to(PATH, "org.freedesktop.DBus.Properties", "Get", &body)
    };
    let (version, control_group) = (ask("Version")?, ask("ControlGroup")?);
    let mut answer = |serial: u32, property: &str| -> Result<String> {
        let answer = connection.answer(serial, property)?.map_err(Error::from).within(|| property)?;
        match answer.as_slice() {
            [Value::Variant(value)] => Ok(value.as_text().unwrap_or_default().to_owned()),
            _ => Ok(String::new()),
        }
    };
    let version = parse_version(&answer(version, "Version")?);
    let control_group = answer(control_group, "ControlGroup")?.trim_end_matches('/').to_owned();
    Ok(ServiceManager { bus, version, control_group })
}

/// In a user namespace, root of the machine has no name: what belongs to it belongs to "nobody". So the system's manager is
/// ours when its directory belongs to us, who are root here; also in a system container with a systemd of its own.
fn choose(user_bus: Option<&Path>) -> Result<Bus> {
    const RUNNING: &str = "/run/systemd/system";
    let owner = match nix::sys::stat::stat(RUNNING) {
        Ok(stat) => stat.st_uid,
        Err(Errno::ENOENT) => {
            let why = format!("this machine is not run by systemd: there is no {RUNNING}");
            return Err(Error::new(Kind::Unsupported, why));
        }
        Err(errno) => return Err(errno).or_call(|| format!("stat({RUNNING:?})")),
    };
    if nix::unistd::geteuid().is_root() && owner == 0 {
        return Ok(Bus::System);
    }
    let no_bus = || Error::new(Kind::Unsupported, "the user's systemd cannot be found: XDG_RUNTIME_DIR is not set");
    user_bus.map(|socket| Bus::User(socket.to_owned())).ok_or_else(no_bus)
}

/// Where the environment says that the user's bus is.
///
/// COMPAT(Podman): most of its calls pass nothing but XDG_RUNTIME_DIR.
pub fn user_bus(session_bus_address: Option<&str>, runtime_dir: Option<&Path>) -> Option<PathBuf> {
    let named = session_bus_address.unwrap_or_default().split(';').find_map(|address| {
        let options = address.strip_prefix("unix:")?;
        options.split(',').find_map(|option| option.strip_prefix("path=")).map(PathBuf::from)
    });
    named.or_else(|| runtime_dir.filter(|directory| directory.is_absolute()).map(|directory| directory.join("bus")))
}

/// `257.13-1~deb13u1`, `v245`, `systemd 239`: the first number.
fn parse_version(text: &str) -> u32 {
    let digits: String =
        text.chars().skip_while(|letter| !letter.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, version) in
            [("257.13-1~deb13u1", 257), ("v245", 245), ("239 (239-82.el8)", 239), ("", 0), ("unknown", 0)]
        {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[test]
    fn the_user_s_bus() {
        let runtime_dir = Some(Path::new("/run/user/7"));
        for (address, directory, socket) in [
            (None, runtime_dir, Some("/run/user/7/bus")),
            (None, None, None),
            (None, Some(Path::new("")), None),
            (Some(""), runtime_dir, Some("/run/user/7/bus")),
            (Some("unix:path=/x/bus,guid=0af"), runtime_dir, Some("/x/bus")),
            (Some("unix:guid=0af,path=/x/bus;tcp:host=h"), None, Some("/x/bus")),
            (Some("unix:abstract=/tmp/dbus-x"), runtime_dir, Some("/run/user/7/bus")),
            (Some("tcp:host=h;unix:path=/y"), None, Some("/y")),
        ] {
            assert_eq!(user_bus(address, directory), socket.map(PathBuf::from), "{address:?} {directory:?}");
        }
    }
}
