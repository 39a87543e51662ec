//! One home per kernel subject. Inside each: `plan` is pure, `host` runs in the runtime's namespaces, possibly in one of
//! many threads, `inside` runs in the container's own process; the file's name is the side.

pub mod capabilities;
pub mod cgroups;
pub mod checkpoint;
pub mod devices;
pub mod doors;
pub mod hooks;
pub mod keyring;
pub mod lsm;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod network;
pub mod process;
pub mod rdt;
pub mod readiness;
pub mod seccomp;
pub mod sysctl;
pub mod terminal;
