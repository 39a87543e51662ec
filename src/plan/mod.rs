//! What to do, as a value: configuration, machine and request in, one plan out. Nothing is touched in between.
//!
//! A plan has two halves. [`Plan`] stays with the host; [`InsidePlan`], its other half, goes over the wire to the
//! container's process. Parts belong to the subsystems; here they are put together. Descriptors are opened later by the
//! host and stand in the inside half as numbers that the child inherits ([`crate::sys::fd::Passed`]).

mod exec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::linux::TimeOffset;
use crate::config::net_devices::NetDevices;
use crate::config::seccomp::Listener;
use crate::config::{Config, Hooks, IdMappings, NamespaceKind, Namespaces, Process};
use crate::error::{Error, Kind, Result};
use crate::machine::Machine;
use crate::subsystems::cgroups::{self, CgroupPlan};
use crate::subsystems::checkpoint::Externals;
use crate::subsystems::devices::DevicesPlan;
use crate::subsystems::hooks::{HookState, OCI_VERSION};
use crate::subsystems::keyring::Keyring;
use crate::subsystems::lsm::LsmPlan;
use crate::subsystems::mounts::{self, MountsPlan};
use crate::subsystems::namespaces::route::Route;
use crate::subsystems::namespaces::{InsideNamespaces, clone_flag};
use crate::subsystems::process::{self, Affinity, FromOutside, ProcessPlan};
use crate::subsystems::rdt::RdtPlan;
use crate::subsystems::{readiness, seccomp};
use crate::sys::fd::Passed;

pub use exec::{Decided, ExecPlan, Snapshot};

/// What the caller of create asks for beside the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// The container's id, checked.
    pub id: &'a str,
    /// The bundle's directory; absolute.
    pub bundle: &'a Path,
    /// Who makes the cgroups.
    pub cgroup_driver: cgroups::Driver,
    /// Whether the container may do without cgroups that we may not make; `None`: if we are without privileges.
    pub rootless: Option<bool>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// The container keeps the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the program gets.
    pub preserved_fds: u32,
    /// Of those, the listening sockets.
    pub listen_fds: Option<ListenFds>,
    /// Instead of `process.consoleSize`.
    pub terminal_size: Option<(u16, u16)>,
    /// The directory with the socket on which the program says that it is ready; absolute.
    pub notify_directory: Option<&'a Path>,
}

impl<'a> Request<'a> {
    /// With nothing beside the configuration.
    pub fn new(id: &'a str, bundle: &'a Path) -> Self {
        Self {
            id,
            bundle,
            cgroup_driver: cgroups::Driver::Cgroupfs,
            rootless: None,
            no_pivot: false,
            no_new_keyring: false,
            preserved_fds: 0,
            listen_fds: None,
            terminal_size: None,
            notify_directory: None,
        }
    }
}

/// Sockets that the runtime got from whoever started it, for the program (sd_listen_fds(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenFds {
    /// How many.
    pub count: u32,
    /// LISTEN_FDNAMES, as it was.
    pub names: Option<String>,
}

/// The host's half.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who creates and joins what.
    pub route: Route,
    /// The choices, with the paths to open.
    pub namespaces: Namespaces,
    /// For a new user namespace.
    pub id_mappings: Option<IdMappings>,
    /// For a new time namespace.
    pub time_offsets: BTreeMap<String, TimeOffset>,
    /// Groups, limits, device program.
    pub cgroups: CgroupPlan,
    /// Its share of caches and memory bandwidth.
    pub rdt: Option<RdtPlan>,
    /// Devices that are moved to its network namespace.
    pub net_devices: NetDevices,
    /// Limits of the process that are set from outside.
    pub from_outside: FromOutside,
    /// Who gets the filter's listener, if it has one.
    pub listener: Option<Listener>,
    /// All hooks; the container's own go inside as well.
    pub hooks: Hooks,
    /// The container's half.
    pub inside: InsidePlan,
}

/// When the filter is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompPoint {
    /// Without `noNewPrivileges` it needs CAP_SYS_ADMIN, so it must come before that is dropped.
    BeforeDrop,
    /// With it anybody may load one, so it comes as late as it can.
    Last,
}

/// How the waiting process learns that it may start, and reports back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartRoute {
    /// `run`: over the channel, by the process that created it.
    Channel,
    /// `create`: by another process, over two FIFOs of the state directory.
    Fifos {
        /// A byte here says go.
        go: Passed,
        /// The report; its end of file says that the program was executed.
        report: Passed,
    },
}

/// The container's half, as it goes over the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InsidePlan {
    /// Namespaces to join and make.
    pub namespaces: InsideNamespaces,
    /// A message says when we are in the cgroups that we were not born in; the host knows when it has made them.
    pub waits_for_cgroup: bool,
    /// A new network namespace has a loopback interface that is down, unless the host made it.
    pub loopback: bool,
    /// The filesystem.
    pub mounts: MountsPlan,
    /// Device nodes.
    pub devices: DevicesPlan,
    /// Kernel parameters.
    pub sysctl: Vec<(String, String)>,
    /// Its session keyring, unless it keeps the caller's.
    pub keyring: Option<Keyring>,
    /// Set when given.
    pub hostname: Option<String>,
    /// Set when given.
    pub domainname: Option<String>,
    /// Whether the host has devices to move or hooks to run when the environment is made.
    pub announces_environment: bool,
    /// `createContainer` and `startContainer`.
    pub hooks: Hooks,
    /// What hooks are told.
    pub state: HookState,
    /// The program; a container can be created without one.
    pub process: Option<ProcessPlan>,
    /// Security modules.
    pub lsm: LsmPlan,
    /// The filter.
    pub seccomp: Option<(seccomp::Filter, SeccompPoint)>,
    /// See [`ExecPlan::passes_listener`].
    pub passes_listener: bool,
    /// How it starts.
    pub start: StartRoute,
    /// Descriptors from 3 on that stay open.
    pub preserved_fds: u32,
    /// The file for the husk that carries out the last steps ([`crate::sys::husk`]); `None`: the process itself does.
    pub husk: Option<Passed>,
}

impl Plan {
    /// Whether the process asks for something on its way, or there is something to do when it is ready ([`crate::channel`]).
    pub fn needs_us_to_the_end(&self) -> bool {
        let asks = self.inside.announces_environment || self.inside.mounts.asks() || self.listener.is_some();
        asks || self.from_outside.comes_last()
    }

    /// Plans a container.
    pub fn new(config: &Config, machine: &Machine, request: &Request<'_>) -> Result<Self> {
        let namespaces = &config.linux.namespaces;
        let route = Route::new(namespaces);
        let layout = machine.cgroups()?;
        let wishes = cgroups::Wishes { id: request.id, driver: request.cgroup_driver, rootless: request.rootless };
        let cgroups = CgroupPlan::new(config, &wishes, machine)?;
        let circumstances = mounts::plan::Circumstances {
            bundle: request.bundle,
            no_pivot: request.no_pivot,
            mount_label: mount_label(config, machine),
            layout,
            cgroups: &cgroups,
            further: request.notify_directory.map(|directory| readiness::mount(directory.to_owned())),
        };
        let mounts = MountsPlan::new(config, &circumstances)?;
        let in_user_namespace = namespaces.has(NamespaceKind::User) || machine.in_user_namespace()?;
        let (process, from_outside) = match &config.process {
            Some(process) => {
                let (inside, outside) = process::plan(
                    process,
                    Affinity::All,
                    config.linux.execution.clone(),
                    namespaces.has(NamespaceKind::User),
                );
                (Some(with_request(inside, request)), outside)
            }
            None => (None, FromOutside::default()),
        };
        let inside = InsidePlan {
            namespaces: InsideNamespaces::default(),
            waits_for_cgroup: false,
            loopback: namespaces.creates(NamespaceKind::Network) && !route.network_by_host,
            devices: DevicesPlan::new(config, in_user_namespace, mounts.dev_is_bound()),
            mounts,
            sysctl: config.linux.sysctl.clone().into_iter().collect(),
            keyring: (!request.no_new_keyring).then(|| Keyring::of(request.id)),
            hostname: config.hostname.clone(),
            domainname: config.domainname.clone(),
            announces_environment: !config.linux.net_devices.is_empty()
                || !config.hooks.prestart.is_empty()
                || !config.hooks.create_runtime.is_empty(),
            hooks: Hooks {
                create_container: config.hooks.create_container.clone(),
                start_container: config.hooks.start_container.clone(),
                ..Hooks::default()
            },
            state: HookState {
                oci_version: OCI_VERSION.to_owned(),
                id: request.id.to_owned(),
                status: "created".to_owned(),
                pid: 0,
                bundle: request.bundle.to_owned(),
                annotations: config.annotations.clone(),
            },
            lsm: config.process.as_ref().map(|process| LsmPlan::new(process, machine)).transpose()?.unwrap_or_default(),
            seccomp: plan_seccomp(config)?,
            passes_listener: passes_listener(config, &route, machine)?,
            process,
            start: StartRoute::Channel,
            preserved_fds: request.preserved_fds,
            husk: None,
        };
        Ok(Self {
            route,
            namespaces: namespaces.clone(),
            id_mappings: config.linux.id_mappings.clone(),
            time_offsets: config.linux.time_offsets.clone(),
            cgroups,
            rdt: config.linux.rdt.as_ref().map(|rdt| RdtPlan::new(rdt, request.id)).transpose()?,
            net_devices: config.linux.net_devices.clone(),
            from_outside,
            listener: config.linux.seccomp.as_ref().and_then(|profile| profile.listener.clone()),
            hooks: config.hooks.clone(),
            inside,
        })
    }
}

impl Plan {
    /// What later commands are told, once the namespaces to join are opened.
    pub fn snapshot(&self, config: &Config) -> Snapshot {
        Snapshot {
            process: config.process.clone(),
            execution: config.linux.execution.clone(),
            filter: self.inside.seccomp.as_ref().map(|(filter, _)| filter.clone()),
            listener: self.listener.clone(),
            keyring: self.inside.keyring.clone(),
            namespaces: self.route.launch | self.inside.namespaces.flags(),
            externals: Externals::new(&self.inside.mounts, &self.inside.devices, &self.namespaces),
        }
    }
}

/// An SELinux context means nothing to a kernel without SELinux, which would refuse it as an unknown parameter.
fn mount_label<'a>(config: &'a Config, machine: &Machine) -> Option<&'a str> {
    let label = config.linux.mount_label.as_deref()?;
    if machine.lsms().selinux {
        return Some(label);
    }
    log::warn!("linux.mountLabel: ignored, SELinux is not enabled on this machine");
    None
}

/// Whoever executes the sealed program outside of the container's user namespace is out of reach for a user's rights.
fn passes_listener(config: &Config, route: &Route, machine: &Machine) -> Result<bool> {
    let has_listener = config.linux.seccomp.as_ref().is_some_and(|profile| profile.listener.is_some());
    Ok(has_listener && route.intermediate.is_some() && machine.is_rootless()?)
}

/// What the caller, not the configuration, decides about the process.
fn with_request(mut process: ProcessPlan, request: &Request<'_>) -> ProcessPlan {
    if let Some(terminal) = &mut process.terminal {
        terminal.size = request.terminal_size.or(terminal.size);
    }
    let mut variables: Vec<String> = request.notify_directory.map(|_| readiness::variable()).into_iter().collect();
    // sd_listen_fds(3): it is told how many, and that it is meant: its pid is 1 in a pid namespace of its own.
    if let Some(sockets) = &request.listen_fds {
        process.env.retain(|variable| !variable.starts_with("LISTEN_FDNAMES="));
        variables.push(format!("LISTEN_FDS={}", sockets.count));
        variables.push("LISTEN_PID=1".to_owned());
        variables.extend(sockets.names.as_ref().map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    if !variables.is_empty() {
        process.env.append(&mut variables);
        process.env = process::env::without_duplicates(&process.env);
    }
    process
}

fn plan_seccomp(config: &Config) -> Result<Option<(seccomp::Filter, SeccompPoint)>> {
    let Some(profile) = &config.linux.seccomp else { return Ok(None) };
    let point = config.process.as_ref().map_or(SeccompPoint::BeforeDrop, seccomp_point);
    Ok(Some((seccomp::compile(profile)?, point)))
}

fn seccomp_point(process: &Process) -> SeccompPoint {
    if process.no_new_privileges { SeccompPoint::Last } else { SeccompPoint::BeforeDrop }
}

/// What a sealed process is made for.
#[derive(Clone, Debug, Deserialize)]
pub enum Errand {
    /// To be the first process of a container.
    Init(Box<InsidePlan>),
    /// To be a further one.
    Exec(Box<ExecPlan>),
}

/// The same, borrowed, as it is sent.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "documented at Errand")]
pub enum ErrandRef<'a> {
    Init(&'a InsidePlan),
    Exec(&'a ExecPlan),
}

impl Plan {
    /// The groups could not be made, and the container stays in the caller's.
    pub fn do_without_cgroups(&mut self) {
        self.cgroups = CgroupPlan::default();
        self.inside.mounts.do_without_cgroups();
    }
}

impl ErrandRef<'_> {
    /// For the wire.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        postcard::to_stdvec(self).map_err(|error| Error::new(Kind::Failed, format!("encode the plan: {error}")))
    }
}

impl Errand {
    /// The same, borrowed.
    pub fn borrow(&self) -> ErrandRef<'_> {
        match self {
            Self::Init(plan) => ErrandRef::Init(plan),
            Self::Exec(plan) => ErrandRef::Exec(plan),
        }
    }

    /// From the wire.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        postcard::from_bytes(bytes).map_err(|error| Error::new(Kind::Failed, format!("decode the plan: {error}")))
    }
}

impl InsidePlan {
    /// Whether a copy of the runtime may become the container, and a husk take its last steps: nobody who is in the container
    /// already can see it, and nothing has to be run between the start and the program.
    pub fn suits_a_husk(&self, route: &Route) -> bool {
        let alone = route.launch & clone_flag(NamespaceKind::Pid) != 0 && route.intermediate.is_none();
        alone && self.process.is_some() && self.hooks.start_container.is_empty()
    }

    /// The absolute path of the root filesystem on the host.
    pub fn rootfs(&self) -> &PathBuf {
        &self.mounts.root.path
    }
}
