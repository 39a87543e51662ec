//! The host's half of the conversation that the front page of `channel` draws.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::container::within;
use super::handover;
use super::spawn::Launched;
use crate::channel::{FromInside, HostEnd};
use crate::error::{Error, Kind, Result, Within};
use crate::fs::procfs;
use crate::plan::{Plan, Snapshot};
use crate::state::record::Init;
use crate::state::{ContainerDir, Record};
use crate::subsystems::cgroups::host::Cgroups;
use crate::subsystems::mounts::host::Sources;
use crate::subsystems::namespaces::host::NewNetwork;
use crate::subsystems::net_devices::Moved;
use crate::subsystems::{namespaces, process, rdt, seccomp};
use crate::sys::clone::Child;
use crate::timing::phase;

/// How long the container's process may take to set itself up. Hooks that run in it have timeouts of their own.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything that takes part.
pub struct Conversation<'a> {
    pub plan: &'a Plan,
    pub cgroups: &'a mut Cgroups,
    pub rdt: Option<&'a rdt::host::Groups>,
    /// Becomes the container's.
    pub network: Option<NewNetwork>,
    pub net_devices: &'a mut Moved,
    pub directory: &'a ContainerDir,
    pub record: &'a mut Record,
    /// The plan for the process, if it is not a copy of this one.
    pub message: Option<Vec<u8>>,
    /// For later processes.
    pub snapshot: &'a Snapshot,
    pub launched: &'a mut Launched,
    pub channel: &'a HostEnd,
    /// Where the terminal goes; `None`: to us.
    pub console_socket: Option<&'a OwnedFd>,
    /// Whether the program may start when the process is ready for it, and we have done what is to be done before.
    pub starts_at_once: bool,
}

impl Conversation<'_> {
    /// From the launch to "ready". The answer is the terminal, when there is one and nobody else gets it.
    pub fn hold(&mut self) -> Result<Option<OwnedFd>> {
        if self.plan.route.maps_before_exec() {
            self.write_maps()?;
            self.channel.go()?;
        }
        if let Some(message) = &self.message {
            phase("send the plan", || self.channel.send_plan(message))?;
        }
        phase("write the state", || self.directory.write_snapshot(self.snapshot))?;
        if let Some(network) = self.network.take() {
            self.channel.go_with(phase("wait for the network namespace", || network.finish())?.as_fd())?;
        }
        if self.plan.route.intermediate.is_none() {
            self.adopt_first_process()?;
        }
        let mut terminal = None;
        let mut listener = None;
        let mut sources = Sources::default();
        loop {
            let patience = match listener {
                Some(_) => Some(handover::PATIENCE),
                None => self.plan.hooks.create_container.is_empty().then_some(PATIENCE),
            };
            let process = self.launched.process()?.pidfd.as_fd();
            let message = phase("wait for the process", || self.channel.receive(process, patience.map(within)));
            match message.map_err(|error| seccomp::host::explain(error, None, listener))? {
                Some((FromInside::MapsPlease, _)) => {
                    self.write_maps()?;
                    namespaces::host::write_time_offsets(self.launched.pid(), &self.plan.time_offsets)?;
                    self.channel.go()?;
                }
                Some((FromInside::FirstProcess, Some(pidfd))) => {
                    let pid = namespaces::host::pid_of(&pidfd)?;
                    self.launched.replace(Child { pid, pidfd })?;
                    self.channel.go()?;
                    self.adopt_first_process()?;
                }
                Some((FromInside::SourcePlease { step, refusal }, _)) => {
                    let process = self.launched.process()?;
                    let source = sources.open(&self.plan.inside.mounts, step, process, refusal)?;
                    self.channel.go_with(source.as_fd())?;
                }
                Some((FromInside::EnvironmentMade, _)) => {
                    self.net_devices.to(self.launched.process()?, &self.plan.net_devices)?;
                    self.record.run_create_hooks(&self.plan.hooks, self.launched.pid())?;
                    self.channel.go()?;
                }
                Some((FromInside::Terminal { name }, Some(master))) => match self.console_socket {
                    Some(socket) => handover::send_descriptor(socket, &name, &master).within(|| "console socket")?,
                    None => terminal = Some(master),
                },
                Some((FromInside::Listener { number }, passed)) => {
                    let state = self.record.hook_state("creating", self.launched.pid());
                    listener = self.plan.listener.as_ref();
                    listener.map_or(Ok(()), |to| {
                        handover::listener(to, self.launched, i32::from_ne_bytes(number), passed, &state)
                    })?;
                }
                Some((FromInside::Ready, _)) => return Ok(terminal),
                Some((FromInside::Failed(error), _)) => return Err(error),
                Some((message, _)) => {
                    return Err(Error::new(Kind::Failed, format!("unexpected message {message:?}")));
                }
                None => {
                    let how = self.launched.obituary();
                    let error = Error::new(Kind::ProcessGone, how).within("the container's first process");
                    return Err(seccomp::host::explain(error, self.snapshot.filter.as_ref(), None));
                }
            }
        }
    }

    fn write_maps(&self) -> Result<()> {
        match &self.plan.id_mappings {
            Some(mappings) => namespaces::id_maps::write(self.launched.pid(), mappings, "linux"),
            None => Ok(()),
        }
    }

    /// The first process is known: from here on it can be found, and is limited and counted.
    fn adopt_first_process(&mut self) -> Result<()> {
        let pid = self.launched.pid();
        if let Some(start_time) = procfs::start_time(pid)? {
            self.record.init = Some(Init { pid, start_time });
            self.directory.write_record(self.record)?;
        }
        process::host::set_oom_score(pid, &self.plan.from_outside)?;
        self.rdt.map_or(Ok(()), |groups| groups.join(pid))?;
        self.cgroups.attach_device_program(&self.plan.cgroups.device_program)?;
        if self.plan.inside.waits_for_cgroup {
            // Slow when the machine was idle; the process builds its root meanwhile.
            phase("join the cgroups", || self.cgroups.entrance().join(pid))?;
            self.channel.go()?;
        }
        self.cgroups.dismiss_helpers()?;
        if self.starts_at_once { self.channel.start() } else { Ok(()) }
    }
}
