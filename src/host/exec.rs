//! `exec`: a further process in a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::container::{Container, within};
use super::handover::{self, Handover, PidfdName, Places};
use super::spawn::{self, Launched};
use super::{Runtime, start};
use crate::channel::{FromInside, HostEnd};
use crate::config::NamespaceKind;
use crate::config::process::{CapSet, Process, Terminal, User};
use crate::config::seccomp::Listener;
use crate::error::{Error, Kind, OrCall, Result, Within, phrases};
use crate::plan::{Decided, ErrandRef, ExecPlan};
use crate::state::Status;
use crate::subsystems::cgroups::Placement;
use crate::subsystems::cgroups::host::{Entrance, SubGroup};
use crate::subsystems::namespaces::clone_flag;
use crate::subsystems::namespaces::host::pid_of;
use crate::subsystems::{process, rdt, seccomp};
use crate::sys;
use crate::sys::clone::Child;
use crate::sys::fd::Luggage;
use crate::timing::phase;

/// How long the process may take to set itself up.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecRequest {
    /// The program.
    pub process: ProcessChoice,
    /// Gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Gets a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// Written when the program runs.
    pub pid_file: Option<PathBuf>,
    /// Descriptors of ours from 3 on that the program gets.
    pub preserved_fds: u32,
    /// Nobody stays to relay the terminal, so a console socket must get it.
    pub detach: bool,
    /// In a paused container, too: the process is then as frozen as the others.
    pub ignore_paused: bool,
    /// Groups below the container's.
    pub cgroups: Vec<SubGroup>,
    /// Instead of `consoleSize`.
    pub terminal_size: Option<(u16, u16)>,
}

/// Which program.
#[derive(Clone, Debug, PartialEq)]
pub enum ProcessChoice {
    /// A whole `process` object.
    Whole(Box<Process>),
    /// A command; the rest is the container's own `process`.
    Command(Box<Changes>),
}

/// How a command differs from the container's own `process`.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "documented at config::Process")]
pub struct Changes {
    pub args: Vec<String>,
    pub terminal: bool,
    pub cwd: Option<PathBuf>,
    /// Added.
    pub env: Vec<String>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Added.
    pub additional_gids: Vec<u32>,
    /// Added to the bounding, effective and permitted set.
    pub capabilities: CapSet,
    pub no_new_privileges: bool,
    pub apparmor_profile: Option<String>,
    pub selinux_label: Option<String>,
}

/// A program that was started in a container by this process, which is its parent.
#[derive(Debug)]
pub struct Executed {
    /// The process.
    pub process: OwnedFd,
    /// Its terminal's master, unless a console socket got it.
    pub terminal: Option<OwnedFd>,
}

impl ProcessChoice {
    /// The whole of it. COMPAT(runc): what a given process leaves out is as in the container.
    fn complete(self, own: Option<&Process>) -> Result<Process> {
        match self {
            Self::Whole(mut process) => {
                if let Some(own) = own {
                    process.capabilities = process.capabilities.or(own.capabilities);
                    process.apparmor_profile = process.apparmor_profile.or_else(|| own.apparmor_profile.clone());
                    process.selinux_label = process.selinux_label.or_else(|| own.selinux_label.clone());
                    process.user.keeps_groups = own.user.keeps_groups;
                    process.scheduler = process.scheduler.or(own.scheduler);
                    process.io_priority = process.io_priority.or(own.io_priority);
                    process.exec_affinity = process.exec_affinity.or_else(|| own.exec_affinity.clone());
                    if process.rlimits.is_empty() {
                        process.rlimits.clone_from(&own.rlimits);
                    }
                }
                Ok(*process)
            }
            Self::Command(changes) => {
                let why = "the container has none from which user, environment and rights could be taken";
                let own = own.ok_or_else(|| Error::invalid("process", why).hint("see --process"))?;
                Ok(changes.apply(own.clone()))
            }
        }
    }
}

impl Changes {
    fn apply(self, own: Process) -> Process {
        let mut capabilities = own.capabilities.unwrap_or_default();
        let added = self.capabilities.0;
        for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
            set.0 |= added;
        }
        // COMPAT(runc): the ambient set must stay within the inheritable one.
        capabilities.ambient.0 |= added & capabilities.inheritable.0;
        Process {
            terminal: self.terminal.then(Terminal::default),
            cwd: self.cwd.unwrap_or(own.cwd),
            args: self.args,
            env: [own.env, self.env].concat(),
            user: User {
                uid: self.uid.unwrap_or(own.user.uid),
                gid: self.gid.unwrap_or(own.user.gid),
                additional_gids: [own.user.additional_gids, self.additional_gids].concat(),
                keeps_groups: own.user.keeps_groups,
                umask: own.user.umask,
            },
            capabilities: Some(capabilities),
            no_new_privileges: own.no_new_privileges || self.no_new_privileges,
            apparmor_profile: self.apparmor_profile.or(own.apparmor_profile),
            selinux_label: self.selinux_label.or(own.selinux_label),
            ..own
        }
    }
}

/// Executes a further program in a container that was created or runs.
pub(super) fn exec(runtime: &Runtime, id: &str, request: &ExecRequest) -> Result<Executed> {
    let container = Container::find(runtime, id)?;
    let (init, is_paused) = check_status(&container, request)?;
    let snapshot = container.directory.read_snapshot()?;
    let namespaces = snapshot.namespaces;
    let mut process = request.process.clone().complete(snapshot.process.as_ref())?;
    if let Some(terminal) = &mut process.terminal {
        terminal.size = request.terminal_size.or(terminal.size);
    }
    handover::check_terminal(process.terminal.is_some(), request.detach, request.console_socket.is_some())?;
    handover::check_descriptors(request.preserved_fds)?;
    let decided = phase("plan", || snapshot.plan(&process, &runtime.machine))?;
    let handover = Handover::open(Places {
        console_socket: request.console_socket.as_deref(),
        pidfd_socket: request.pidfd_socket.as_deref(),
        pid_file: request.pid_file.as_deref(),
    })?;
    let acts =
        Acts { runtime, container: &container, init: &init, is_paused, namespaces, handover: &handover, request };
    acts.carry_out(decided)
}

/// The first process, and whether it is paused.
fn check_status(container: &Container, request: &ExecRequest) -> Result<(OwnedFd, bool)> {
    let refused = |why: &str| Error::new(Kind::WrongStatus, why).within(container.named());
    let status = container.status()?;
    match status {
        Status::Created | Status::Running => {}
        Status::Paused if request.ignore_paused => {}
        Status::Paused => return Err(refused(phrases::EXEC_PAUSED)),
        Status::Stopped => return Err(refused(phrases::EXEC_STOPPED)),
        Status::Creating => return Err(refused("cannot exec in a container that is being created")),
    }
    let init = container.init()?.ok_or_else(|| refused(phrases::EXEC_STOPPED))?;
    Ok((init, status == Status::Paused))
}

/// What is needed to act.
struct Acts<'a> {
    runtime: &'a Runtime,
    container: &'a Container,
    init: &'a OwnedFd,
    is_paused: bool,
    namespaces: u64,
    handover: &'a Handover,
    request: &'a ExecRequest,
}

impl Acts<'_> {
    fn carry_out(&self, decided: Decided) -> Result<Executed> {
        let mut luggage = Luggage::default();
        let has_rdt = self.container.record.rdt.is_some();
        let mut entrance = Entrance::open(&self.container.record.cgroups, &self.request.cgroups)?;
        // Who enters a pid namespace is not seen there before it is a husk.
        let apart = self.namespaces & clone_flag(NamespaceKind::Pid) != 0;
        let body = self.runtime.body(apart, &self.runtime.state_root, &mut luggage)?;
        let plan = ExecPlan {
            container: luggage.pack(self.init.try_clone().or_call(|| "dup(pidfd)")?),
            namespaces: self.namespaces,
            root: self.open_root()?.map(|root| luggage.pack(root)),
            waits: entrance.must_be_joined() || decided.from_outside.oom_score_adj.is_some() || has_rdt,
            keyring: decided.keyring,
            lsm: decided.lsm,
            process: decided.process,
            seccomp: decided.seccomp,
            passes_listener: decided.listener.is_some() && self.runtime.machine.is_rootless()?,
            preserved_fds: self.request.preserved_fds,
            husk: body.husk(),
        };
        let errand = ErrandRef::Exec(&plan);
        let launch = |entrance: &Entrance| {
            let wanted = spawn::Wanted {
                namespaces: 0,
                maps_before_exec: false,
                birthplace: entrance.birthplace(),
                luggage: &luggage,
                preserved_fds: plan.preserved_fds,
                // Who fails here takes nobody along.
                placement: Placement::default(),
                earlier_oom_kills: 0,
            };
            let launch = || phase("clone", || spawn::launch(wanted, &body, errand));
            process::host::on_cpus(decided.initial_cpus.as_ref(), launch)
        };
        let (mut launched, channel) = match launch(&entrance) {
            Err(error) if error.errno() == Some(Errno::EBUSY) && self.request.cgroups.is_empty() => {
                entrance = Entrance::beside(&self.container.record.cgroups, pid_of(self.init)?)?;
                launch(&entrance)?
            }
            other => other?,
        };
        drop(luggage);
        let talk = Conversation {
            plan: &plan,
            message: body.plan(errand)?,
            from_outside: &decided.from_outside,
            listener: decided.listener.as_ref(),
            entrance: &entrance,
            apart,
            starts_at_once: !self.handover.has_sockets()
                && decided.listener.is_none()
                && !decided.from_outside.comes_last(),
            acts: self,
        };
        let terminal = phase("conversation", || talk.hold(&mut launched, &channel))?;
        process::host::settle(launched.pid(), &decided.from_outside)?;
        self.handover.pidfd(PidfdName::Setns, &launched)?;
        if !talk.starts_at_once {
            channel.start()?;
        }
        if let Some(pidfd) = launched.pidfd() {
            phase("start", || start::see_it_execute(&channel, pidfd, Some(PATIENCE)))
                .map_err(|error| seccomp::host::explain(error, talk.filter(), talk.listener))?;
        }
        // COMPAT(conmon): the file is there if and only if the program was executed.
        self.handover.pid(launched.pid())?;
        let gone = || Error::new(Kind::ProcessGone, "the process is gone");
        Ok(Executed { process: launched.keep().ok_or_else(gone)?, terminal })
    }

    /// A container without a mount namespace of its own has only another root directory.
    fn open_root(&self) -> Result<Option<OwnedFd>> {
        if self.namespaces & clone_flag(NamespaceKind::Mount) != 0 {
            return Ok(None);
        }
        let path = format!("/proc/{}/root", pid_of(self.init)?);
        let root = open(path.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .or_call(|| format!("open({path:?})"))?;
        // Else the pid may have gone to somebody else before it was looked up.
        if !sys::pidfd::is_alive(self.init).or_call(|| "poll(pidfd)")? {
            return Err(Error::new(Kind::WrongStatus, phrases::EXEC_STOPPED).within(self.container.named()));
        }
        Ok(Some(root))
    }
}

/// From the launch to the last step before execve.
struct Conversation<'a> {
    plan: &'a ExecPlan,
    /// The plan for the process, if it is not a copy of this one.
    message: Option<Vec<u8>>,
    from_outside: &'a process::FromOutside,
    /// Who gets the filter's listener.
    listener: Option<&'a Listener>,
    entrance: &'a Entrance,
    /// Whether it enters a pid namespace, for which another process is made.
    apart: bool,
    /// Whether the program may start when the process is ready for it: nobody has anything to do then.
    starts_at_once: bool,
    acts: &'a Acts<'a>,
}

impl Conversation<'_> {
    /// Beside the first process, if the container's own groups take nobody.
    fn join(&self, pid: i32) -> Result<()> {
        match self.entrance.join(pid) {
            Err(error) if error.errno() == Some(Errno::EBUSY) && self.acts.request.cgroups.is_empty() => {
                Entrance::beside(&self.acts.container.record.cgroups, pid_of(self.acts.init)?)?.join(pid)
            }
            other => other,
        }
    }

    /// It has had all its answers.
    fn start_at_once(&self, channel: &HostEnd) -> Result<()> {
        if self.starts_at_once { channel.start() } else { Ok(()) }
    }

    fn filter(&self) -> Option<&seccomp::Filter> {
        self.plan.seccomp.as_ref().map(|(filter, _)| filter)
    }

    fn hold(&self, launched: &mut Launched, channel: &HostEnd) -> Result<Option<OwnedFd>> {
        let record = &self.acts.container.record;
        if let Some(message) = &self.message {
            channel.send_plan(message)?;
        }
        // ORDER: it waits until all of this is done, and the copy of it that becomes the program inherits it.
        process::host::set_oom_score(launched.pid(), self.from_outside)?;
        record.rdt.as_ref().map_or(Ok(()), |placement| rdt::host::join(placement, launched.pid()))?;
        if self.entrance.must_be_joined() {
            phase("join the cgroups", || self.join(launched.pid()))?;
        }
        if self.plan.waits {
            channel.go()?;
        }
        if !self.apart {
            self.start_at_once(channel)?;
        }
        // Frozen, it goes on when somebody resumes the container.
        let patience = (!self.acts.is_paused).then_some(PATIENCE);
        let (mut terminal, mut listener) = (None, None);
        loop {
            let patience = if listener.is_some() { patience.map(|_| handover::PATIENCE) } else { patience };
            let process = launched.process()?.pidfd.as_fd();
            let message = phase("wait for the process", || channel.receive(process, patience.map(within)));
            match message.map_err(|error| seccomp::host::explain(error, None, listener))? {
                Some((FromInside::FirstProcess, Some(pidfd))) => {
                    launched.replace(Child { pid: pid_of(&pidfd)?, pidfd })?;
                    channel.go()?;
                    self.start_at_once(channel)?;
                }
                Some((FromInside::Terminal { name }, Some(master))) => match &self.acts.handover.console_socket {
                    Some(socket) => {
                        handover::send_descriptor(socket, &name, &master).within(|| "console socket")?;
                    }
                    None => terminal = Some(master),
                },
                Some((FromInside::Listener { number }, passed)) => {
                    // COMPAT(runc): of a container that is only created, too.
                    let state = record.hook_state("running", record.init.map_or(0, |init| init.pid));
                    listener = self.listener;
                    listener.map_or(Ok(()), |to| {
                        handover::listener(to, launched, i32::from_ne_bytes(number), passed, &state)
                    })?;
                }
                Some((FromInside::Ready, _)) => return Ok(terminal),
                Some((FromInside::Failed(error), _)) => return Err(error),
                Some((message, _)) => {
                    return Err(Error::new(Kind::Failed, format!("unexpected message {message:?}")));
                }
                None => {
                    let error = Error::new(Kind::ProcessGone, launched.obituary()).within("the process");
                    return Err(seccomp::host::explain(error, self.filter(), None));
                }
            }
        }
    }
}
