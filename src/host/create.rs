//! `create`, and the creating half of `run`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::{Mode, SFlag};

use super::attend::{self, Conversation};
use super::container::Container;
use super::{Runtime, delete, spawn, start};
use crate::channel::HostEnd;
use crate::config::Config;
use crate::error::{Error, Kind, OrCall, Result, Within, phrases};
use crate::fs::atomic;
use crate::plan::{Plan, Request, StartRoute};
use crate::state::dir::{REPORT, START_PENDING};
use crate::state::record::{Record, VERSION};
use crate::state::{ContainerDir, StateRoot};
use crate::subsystems::cgroups::Driver;
use crate::subsystems::cgroups::host::{self as cgroups, Cgroups};
use crate::subsystems::mounts::host::HostMount;
use crate::subsystems::{mounts, namespaces, process};
use crate::sys;
use crate::sys::fd::Luggage;

/// What is asked for, beside the bundle's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// The container's id.
    pub id: String,
    /// The bundle's directory; relative ones count from the working directory.
    pub bundle: PathBuf,
    /// Who makes the cgroups.
    pub cgroup_driver: Driver,
    /// Gets the terminal's master, when `process.terminal` is set.
    pub console_socket: Option<PathBuf>,
    /// Gets a pidfd of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// Written when the container is complete.
    pub pid_file: Option<PathBuf>,
    /// chroot and a moved root instead of pivot_root.
    pub no_pivot: bool,
    /// Descriptors of ours from 3 on that the program gets.
    pub preserved_fds: u32,
    /// Of those, how many are listening sockets (sd_listen_fds(3)).
    pub listen_fds: Option<u32>,
    /// Rows and columns that the program finds from its first instruction, instead of `process.consoleSize`: those of the
    /// terminal that a foreground `run` is relayed to.
    pub terminal_size: Option<(u16, u16)>,
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
}

/// SPEC(runtime, "Create").
pub(super) fn create(runtime: &Runtime, request: &CreateRequest) -> Result<Container> {
    let created = build(runtime, request, StartBy::AnotherProcess)?;
    Ok(created.container)
}

/// Creates and starts.
pub(super) fn run(runtime: &Runtime, request: &CreateRequest) -> Result<Running> {
    let Created { mut container, init, channel, terminal } = build(runtime, request, StartBy::ThisProcess)?;
    channel.go()?;
    start::see_it_execute(&container, &channel, &init)
        .and_then(|()| start::after_start(&container))
        .map_err(|error| delete::after_failure(&mut container, error))?;
    Ok(Running { container, init, terminal })
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
}

/// Decides first, touches then, and undoes everything when it fails.
fn build(runtime: &Runtime, request: &CreateRequest, start_by: StartBy) -> Result<Created> {
    crate::state::id::check(&request.id)?;
    let bundle = absolute(&request.bundle)?;
    let config = read_config(&bundle)?;
    config.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    check_terminal(&config, request, start_by)?;
    check_descriptors(request.preserved_fds)?;
    let mut plan = Plan::new(
        &config,
        &runtime.machine,
        &Request {
            id: &request.id,
            bundle: &bundle,
            cgroup_driver: request.cgroup_driver,
            no_pivot: request.no_pivot,
            preserved_fds: request.preserved_fds,
            listen_fds: request.listen_fds,
            terminal_size: request.terminal_size,
        },
    )?;
    check_rootfs(plan.inside.rootfs())?;
    let handover = Handover::open(request)?;

    let root = StateRoot::find_or_make(&runtime.state_root)?;
    let (claim, _lock) = root.claim(&request.id)?;
    cgroups::check_fitness(&plan.cgroups)?;
    let mut record = new_record(&plan, &bundle)?;
    claim.write_record(&record)?;

    let mut launched = false;
    let acts = Acts { runtime, root: &root, directory: &claim, handover: &handover, start_by };
    match acts.carry_out(&mut plan, &mut record, &mut launched) {
        Ok((init, channel, terminal)) => {
            Ok(Created { container: Container { record, directory: claim.keep() }, init, channel, terminal })
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

/// Who gets what when the container is complete. Opened before anything is made: nobody there is an error of its own.
struct Handover {
    console_socket: Option<OwnedFd>,
    pidfd_socket: Option<OwnedFd>,
    pid_file: Option<PidFile>,
}

impl Handover {
    fn open(request: &CreateRequest) -> Result<Self> {
        let connect = |path: &Option<PathBuf>, flag: &str| {
            path.as_deref().map(|path| attend::connect_to(path).within(|| flag)).transpose()
        };
        Ok(Self {
            pid_file: request.pid_file.as_deref().map(PidFile::open).transpose()?,
            console_socket: connect(&request.console_socket, "--console-socket")?,
            pidfd_socket: connect(&request.pidfd_socket, "--pidfd-socket")?,
        })
    }

    fn hand_over(&self, launched: &spawn::Launched) -> Result<()> {
        if let (Some(socket), Some(pidfd)) = (&self.pidfd_socket, launched.pidfd()) {
            // COMPAT(runc): a first process is "standard".
            attend::send_descriptor(socket, "standard", pidfd).within(|| "--pidfd-socket")?;
        }
        match &self.pid_file {
            Some(file) => file.write(launched.pid()),
            None => Ok(()),
        }
    }
}

type Built = (OwnedFd, HostEnd, Option<OwnedFd>);

/// What is needed to act.
struct Acts<'a> {
    runtime: &'a Runtime,
    root: &'a StateRoot,
    directory: &'a ContainerDir,
    handover: &'a Handover,
    start_by: StartBy,
}

impl Acts<'_> {
    /// Each guard undoes its own when a later act fails, the last one first. `launched` says whether there was a process.
    fn carry_out(&self, plan: &mut Plan, record: &mut Record, launched: &mut bool) -> Result<Built> {
        let mut luggage = Luggage::default();
        if self.start_by == StartBy::AnotherProcess {
            let go = luggage.pack(self.directory.make_fifo(START_PENDING)?);
            let report = luggage.pack(self.directory.make_fifo(REPORT)?);
            plan.inside.start = StartRoute::Fifos { go, report };
        }
        let host_mount = UndoMount(record.host_mount.clone());
        let mut cgroups = Cgroups::create(&plan.cgroups)?;
        plan.inside.waits_for_cgroup = cgroups.must_be_joined();
        mounts::host::open_sources(&mut plan.inside.mounts, &mut luggage)?;
        plan.inside.namespaces = namespaces::host::open_all(&plan.route, &plan.namespaces, &mut luggage)?;
        let sealed = self.runtime.seal(self.root.path())?;

        let (mut process, channel) = spawn::launch(plan, &sealed, &cgroups, &luggage)?;
        *launched = true;
        drop(luggage);
        let terminal = Conversation {
            plan,
            cgroups: &mut cgroups,
            directory: self.directory,
            record,
            launched: &mut process,
            channel: &channel,
            console_socket: self.handover.console_socket.as_ref(),
        }
        .hold()?;
        process::host::set_rlimits(process.pid(), &plan.from_outside)?;
        self.handover.hand_over(&process)?;
        if self.start_by == StartBy::AnotherProcess {
            self.directory.publish_start()?;
        }
        let gone = || Error::new(Kind::ProcessGone, "the container's first process is gone");
        let init = process.keep().ok_or_else(gone)?;
        cgroups.keep();
        host_mount.keep();
        Ok((init, channel, terminal))
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

fn absolute(bundle: &Path) -> Result<PathBuf> {
    let working_directory = || std::env::current_dir().or_call(|| "getcwd");
    let path = if bundle.is_absolute() { bundle.to_owned() } else { working_directory()?.join(bundle) };
    // "." and trailing slashes are not part of what state shows.
    Ok(path.components().collect())
}

fn read_config(bundle: &Path) -> Result<Config> {
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
fn check_rootfs(path: &Path) -> Result<()> {
    let refused = |errno| Err(Error::call(format!("{path:?}"), errno)).within(|| "root.path");
    match nix::sys::stat::stat(path) {
        Ok(stat) if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() => Ok(()),
        Ok(_) => refused(Errno::ENOTDIR),
        Err(errno) => refused(errno),
    }
}

/// COMPAT(runc): a terminal needs somebody who has its other end, and a console socket needs a terminal.
fn check_terminal(config: &Config, request: &CreateRequest, start_by: StartBy) -> Result<()> {
    let detach = request.detach || start_by == StartBy::AnotherProcess;
    let terminal = config.process.as_ref().is_some_and(|process| process.terminal.is_some());
    match (detach && terminal, request.console_socket.is_some()) {
        (true, false) => {
            Err(Error::invalid("process.terminal", phrases::TERMINAL_NEEDS_SOCKET).hint("see --console-socket"))
        }
        (false, true) => Err(Error::invalid("process.terminal", phrases::SOCKET_NEEDS_TERMINAL)),
        (true, true) | (false, false) => Ok(()),
    }
}

/// COMPAT(runc): a hole in what is to be preserved is an error.
fn check_descriptors(preserved: u32) -> Result<()> {
    for number in (3..).take(usize::try_from(preserved).unwrap_or(usize::MAX)) {
        fcntl(sys::fd::borrow(number), FcntlArg::F_GETFD)
            .or_call(|| format!("fcntl({number})"))
            .within(|| format!("--preserve-fds: file descriptor {number}"))?;
    }
    Ok(())
}

fn new_record(plan: &Plan, bundle: &Path) -> Result<Record> {
    use crate::config::NamespaceKind;
    Ok(Record {
        version: VERSION,
        id: plan.inside.state.id.clone(),
        bundle: bundle.to_owned(),
        rootfs: plan.inside.rootfs().clone(),
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        annotations: plan.inside.state.annotations.clone(),
        cgroups: cgroups::expected(&plan.cgroups)?,
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

/// Where the pid goes. The directory is opened before anything is made.
struct PidFile {
    directory: OwnedFd,
    name: String,
    path: PathBuf,
}

impl PidFile {
    fn open(path: &Path) -> Result<Self> {
        let within = || format!("pid file {path:?}");
        let name = path.file_name().ok_or_else(|| Error::call("open", Errno::EISDIR)).within(within)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(parent, flags, Mode::empty()).or_call(|| format!("open({parent:?})")).within(within)?;
        Ok(Self { directory, name: name.to_string_lossy().into_owned(), path: path.to_owned() })
    }

    /// COMPAT(containerd, BuildKit): no newline, and there all at once: it is read the moment it exists.
    fn write(&self, pid: i32) -> Result<()> {
        atomic::write(&self.directory, &self.name, pid.to_string().as_bytes(), Mode::from_bits_truncate(0o644))
            .within(|| format!("pid file {:?}", self.path))
    }
}
