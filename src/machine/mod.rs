//! What this host can do: probed once, when first asked for, and passed as a value.

pub mod cgroups;
pub mod criu;
pub mod lsm;
pub mod online;
pub mod rootless;
pub mod rtnetlink;
pub mod systemd;

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::Result;
use cgroups::CgroupLayout;
use lsm::Lsms;
use online::Online;
use systemd::ServiceManager;

/// The host as the runtime finds it.
#[derive(Debug, Default)]
pub struct Machine {
    cgroups: OnceLock<CgroupLayout>,
    user_namespace: OnceLock<bool>,
    lsms: OnceLock<Lsms>,
    cpus: OnceLock<Option<Online>>,
    memory_nodes: OnceLock<Option<Online>>,
    systemd: OnceLock<ServiceManager>,
    user_bus: Option<PathBuf>,
}

impl Machine {
    /// A machine on which the user's D-Bus daemon, if there is one, is at this socket.
    pub fn with_user_bus(socket: Option<PathBuf>) -> Self {
        Self { user_bus: socket, ..Self::default() }
    }

    /// The service manager that makes our cgroups, when it is asked to.
    pub fn systemd(&self) -> Result<&ServiceManager> {
        if let Some(known) = self.systemd.get() {
            return Ok(known);
        }
        let found = systemd::probe(self.user_bus.as_deref())?;
        Ok(self.systemd.get_or_init(|| found))
    }

    /// Where which cgroup hierarchy is mounted.
    pub fn cgroups(&self) -> Result<&CgroupLayout> {
        if let Some(known) = self.cgroups.get() {
            return Ok(known);
        }
        let found = cgroups::probe()?;
        Ok(self.cgroups.get_or_init(|| found))
    }

    /// Which security modules are enabled.
    pub fn lsms(&self) -> Lsms {
        *self.lsms.get_or_init(lsm::probe)
    }

    /// Whether we lack privileges over the host: as a user, or as the root of a user namespace.
    pub fn is_rootless(&self) -> Result<bool> {
        Ok(!nix::unistd::geteuid().is_root() || self.in_user_namespace()?)
    }

    /// The CPUs that can be used; `None`: the kernel does not say.
    pub fn cpus(&self) -> Option<&Online> {
        self.cpus.get_or_init(online::cpus).as_ref()
    }

    /// The memory nodes that can be used; `None`: the kernel knows none.
    pub fn memory_nodes(&self) -> Option<&Online> {
        self.memory_nodes.get_or_init(online::memory_nodes).as_ref()
    }

    /// Whether we are in a user namespace that is not the initial one: device nodes cannot be made there.
    pub fn in_user_namespace(&self) -> Result<bool> {
        if let Some(known) = self.user_namespace.get() {
            return Ok(*known);
        }
        let found = rootless::in_user_namespace()?;
        Ok(*self.user_namespace.get_or_init(|| found))
    }
}
