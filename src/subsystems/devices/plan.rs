//! Which nodes and links the container gets.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::linux::DeviceKind;
use crate::config::{Config, Device};

/// How a node gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// mknod(2); where that is refused, a bind mount after all.
    Make,
    /// A bind mount of the host's node: nobody makes device nodes in a user namespace.
    Bind,
}

/// The nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicesPlan {
    /// Default devices first.
    pub nodes: Vec<Device>,
    /// How they are made.
    pub route: Route,
    /// `false`: `/dev` is somebody else's, and nothing is made in it.
    pub in_dev: bool,
}

/// SPEC(config-linux, "Default Devices"); `/dev/console` and `/dev/ptmx` are made with the terminal and the links.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// SPEC(runtime-linux, "Dev symbolic links"), and `/dev/core` as every runtime has it. The target must exist.
pub const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

impl DevicesPlan {
    /// Plans them. A configured device at the path of a default one takes its place.
    pub fn new(config: &Config, in_user_namespace: bool, dev_is_bound: bool) -> Self {
        let configured = &config.linux.devices;
        let is_default = |path: &str| !configured.iter().any(|device| device.path == Path::new(path));
        let defaults = DEFAULT.iter().filter(|(path, ..)| is_default(path)).map(|(path, major, minor)| Device {
            property: format!("default device {path}"),
            path: path.into(),
            kind: DeviceKind::Char,
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        });
        Self {
            nodes: defaults.chain(configured.iter().cloned()).collect(),
            route: if in_user_namespace { Route::Bind } else { Route::Make },
            in_dev: !dev_is_bound,
        }
    }
}
