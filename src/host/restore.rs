//! `restore`: a container whose processes CRIU makes anew, from the images of a checkpoint.
//!
//! Everything around them is made as create does: the record, the groups and limits, the hooks of the runtime's namespaces. What
//! create's other hooks did is in the images.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::stat::stat;

use super::container::Container;
use super::create::{self, Running};
use super::handover::{self, Handover, PidfdName, Places};
use super::images::{CriuOptions, Images};
use super::spawn::Launched;
use super::{Runtime, delete, start};
use crate::config::{Config, NamespaceKind};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::procfs;
use crate::machine::criu::messages::{self, CgroupsMode, Inherited, Options};
use crate::machine::criu::{Notification, Session, Streams, Surroundings};
use crate::plan::{Plan, Request, Snapshot};
use crate::state::record::Init;
use crate::state::{ContainerDir, Record, StateRoot};
use crate::subsystems::cgroups::Driver;
use crate::subsystems::cgroups::host::{self as cgroups, Cgroups};
use crate::subsystems::net_devices::Moved;
use crate::subsystems::{checkpoint, keyring, lsm, mounts, namespaces, network, rdt};
use crate::sys;
use crate::sys::clone::Child;
use crate::sys::fd::Luggage;

/// What is asked for, beside the bundle's configuration.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The container's id.
    pub id: String,
    /// The bundle's directory; relative ones count from the working directory.
    pub bundle: PathBuf,
    /// Who makes the cgroups.
    pub cgroup_driver: Driver,
    /// Whether the container may do without cgroups that we may not make; `None`: if we are without privileges.
    pub rootless: Option<bool>,
    /// What checkpoint was told, too.
    pub criu: CriuOptions,
    /// Connections of TCP are there, and closed.
    pub tcp_close: bool,
    /// `TYPE:NAME`: another label or profile than the processes had.
    pub lsm_profile: Option<String>,
    /// Another context than its mounts had.
    pub lsm_mount_context: Option<String>,
    /// Gets the terminal's master, when `process.terminal` is set.
    pub console_socket: Option<PathBuf>,
    /// Written when the container runs.
    pub pid_file: Option<PathBuf>,
    /// The container gets our session keyring, instead of one of its own. (Its old one is in no image.)
    pub no_new_keyring: bool,
    /// Nobody stays to relay the terminal.
    pub detach: bool,
}

/// How many processes CRIU may have in the container's groups, beside those that it restores.
const HELPERS: u64 = 16;

/// Decides first, touches then, and undoes everything when it fails.
pub(super) fn restore(runtime: &Runtime, request: &RestoreRequest) -> Result<Running> {
    let (mut container, init, terminal) = build(runtime, request)?;
    start::after_start(&container).map_err(|error| delete::after_failure(&mut container, error))?;
    Ok(Running { container, init, terminal, readiness: None })
}

fn build(runtime: &Runtime, request: &RestoreRequest) -> Result<(Container, OwnedFd, Option<OwnedFd>)> {
    crate::state::id::check(&request.id)?;
    let bundle = create::absolute(&request.bundle)?;
    let config = create::read_config(&bundle)?;
    config.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    handover::check_terminal(create::has_terminal(&config), request.detach, request.console_socket.is_some())?;
    if let Some(label) = &request.lsm_profile {
        lsm::check_label(label, &runtime.machine).within(|| "--lsm-profile")?;
    }
    let mut plan = plan(runtime, request, &config, &bundle)?;
    create::check_rootfs(plan.inside.rootfs())?;
    let images = Images::to_read(&request.criu)?;
    let places = Places {
        console_socket: request.console_socket.as_deref(),
        pidfd_socket: None,
        pid_file: request.pid_file.as_deref(),
    };
    let handover = Handover::open(places)?;

    let root = StateRoot::find_or_make(&runtime.state_root)?;
    let (claim, _lock) = root.claim(&request.id)?;
    cgroups::check_fitness(&plan.cgroups)?;
    let mut record = create::new_record(&plan, &bundle)?;
    claim.write_record(&record)?;
    let acts = Acts {
        request,
        config: &config,
        images: &images,
        handover: &handover,
        directory: &claim,
        place: create::absolute(&runtime.state_root)?.join(&request.id),
    };
    let mut launched = false;
    match acts.carry_out(&mut plan, &mut record, &mut launched) {
        Ok((init, terminal)) => Ok((Container { record, directory: claim.keep() }, init, terminal)),
        Err(error) => {
            drop(claim);
            if launched {
                delete::run_poststop(&record);
            }
            Err(error)
        }
    }
}

fn plan(runtime: &Runtime, request: &RestoreRequest, config: &Config, bundle: &Path) -> Result<Plan> {
    Plan::new(
        config,
        &runtime.machine,
        &Request {
            cgroup_driver: request.cgroup_driver,
            rootless: request.rootless,
            no_new_keyring: request.no_new_keyring,
            ..Request::new(&request.id, bundle)
        },
    )
}

/// What is needed to act.
struct Acts<'a> {
    request: &'a RestoreRequest,
    config: &'a Config,
    images: &'a Images,
    handover: &'a Handover,
    directory: &'a ContainerDir,
    /// The path of that directory.
    place: PathBuf,
}

impl Acts<'_> {
    /// Each guard undoes its own when a later act fails, the last one first. `launched` says whether there was a process.
    fn carry_out(
        &self,
        plan: &mut Plan,
        record: &mut Record,
        launched: &mut bool,
    ) -> Result<(OwnedFd, Option<OwnedFd>)> {
        let mut luggage = Luggage::default();
        let mut cgroups = create::make_cgroups(plan, record, HELPERS)?;
        let rdt = create::make_rdt_groups(plan, record)?;
        plan.inside.namespaces = namespaces::host::open_all(&plan.route, &plan.namespaces, &mut luggage)?;
        let snapshot = plan.snapshot(self.config);
        if let Some(obstacle) = &snapshot.externals.obstacle {
            return Err(obstacle.clone());
        }
        mounts::host::make_mount_points(&plan.inside.mounts)?;

        // Taken back when the process, which is dropped before, is gone.
        let net_devices = Moved::default();
        let mut restoration = Restoration {
            plan,
            record,
            directory: self.directory,
            snapshot,
            cgroups: &mut cgroups,
            rdt: rdt.as_ref(),
            handed_down: None,
            net_devices,
            console_socket: self.handover.console_socket.as_ref(),
            terminal: None,
            process: None,
            launched,
        };
        self.run_criu(&mut restoration)?;
        let Restoration { process, net_devices, terminal, .. } = restoration;
        let gone = || Error::new(Kind::ProcessGone, "CRIU has restored no process");
        let process = process.ok_or_else(gone)?;
        self.handover.pidfd(PidfdName::Standard, &process)?;
        self.handover.pid(process.pid())?;
        let init = process.keep().ok_or_else(gone)?;
        net_devices.keep();
        cgroups.keep();
        if let Some(rdt) = rdt {
            rdt.keep();
        }
        Ok((init, terminal))
    }

    fn run_criu(&self, restoration: &mut Restoration<'_>) -> Result<()> {
        let namespaces = restoration.snapshot.externals.open_namespaces()?;
        let along: Vec<BorrowedFd<'_>> = namespaces.iter().map(|(file, _)| file.as_fd()).collect();
        let rootfs = restoration.plan.inside.rootfs().clone();
        let surroundings = Surroundings {
            streams: Streams::Ours,
            along: &along,
            directories: &self.images.directories(),
            root: Some((&rootfs, &self.place)),
        };
        let inside = &restoration.plan.inside;
        let session = Session::start(&surroundings, || match &inside.keyring {
            Some(keyring) => lsm::label_keys_outside(&inside.lsm).and_then(|()| keyring::create_outside(keyring)),
            None => Ok(()),
        })?;
        let groups = self.images.read_cgroups()?;
        let mode = match checkpoint::has_groups(&groups) && !restoration.record.cgroups.groups.is_empty() {
            true => self.request.criu.cgroups_mode(checkpoint::has_groups_below(&groups)),
            // There is nothing to manage. CRIU would put it where it was, whatever it is to have now.
            false => CgroupsMode::Ignore,
        };
        match mode {
            // What it restores is where it is.
            CgroupsMode::Ignore => restoration.cgroups.entrance().admit(session.pid())?,
            // It does it itself, and fails if somebody has done it before.
            CgroupsMode::Full => restoration.handed_down = Some(Vec::new()),
            _ => restoration.handed_down = Some(checkpoint::handed_down(&groups)),
        }
        let options = self.options(restoration, mode, &namespaces, &session)?;
        let kind = messages::Kind::Restore.into();
        let message = messages::Request { kind, options: Some(options), ..messages::Request::default() };
        let log = self.images.log();
        let mut ours = false;
        let attend = |notification| {
            let attended = restoration.attend(notification);
            ours = attended.is_err();
            attended
        };
        let restored = cgroups::HierarchyOptions::kept(|| session.carry_out(&message, attend));
        restored.map_err(|error| if ours { error } else { self.images.explain(error, &log) })
    }

    fn options(
        &self,
        restoration: &Restoration<'_>,
        mode: CgroupsMode,
        namespaces: &[(OwnedFd, &str)],
        session: &Session,
    ) -> Result<Options> {
        let externals = &restoration.snapshot.externals;
        let streams = self.images.read_streams()?;
        let streams = checkpoint::inherited(&streams).map(|(fd, key)| Inherited { key: key.clone(), fd });
        let named = |(file, key): &(OwnedFd, &str)| Inherited { key: (*key).to_owned(), fd: file.as_raw_fd() };
        let common =
            self.images.options(&self.request.criu, mode, &restoration.record.annotations, session.directories());
        Ok(Options {
            root: self.place.to_str().map(str::to_owned),
            rst_sibling: Some(true),
            evasive_devices: Some(true),
            external_mounts: externals.restored_mounts(restoration.plan.inside.rootfs())?,
            inherited: streams.chain(namespaces.iter().map(named)).collect(),
            joined_namespaces: externals.joined_namespaces()?,
            cgroup_roots: checkpoint::cgroup_roots(&restoration.record.cgroups),
            // A terminal that is not the container's own is not made again, to be handed over: ours takes its place.
            orphan_pts_master: Some(create::has_terminal(self.config)),
            tcp_close: Some(self.request.tcp_close),
            lsm_profile: self.request.lsm_profile.clone(),
            lsm_mount_context: self.request.lsm_mount_context.clone(),
            ..common
        })
    }
}

/// What our part of it needs.
struct Restoration<'a> {
    plan: &'a Plan,
    record: &'a mut Record,
    directory: &'a ContainerDir,
    snapshot: Snapshot,
    cgroups: &'a mut Cgroups,
    rdt: Option<&'a rdt::host::Groups>,
    /// Controllers of v2 that we let the container's group hand down to those below it; `None`: all processes are in its own.
    handed_down: Option<Vec<String>>,
    net_devices: Moved,
    console_socket: Option<&'a OwnedFd>,
    /// Where nobody else gets it.
    terminal: Option<OwnedFd>,
    process: Option<Launched>,
    launched: &'a mut bool,
}

impl Restoration<'_> {
    fn attend(&mut self, notification: Notification) -> Result<()> {
        let Notification { step, pid, descriptor } = notification;
        match (step.as_str(), descriptor) {
            ("setup-namespaces", _) => self.set_up(pid),
            // KERNEL: not before the first process has left the container's group for one below it, and not after, when CRIU
            // writes to those.
            ("post-setup-namespaces", _) => self.handed_down.as_ref().map_or(Ok(()), |it| self.cgroups.hand_down(it)),
            ("post-restore", _) => self.adopt(pid),
            ("pre-resume", _) => self.check_confinement(),
            ("orphan-pts-master", Some(master)) => match self.console_socket {
                Some(socket) => handover::send_descriptor(socket, "/dev/ptmx", &master).within(|| "console socket"),
                None => {
                    self.terminal = Some(master);
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    /// SPEC(runtime, Lifecycle 3-4): the namespaces are there and nobody has run in them.
    fn set_up(&mut self, pid: i32) -> Result<()> {
        *self.launched = true;
        if self.handed_down.is_some() {
            // CRIU takes it from there to a group below, but only when the hooks have looked where it is.
            self.cgroups.entrance().admit(pid)?;
        }
        if self.plan.namespaces.creates(NamespaceKind::Network) {
            network::bring_up_loopback_of(pid).within(|| "linux.namespaces")?;
            let pidfd = sys::pidfd::open(pid).or_call(|| format!("pidfd_open({pid})"))?;
            self.net_devices.to(&Child { pid, pidfd }, &self.plan.net_devices)?;
        }
        self.record.run_create_hooks(&self.plan.hooks, pid)
    }

    /// The processes are there, and wait for us to run.
    fn adopt(&mut self, pid: i32) -> Result<()> {
        let pidfd = sys::pidfd::open(pid).or_call(|| format!("pidfd_open({pid})"))?;
        self.process = Some(Launched::adopt(Child { pid, pidfd }, self.record.cgroups.clone()));
        if let Some(start_time) = procfs::start_time(pid)? {
            self.record.init = Some(Init { pid, start_time });
            self.directory.write_record(self.record)?;
        }
        self.snapshot.namespaces |= time_namespace(pid)?;
        self.directory.write_snapshot(&self.snapshot)?;
        self.rdt.map_or(Ok(()), |groups| groups.join(pid))?;
        self.cgroups.attach_device_program(&self.plan.cgroups.device_program)?;
        self.cgroups.dismiss_helpers()
    }

    /// Nothing of it has run yet. It has to be killed first: without CRIU, which holds it, it goes on.
    fn check_confinement(&self) -> Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let checked = lsm::check_restored(&self.plan.inside.lsm, process.pid());
        checked.map_err(|error| match process.kill().and_then(|()| cgroups::kill_all(&self.record.cgroups)) {
            Ok(()) => error,
            Err(also) => error.also(&also),
        })
    }
}

/// CRIU gives whatever it restores a time namespace, so that clocks go on where they were: further processes join it.
fn time_namespace(pid: i32) -> Result<u64> {
    let inode = |process: &str| {
        let path = format!("/proc/{process}/ns/time");
        match stat(path.as_str()) {
            Ok(stat) => Ok(Some(stat.st_ino)),
            // KERNEL(before 5.6)
            Err(nix::errno::Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::call(format!("stat({path:?})"), errno)),
        }
    };
    let is_own = inode(&pid.to_string())? != inode("self")?;
    Ok(if is_own { namespaces::clone_flag(NamespaceKind::Time) } else { 0 })
}
