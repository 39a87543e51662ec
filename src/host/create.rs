//! `create`, and the creating half of `run`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag};

use super::attend::Conversation;
use super::container::Container;
use super::handover::{self, Handover, PidfdName, Places};
use super::{Runtime, delete, spawn, start};
use crate::channel::HostEnd;
use crate::config::Config;
use crate::error::{Error, Kind, OrCall, Result, Within, phrases};
use crate::plan::{ErrandRef, ListenFds, Plan, Request, StartRoute};
use crate::state::dir::{REPORT, START_PENDING};
use crate::state::record::{Record, VERSION};
use crate::state::{ContainerDir, StateRoot};
use crate::subsystems::cgroups::host::{self as cgroups, Cgroups};
use crate::subsystems::cgroups::{Driver, IfDenied, Placement};
use crate::subsystems::mounts::host::HostMount;
use crate::subsystems::namespaces::host::NewNetwork;
use crate::subsystems::namespaces::route::Route;
use crate::subsystems::net_devices::Moved;
use crate::subsystems::readiness::{self, Readiness};
use crate::subsystems::{mounts, namespaces, process, rdt};
use crate::sys;
use crate::sys::fd::Luggage;
use crate::timing::phase;

/// What is asked for, beside the bundle's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// The container's id.
    pub id: String,
    /// The bundle's directory; relative ones count from the working directory.
    pub bundle: PathBuf,
    /// Who makes the cgroups.
    pub cgroup_driver: Driver,
    /// Whether the container may do without cgroups that we may not make; `None`: if we are without privileges.
    pub rootless: Option<bool>,
    /// Gets the terminal's master, when `process.terminal` is set.
    pub console_socket: Option<PathBuf>,
    /// Gets a pidfd of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// Written when the container is complete.
    pub pid_file: Option<PathBuf>,
    /// chroot and a moved root instead of pivot_root.
    pub no_pivot: bool,
    /// The container keeps our session keyring, instead of one of its own.
    pub no_new_keyring: bool,
    /// Descriptors of ours from 3 on that the program gets.
    pub preserved_fds: u32,
    /// Of those, how many are listening sockets (sd_listen_fds(3)).
    pub listen_fds: Option<ListenFds>,
    /// Rows and columns that the program finds from its first instruction, instead of `process.consoleSize`: those of the
    /// terminal that a foreground `run` is relayed to.
    pub terminal_size: Option<(u16, u16)>,
    /// The service manager that is told when the program says that it is ready, sd_notify(3): a path, or `@` and the name of
    /// an abstract socket. Only then the program is told how to say it.
    pub notify_socket: Option<PathBuf>,
    /// Nobody stays to relay the terminal, so a console socket must get it. `create` always means that.
    pub detach: bool,
}

/// A container that was started by this process, which is the parent of its first one.
#[derive(Debug)]
pub struct Running {
    /// The container.
    pub container: Container,
    /// Its first process.
    pub init: OwnedFd,
    /// Its terminal's master, unless a console socket got it.
    pub terminal: Option<OwnedFd>,
    /// What the program will say of it, and who is to be told.
    pub readiness: Option<Readiness>,
}

/// SPEC(runtime, "Create").
pub(super) fn create(runtime: &Runtime, request: &CreateRequest) -> Result<Container> {
    let created = build(runtime, request, StartBy::AnotherProcess)?;
    Ok(created.container)
}

/// Creates and starts.
pub(super) fn run(runtime: &Runtime, request: &CreateRequest) -> Result<Running> {
    let Created { mut container, init, channel, terminal, starts_at_once } =
        build(runtime, request, StartBy::ThisProcess)?;
    let readiness = request.notify_socket.as_deref().and_then(|manager| container.listen(manager));
    let said = if starts_at_once { Ok(()) } else { channel.start() };
    said.and_then(|()| phase("start", || start::see_it_execute(&channel, &init, container.start_patience())))
        .map_err(|error| container.explain(error))
        .and_then(|()| start::after_start(&container))
        .map_err(|error| delete::after_failure(&mut container, error))?;
    Ok(Running { container, init, terminal, readiness })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StartBy {
    AnotherProcess,
    ThisProcess,
}

struct Created {
    container: Container,
    init: OwnedFd,
    channel: HostEnd,
    terminal: Option<OwnedFd>,
    /// See [`Conversation`].
    starts_at_once: bool,
}

/// Decides first, touches then, and undoes everything when it fails.
fn build(runtime: &Runtime, request: &CreateRequest, start_by: StartBy) -> Result<Created> {
    crate::state::id::check(&request.id)?;
    let bundle = absolute(&request.bundle)?;
    let config = phase("parse and check", || read_config(&bundle))?;
    config.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    let detach = request.detach || start_by == StartBy::AnotherProcess;
    handover::check_terminal(has_terminal(&config), detach, request.console_socket.is_some())?;
    handover::check_descriptors(request.preserved_fds)?;
    let notify_directory =
        request.notify_socket.as_ref().map(|_| notify_directory(runtime, &request.id)).transpose()?;
    let wishes = Request {
        id: &request.id,
        bundle: &bundle,
        cgroup_driver: request.cgroup_driver,
        rootless: request.rootless,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        preserved_fds: request.preserved_fds,
        listen_fds: request.listen_fds.clone(),
        terminal_size: request.terminal_size,
        notify_directory: notify_directory.as_deref(),
    };
    // Nothing of it outlives us, so it need not wait for the plan, nor for the filter that is compiled there.
    let network = Route::new(&config.linux.namespaces).network_by_host.then(NewNetwork::begin).transpose()?;
    let mut plan = phase("plan", || Plan::new(&config, &runtime.machine, &wishes))?;
    check_rootfs(plan.inside.rootfs())?;
    let places = Places {
        console_socket: request.console_socket.as_deref(),
        pidfd_socket: request.pidfd_socket.as_deref(),
        pid_file: request.pid_file.as_deref(),
    };
    let handover = Handover::open(places)?;
    let starts_at_once = start_by == StartBy::ThisProcess
        && handover.is_for_nobody()
        && request.notify_socket.is_none()
        && !plan.needs_us_to_the_end();

    let root = StateRoot::find_or_make(&runtime.state_root)?;
    let (claim, _lock) = phase("claim the id", || root.claim(&request.id))?;
    cgroups::check_fitness(&plan.cgroups)?;
    let mut record = new_record(&plan, &bundle)?;
    claim.write_record(&record)?;
    if notify_directory.is_some() {
        claim.make_notify_directory()?;
    }

    let mut launched = false;
    let acts = Acts {
        runtime,
        config: &config,
        root: &root,
        directory: &claim,
        handover: &handover,
        start_by,
        starts_at_once,
    };
    match acts.carry_out(&mut plan, &mut record, network, &mut launched) {
        Ok((init, channel, terminal)) => {
            let container = Container { record, directory: claim.keep() };
            Ok(Created { container, init, channel, terminal, starts_at_once })
        }
        Err(error) => {
            drop(claim);
            if launched {
                // SPEC(runtime, Lifecycle 3-5): "continue at step 12", which ends with these.
                delete::run_poststop(&record);
            }
            Err(error)
        }
    }
}

pub(super) fn has_terminal(config: &Config) -> bool {
    config.process.as_ref().is_some_and(|process| process.terminal.is_some())
}

type Built = (OwnedFd, HostEnd, Option<OwnedFd>);

/// What is needed to act.
struct Acts<'a> {
    runtime: &'a Runtime,
    config: &'a Config,
    root: &'a StateRoot,
    directory: &'a ContainerDir,
    handover: &'a Handover,
    start_by: StartBy,
    starts_at_once: bool,
}

impl Acts<'_> {
    /// Each guard undoes its own when a later act fails, the last one first. `launched` says whether there was a process.
    fn carry_out(
        &self,
        plan: &mut Plan,
        record: &mut Record,
        network: Option<NewNetwork>,
        launched: &mut bool,
    ) -> Result<Built> {
        let mut luggage = Luggage::default();
        if self.start_by == StartBy::AnotherProcess {
            let go = luggage.pack(self.directory.make_fifo(START_PENDING)?);
            let report = luggage.pack(self.directory.make_fifo(REPORT)?);
            plan.inside.start = StartRoute::Fifos { go, report };
        }
        let host_mount = UndoMount(record.host_mount.clone());
        let mut cgroups = phase("cgroups", || make_cgroups(plan, record, plan.route.helpers()))?;
        let rdt = make_rdt_groups(plan, record)?;
        plan.inside.waits_for_cgroup = cgroups.entrance().must_be_joined();
        phase("open sources", || mounts::host::open_sources(&mut plan.inside.mounts, &mut luggage))?;
        plan.inside.namespaces = namespaces::host::open_all(&plan.route, &plan.namespaces, &mut luggage)?;
        let snapshot = plan.snapshot(self.config);
        let suits = plan.inside.suits_a_husk(&plan.route);
        let body = phase("seal", || self.runtime.body(suits, self.root.path(), &mut luggage))?;
        plan.inside.husk = body.husk();

        let wanted = spawn::Wanted {
            namespaces: plan.route.launch,
            maps_before_exec: plan.route.maps_before_exec(),
            birthplace: cgroups.entrance().birthplace(),
            luggage: &luggage,
            preserved_fds: plan.inside.preserved_fds,
            placement: record.cgroups.clone(),
            earlier_oom_kills: cgroups.earlier_oom_kills()?,
        };
        // Taken back when the process, which is dropped before, is gone.
        let mut net_devices = Moved::default();
        let errand = ErrandRef::Init(&plan.inside);
        let (mut process, channel) = phase("clone", || spawn::launch(wanted, &body, errand))?;
        *launched = true;
        drop(luggage);
        let mut conversation = Conversation {
            plan,
            cgroups: &mut cgroups,
            rdt: rdt.as_ref(),
            network,
            net_devices: &mut net_devices,
            directory: self.directory,
            record,
            message: body.plan(errand)?,
            snapshot: &snapshot,
            launched: &mut process,
            channel: &channel,
            console_socket: self.handover.console_socket.as_ref(),
            starts_at_once: self.starts_at_once,
        };
        let terminal = phase("conversation", || conversation.hold())?;
        process::host::settle(process.pid(), &plan.from_outside)?;
        self.handover.pidfd(PidfdName::Standard, &process)?;
        self.handover.pid(process.pid())?;
        if self.start_by == StartBy::AnotherProcess {
            self.directory.publish_start()?;
        }
        let gone = || Error::new(Kind::ProcessGone, "the container's first process is gone");
        let init = process.keep().ok_or_else(gone)?;
        net_devices.keep();
        cgroups.keep();
        if let Some(rdt) = rdt {
            rdt.keep();
        }
        host_mount.keep();
        Ok((init, channel, terminal))
    }
}

/// COMPAT(runc): without privileges a container stays in the caller's groups, if nothing was asked for that needs others.
pub(super) fn make_cgroups(plan: &mut Plan, record: &mut Record, helpers: u64) -> Result<Cgroups> {
    match (Cgroups::create(&plan.cgroups, helpers), plan.cgroups.if_denied) {
        (Err(error), IfDenied::Stay) if error.kind() == Kind::Denied => {
            log::debug!("the container stays in our cgroups: {error}");
            if !record.own_pid_namespace {
                let why = "neither cgroups nor a pid namespace of its own: not all of its processes can be found";
                log::warn!("the container has {why}. {}", phrases::DISCOURAGED);
            }
            plan.do_without_cgroups();
            record.cgroups = Placement::default();
            Ok(Cgroups::default())
        }
        (Err(error), IfDenied::FailForLimits) if error.kind() == Kind::Denied => {
            Err(error.within(phrases::ROOTLESS_LIMITS).within("linux.resources"))
        }
        (result, _) => result,
    }
}

pub(super) fn make_rdt_groups(plan: &Plan, record: &mut Record) -> Result<Option<rdt::host::Groups>> {
    match (&plan.rdt, &mut record.rdt) {
        (Some(plan), Some(placement)) => rdt::host::Groups::create(plan, placement).map(Some),
        _ => Ok(None),
    }
}

/// See [`HostMount`].
struct UndoMount(Option<HostMount>);

impl UndoMount {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for UndoMount {
    fn drop(&mut self) {
        if let Some(mount) = &self.0
            && let Err(error) = mount.undo()
        {
            log::warn!("after a failed create: {error}");
        }
    }
}

/// The one that [`ContainerDir::make_notify_directory`] makes.
fn notify_directory(runtime: &Runtime, id: &str) -> Result<PathBuf> {
    Ok(absolute(&runtime.state_root)?.join(id).join(readiness::DIRECTORY))
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    let working_directory = || std::env::current_dir().or_call(|| "getcwd");
    let path = if path.is_absolute() { path.to_owned() } else { working_directory()?.join(path) };
    // "." and trailing slashes are not part of what state shows.
    Ok(path.components().collect())
}

pub(super) fn read_config(bundle: &Path) -> Result<Config> {
    let path = bundle.join("config.json");
    let reading = || -> Result<Vec<u8>> {
        // O_NONBLOCK: a FIFO of that name must not hang us.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = open(&path, flags, Mode::empty()).or_call(|| format!("open({path:?})"))?;
        match crate::fs::rootdir::file_type(&file)? {
            SFlag::S_IFREG => {}
            SFlag::S_IFDIR => return Err(Error::call(format!("open({path:?})"), Errno::EISDIR)),
            _ => return Err(Error::new(Kind::InvalidConfig, "is not a regular file")).within(|| format!("{path:?}")),
        }
        sys::fd::read_all(&file).or_call(|| format!("read({path:?})"))
    };
    Config::parse(&reading().within(|| "bundle")?).within(|| "config.json")
}

/// SPEC(config, "root"): the directory MUST exist. Said before anything is made; opened, once, later.
pub(super) fn check_rootfs(path: &Path) -> Result<()> {
    let refused = |errno| Err(Error::call(format!("stat({path:?})"), errno)).within(|| "root.path");
    match nix::sys::stat::stat(path) {
        Ok(stat) if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() => Ok(()),
        Ok(_) => refused(Errno::ENOTDIR),
        Err(errno) => refused(errno),
    }
}

pub(super) fn new_record(plan: &Plan, bundle: &Path) -> Result<Record> {
    use crate::config::NamespaceKind;
    Ok(Record {
        version: VERSION,
        id: plan.inside.state.id.clone(),
        bundle: bundle.to_owned(),
        rootfs: plan.inside.rootfs().clone(),
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        annotations: plan.inside.state.annotations.clone(),
        cgroups: cgroups::expected(&plan.cgroups)?,
        rdt: plan.rdt.as_ref().map(rdt::host::expected).transpose()?,
        own_pid_namespace: plan.namespaces.creates(NamespaceKind::Pid),
        has_process: plan.inside.process.is_some(),
        has_start_hooks: !plan.hooks.start_container.is_empty(),
        hooks: crate::config::Hooks {
            poststart: plan.hooks.poststart.clone(),
            poststop: plan.hooks.poststop.clone(),
            ..Default::default()
        },
        host_mount: HostMount::expected(&plan.inside.mounts.root)?,
        init: None,
    })
}
