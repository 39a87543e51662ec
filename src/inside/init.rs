//! The first process of a container, from its first instruction to execve, in the order of the specification's lifecycle.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::{getpid, sethostname, setsid};

use crate::channel::{FromInside, InsideEnd};
use crate::config::NamespaceKind;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::plan::{InsidePlan, SeccompPoint, StartRoute};
use crate::subsystems::doors::{InRoot, Inside, Unprivileged};
use crate::subsystems::hooks::{self, Surroundings};
use crate::subsystems::mounts::inside::{self as root, Rootfs};
use crate::subsystems::mounts::mask;
use crate::subsystems::process::ProcessPlan;
use crate::subsystems::process::inside::{self as process, Program};
use crate::subsystems::{devices, lsm, namespaces, network, seccomp, sysctl, terminal};
use crate::sys;

/// Becomes the container.
pub fn run(channel: &InsideEnd, plan: &InsidePlan) -> Result<()> {
    let inside = Inside::first_step();
    // A session of our own: a terminal can only be given to its leader, and the caller's must not reach us.
    setsid().or_call(|| "setsid")?;
    namespaces::inside::join_all(&inside, &plan.namespaces.joins)?;
    let mut cgroup = CgroupEntry { channel, plan, done: false };

    if plan.loopback {
        network::bring_up_loopback(&inside)?;
    }
    name_ourselves(plan)?;
    // Through the host's procfs, while it can be seen.
    sysctl::write_all(&inside, &plan.sysctl)?;
    lsm::set_at_exec(&inside, &plan.lsm)?;

    let mut rootfs = root::attach_root(&inside, &plan.mounts.root)?;
    root::attach_all(&inside, &mut rootfs, &plan.mounts, &mut |inside| cgroup.enter(inside))?;
    devices::inside::make_all(&inside, &rootfs.dir, &plan.devices)?;
    cgroup.enter(&inside)?;
    run_hooks_of_create(&inside, channel, plan)?;

    let in_root = root::change_root(inside, &plan.mounts.root, &rootfs)?;
    match &plan.process {
        Some(process) => become_program(in_root, channel, plan, process, &rootfs),
        None => {
            finish_root(&in_root, plan, &rootfs)?;
            wait_for_start_in_vain(channel, plan)
        }
    }
}

/// On v1 the host moves us while we build the root; the namespace that shows our cgroup as its root comes after that.
struct CgroupEntry<'a> {
    channel: &'a InsideEnd,
    plan: &'a InsidePlan,
    done: bool,
}

impl CgroupEntry<'_> {
    fn enter(&mut self, inside: &Inside) -> Result<()> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(());
        }
        if self.plan.waits_for_cgroup {
            self.channel.wait_for_go()?;
        }
        if self.plan.namespaces.create_cgroup {
            namespaces::inside::create(inside, NamespaceKind::Cgroup)?;
        }
        Ok(())
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

/// SPEC(runtime, Lifecycle 3-5): prestart and createRuntime by the host, then createContainer here, before the root changes:
/// its paths are the host's, its namespaces the container's.
fn run_hooks_of_create(_: &Inside, channel: &InsideEnd, plan: &InsidePlan) -> Result<()> {
    if plan.announces_environment {
        channel.send(&FromInside::EnvironmentMade)?;
        channel.wait_for_go()?;
    }
    let state = plan.state.now("created", getpid().as_raw());
    let surroundings =
        Surroundings { name: "createContainer", env: None, directory: Some(plan.state.bundle.as_path()) };
    hooks::run_all(&plan.hooks.create_container, &state, surroundings)
}

fn finish_root(in_root: &InRoot, plan: &InsidePlan, rootfs: &Rootfs) -> Result<()> {
    // ORDER: read-only paths before masks: a mask may cover a part of one.
    mask::make_readonly(in_root, &rootfs.dir, &plan.mounts.readonly)?;
    mask::mask_all(in_root, &rootfs.dir, &plan.mounts.masked)?;
    root::seal_root(in_root, &plan.mounts.root, rootfs)
}

fn become_program(
    in_root: InRoot,
    channel: &InsideEnd,
    plan: &InsidePlan,
    wanted: &ProcessPlan,
    rootfs: &Rootfs,
) -> Result<()> {
    if let Some(size) = wanted.terminal {
        let pty = terminal::make(&in_root, &rootfs.dir, size, wanted.user.uid)?;
        channel.send_with(&FromInside::Terminal { name: pty.name }, std::os::fd::AsFd::as_fd(&pty.master))?;
    } else {
        process::hand_over_stdio(&in_root, wanted)?;
    }
    process::make_cwd(&in_root, &rootfs.dir, wanted)?;
    finish_root(&in_root, plan, rootfs)?;
    let environment = process::environment(&in_root, &rootfs.dir, wanted);
    process::enter_cwd(&in_root, wanted)?;
    reset_inherited()?;

    process::set_rlimits(&in_root, wanted)?;
    let surplus = process::become_user(&in_root, wanted)?;
    // Changing ids made us dumpable again, and in our pid namespace others can see us.
    nix::sys::prctl::set_dumpable(false).or_call(|| "prctl(PR_SET_DUMPABLE)")?;
    process::verify_cwd(&in_root, wanted)?;
    let program = process::find_program(&in_root, wanted, &environment)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(wanted.user.umask));

    // ORDER: as late as it can be: what comes behind the filter must be allowed by it.
    load_filter(plan, SeccompPoint::BeforeDrop)?;
    let unprivileged = process::drop_privileges(in_root, wanted, &surplus)?;
    load_filter(plan, SeccompPoint::Last)?;

    let report = ready(channel, plan)?;
    start(&unprivileged, plan, &program, &environment, report.as_ref().unwrap_or(channel))
}

/// What a program inherits and must not: the caller's ignored signals and narrow CPU mask.
fn reset_inherited() -> Result<()> {
    sys::signal::reset_all().or_call(|| "sigaction(SIG_DFL)")?;
    if let Err(errno) = sys::limits::reset_affinity() {
        log::debug!("the CPU affinity stays as it is: {errno}");
    }
    Ok(())
}

fn load_filter(plan: &InsidePlan, now: SeccompPoint) -> Result<()> {
    match &plan.seccomp {
        Some((filter, point)) if *point == now => seccomp::inside::load(filter).within(|| "linux.seccomp").map(drop),
        Some(_) | None => Ok(()),
    }
}

/// Create is complete: waits to be started. What comes after is reported where `Some` says, else over the channel.
fn ready(channel: &InsideEnd, plan: &InsidePlan) -> Result<Option<InsideEnd>> {
    match plan.start {
        StartRoute::Channel => {
            channel.send(&FromInside::Ready)?;
            channel.wait_for_go()?;
            super::log::stop();
            Ok(None)
        }
        StartRoute::Fifos { go, report } => {
            let (go, report) = (go.take().or_call(|| "fcntl")?, report.take().or_call(|| "fcntl")?);
            channel.send(&FromInside::Ready)?;
            super::log::stop();
            wait_for_byte(&go)?;
            Ok(Some(InsideEnd::new(report)))
        }
    }
}

/// We hold both ends of the FIFO, so there is no end of file: only a byte wakes us.
fn wait_for_byte(go: &OwnedFd) -> Result<()> {
    loop {
        match nix::unistd::read(go, &mut [0_u8; 1]) {
            Ok(0) => return Err(Error::new(Kind::Failed, "the start FIFO is closed")),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::call("read(start FIFO)", errno)),
        }
    }
}

/// SPEC(runtime, Lifecycle 6-8): the startContainer hooks, and then the program.
fn start(
    _: &Unprivileged,
    plan: &InsidePlan,
    program: &Program,
    environment: &[String],
    report: &InsideEnd,
) -> Result<()> {
    let starting = || -> Result<()> {
        let state = plan.state.now("created", getpid().as_raw());
        let surroundings = Surroundings { name: "startContainer", env: Some(environment), directory: None };
        hooks::run_all(&plan.hooks.start_container, &state, surroundings)?;
        close_all_but(report, plan.preserved_fds)?;
        report.send(&FromInside::Executing)?;
        let Err(errno) = nix::unistd::execve(&program.path, &program.arguments, &program.environment);
        // COMPAT(Docker, Podman): "exec" and the errno in words decide about exit statuses 126 and 127.
        let shown = plan.process.as_ref().and_then(|process| process.args.first()).map_or("", String::as_str);
        Err(Error::call(format!("exec {shown:?}"), errno)).within(|| "process.args[0]")
    };
    let outcome = starting();
    if let Err(error) = &outcome {
        let _ = report.send(&FromInside::Failed(error.clone()));
    }
    outcome
}

/// CVE-2024-21626: execve looks up its path before it closes what is close-on-exec, so nothing of the host may be open at
/// all. What stays is the caller's three streams, what it asked to preserve, and the report, a socket or FIFO.
fn close_all_but(report: &InsideEnd, preserved: u32) -> Result<()> {
    use std::os::fd::AsFd;
    let first = 3 + preserved;
    let kept = u32::try_from(report.as_fd().as_raw_fd()).unwrap_or(first);
    if kept > first {
        sys::fd::close_range(first, kept - 1).or_call(|| "close_range")?;
    }
    sys::fd::close_range(kept.saturating_add(1).max(first), u32::MAX).or_call(|| "close_range")?;
    for number in 3..first {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        sys::fd::set_cloexec(sys::fd::borrow(number), false).or_call(|| format!("fcntl({number})"))?;
    }
    Ok(())
}

/// A container without a process can be created; start refuses it without asking us.
fn wait_for_start_in_vain(channel: &InsideEnd, plan: &InsidePlan) -> Result<()> {
    ready(channel, plan)?;
    Err(Error::invalid("process", "is not set: there is no program to start"))
}
