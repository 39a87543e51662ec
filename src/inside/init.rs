//! The first process of a container, from its first instruction to the program, in the order of the specification's lifecycle.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::{getpid, sethostname, setsid};

use super::program::{self, Becoming, Start};
use crate::channel::{self, FromInside, InsideEnd};
use crate::config::NamespaceKind;
use crate::error::{Error, OrCall, Result, Within};
use crate::plan::InsidePlan;
use crate::subsystems::doors::{InRoot, Inside};
use crate::subsystems::hooks::{self, Surroundings};
use crate::subsystems::lsm::AtExec;
use crate::subsystems::mounts::inside::{self as root, Rendezvous, Rootfs};
use crate::subsystems::mounts::mask;
use crate::subsystems::process::ProcessPlan;
use crate::subsystems::process::inside as process;
use crate::subsystems::terminal::Console;
use crate::subsystems::{devices, keyring, lsm, namespaces, network, sysctl, terminal};
use crate::sys;
use crate::sys::script::Script;
use crate::timing::phase;

/// Becomes the container.
pub fn run(channel: &InsideEnd, plan: &InsidePlan) -> Result<Infallible> {
    let inside = Inside::first_step();
    // A session of our own: a terminal can only be given to its leader, and the caller's must not reach us.
    setsid().or_call(|| "setsid")?;
    namespaces::inside::join_all(&inside, &plan.namespaces.joins)?;
    if let Some(keyring) = &plan.keyring {
        // ORDER: the label of what is made, first.
        lsm::label_keys(&inside, &plan.lsm)?;
        keyring::create(&inside, keyring)?;
    }
    name_ourselves(plan)?;

    let mut host = Host { channel, plan, in_network: !plan.namespaces.network_follows, in_cgroup: false };
    let mut rootfs = phase("root", || root::attach_root(&inside, &plan.mounts.root))?;
    phase("mounts", || root::attach_all(&inside, &mut rootfs, &plan.mounts, &mut host))?;
    host.enter_network(&inside)?;
    if plan.loopback {
        phase("loopback", || network::bring_up_loopback(&inside))?;
    }
    phase("devices", || devices::inside::make_all(&inside, &rootfs.dir, &plan.devices))?;
    host.enter_cgroup(&inside)?;
    announce_environment(channel, plan)?;
    // Through the host's procfs, while it can be seen. ORDER: devices and hooks' interfaces have parameters, too.
    sysctl::write_all(&inside, &plan.sysctl)?;
    phase("createContainer", || run_hooks_of_create(&inside, plan))?;
    // ORDER: before the host's procfs is gone.
    let lsm = lsm::open_at_exec(&inside, &plan.lsm)?;

    let in_root = phase("change the root", || root::change_root(inside, &plan.mounts.root, &rootfs))?;
    match &plan.process {
        Some(process) => become_program(in_root, channel, plan, process, &rootfs, lsm),
        None => {
            finish_root(&in_root, plan, &rootfs)?;
            wait_in_vain(channel, plan)
        }
    }
}

/// What the host does while we build the root.
struct Host<'a> {
    channel: &'a InsideEnd,
    plan: &'a InsidePlan,
    in_network: bool,
    in_cgroup: bool,
}

impl Rendezvous for Host<'_> {
    /// The host makes it meanwhile; what does not show it is attached before.
    fn enter_network(&mut self, inside: &Inside) -> Result<()> {
        if std::mem::replace(&mut self.in_network, true) {
            return Ok(());
        }
        let network = phase("wait for the network namespace", || self.channel.wait_for_descriptor())?;
        namespaces::inside::join_network(inside, network)
    }

    /// On v1 the host moves us; the namespace that shows our cgroup as its root comes after that.
    fn enter_cgroup(&mut self, inside: &Inside) -> Result<()> {
        if std::mem::replace(&mut self.in_cgroup, true) {
            return Ok(());
        }
        // ORDER: it is the first that the host sends.
        self.enter_network(inside)?;
        if self.plan.waits_for_cgroup {
            phase("wait for the cgroups", || self.channel.wait_for_go())?;
        }
        if self.plan.namespaces.create_cgroup {
            namespaces::inside::create(inside, NamespaceKind::Cgroup)?;
        }
        Ok(())
    }

    fn source(&mut self, inside: &Inside, step: usize, refusal: Option<Error>) -> Result<OwnedFd> {
        // ORDER: nobody asks for "you are in your cgroup", so it must not be on its way when we ask for something.
        self.enter_cgroup(inside)?;
        self.channel.send(&FromInside::SourcePlease { step, refusal })?;
        self.channel.wait_for_descriptor()
    }
}

fn name_ourselves(plan: &InsidePlan) -> Result<()> {
    if let Some(name) = &plan.hostname {
        sethostname(name).or_call(|| format!("sethostname({name:?})")).within(|| "hostname")?;
    }
    if let Some(name) = &plan.domainname {
        sys::domainname::set(name).or_call(|| format!("setdomainname({name:?})")).within(|| "domainname")?;
    }
    Ok(())
}

/// SPEC(runtime, Lifecycle 3-4): prestart and createRuntime are run by the host, which also moves network devices.
fn announce_environment(channel: &InsideEnd, plan: &InsidePlan) -> Result<()> {
    if plan.announces_environment {
        channel.send(&FromInside::EnvironmentMade)?;
        phase("wait for devices and hooks", || channel.wait_for_go())?;
    }
    Ok(())
}

/// SPEC(runtime, Lifecycle 5): createContainer, before the root changes: its paths are the host's, its namespaces the
/// container's.
fn run_hooks_of_create(_: &Inside, plan: &InsidePlan) -> Result<()> {
    let state = plan.state.now("created", getpid().as_raw());
    let surroundings =
        Surroundings { name: "createContainer", env: None, directory: Some(plan.state.bundle.as_path()) };
    hooks::run_all(&plan.hooks.create_container, &state, surroundings)
}

fn finish_root(in_root: &InRoot, plan: &InsidePlan, rootfs: &Rootfs) -> Result<()> {
    // ORDER: read-only paths before masks: a mask may cover a part of one.
    phase("read-only paths", || mask::make_readonly(in_root, rootfs, &plan.mounts.readonly))?;
    phase("masks", || mask::mask_all(in_root, rootfs, &plan.mounts.masked, plan.mounts.mask_label.as_deref()))?;
    root::seal_root(in_root, &plan.mounts.root, rootfs)
}

fn become_program(
    in_root: InRoot,
    channel: &InsideEnd,
    plan: &InsidePlan,
    wanted: &ProcessPlan,
    rootfs: &Rootfs,
    lsm: AtExec,
) -> Result<Infallible> {
    if let Some(size) = wanted.terminal {
        let pty = phase("terminal", || terminal::make(&in_root, &rootfs.dir, size, wanted.user.uid, Console::Bound))?;
        channel.send_with(&FromInside::Terminal { name: pty.name }, pty.master.as_fd())?;
    } else {
        process::hand_over_stdio(&in_root, &rootfs.dir, wanted)?;
    }
    process::make_cwd(&in_root, &rootfs.dir, wanted)?;
    finish_root(&in_root, plan, rootfs)?;
    let becoming = Becoming {
        channel,
        wanted,
        lsm,
        seccomp: plan.seccomp.as_ref(),
        passes_listener: plan.passes_listener,
        by_copy: false,
        has_session: true,
        start: plan.start,
        hooks: Some((&plan.hooks.start_container, &plan.state)),
        preserved_fds: plan.preserved_fds,
        husk: plan.husk,
    };
    program::become_program(in_root, &rootfs.dir, &becoming)
}

/// A container without a process can be created; start refuses it without asking us.
fn wait_in_vain(channel: &InsideEnd, plan: &InsidePlan) -> Result<Infallible> {
    let start = Start::take(plan.start)?;
    let mut script = Script::new(channel.as_fd(), channel::refusal);
    start.wait(channel, &mut script)?;
    super::log::stop();
    script.carry_out();
    super::fail(start.report(channel), Error::invalid("process", "is not set: there is no program to start"))
}
