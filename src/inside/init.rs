//! The first process of a container, from its first instruction to execve, in the order of the specification's lifecycle.

use std::convert::Infallible;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

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
pub fn run(channel: &InsideEnd, plan: &InsidePlan) -> Result<Infallible> {
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
            wait_in_vain(channel, plan)
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
) -> Result<Infallible> {
    if let Some(size) = wanted.terminal {
        let pty = terminal::make(&in_root, &rootfs.dir, size, wanted.user.uid)?;
        channel.send_with(&FromInside::Terminal { name: pty.name }, pty.master.as_fd())?;
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

    let waiting = wait_for_start(channel, plan)?;
    waiting.start(&unprivileged, plan, &program, &environment)
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

/// Create is complete, and start was asked for. Nothing is open any more but the caller's three streams, what it asked to
/// preserve, and the way back to whoever started us.
struct Started {
    report: ManuallyDrop<InsideEnd>,
}

/// Says that create is complete, lets go of everything, and waits.
fn wait_for_start(channel: &InsideEnd, plan: &InsidePlan) -> Result<Started> {
    match plan.start {
        StartRoute::Channel => {
            channel.send(&FromInside::Ready)?;
            channel.wait_for_go()?;
            super::log::stop();
            let report = ManuallyDrop::new(InsideEnd::new(sys::fd::adopt(channel.as_fd().as_raw_fd())));
            close_all_but(&[report.as_fd().as_raw_fd()], plan.preserved_fds)?;
            Ok(Started { report })
        }
        StartRoute::Fifos { go, report } => {
            let (go, report) = (go.take().or_call(|| "fcntl")?, report.take().or_call(|| "fcntl")?);
            channel.send(&FromInside::Ready)?;
            super::log::stop();
            // ORDER: before the wait: whoever gets into this process while it waits finds nothing of the host's.
            close_all_but(&[go.as_raw_fd(), report.as_raw_fd()], plan.preserved_fds)?;
            wait_for_byte(&go)?;
            Ok(Started { report: ManuallyDrop::new(InsideEnd::new(report)) })
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

impl Started {
    /// SPEC(runtime, Lifecycle 6-8): the startContainer hooks, and then the program. Does not come back: behind
    /// [`close_all_but`] values of the callers own descriptors that are closed, so nothing may be dropped any more.
    fn start(&self, unprivileged: &Unprivileged, plan: &InsidePlan, program: &Program, environment: &[String]) -> ! {
        let Err(error) = self.execute(unprivileged, plan, program, environment);
        // Whoever started us may have given up; there is nobody else to tell.
        let _ = self.report.send(&FromInside::Failed(error));
        super::leave(1)
    }

    fn execute(
        &self,
        _: &Unprivileged,
        plan: &InsidePlan,
        program: &Program,
        environment: &[String],
    ) -> Result<Infallible> {
        let state = plan.state.now("created", getpid().as_raw());
        let surroundings = Surroundings { name: "startContainer", env: Some(environment), directory: None };
        hooks::run_all(&plan.hooks.start_container, &state, surroundings)?;
        for number in (3..).take(usize::try_from(plan.preserved_fds).unwrap_or(usize::MAX)) {
            sys::fd::set_cloexec(sys::fd::borrow(number), false).or_call(|| format!("fcntl({number})"))?;
        }
        self.report.send(&FromInside::Executing)?;
        process::execute(program)
    }
}

/// CVE-2016-9962, CVE-2024-21626: execve looks up its path before it closes what is close-on-exec, and processes that are in
/// the container already may look into this one: so nothing of the host may be open at all.
///
/// Closes descriptors that values of the callers still own: from here on this process must end without dropping them.
fn close_all_but(kept: &[RawFd], preserved: u32) -> Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|number| u32::try_from(*number).ok()).collect();
    kept.sort_unstable();
    let mut first = 3 + preserved;
    for number in kept.into_iter().filter(|number| *number >= 3 + preserved) {
        if number > first {
            sys::fd::close_range(first, number - 1).or_call(|| "close_range")?;
        }
        first = number + 1;
    }
    sys::fd::close_range(first, u32::MAX).or_call(|| "close_range")
}

/// A container without a process can be created; start refuses it without asking us.
fn wait_in_vain(channel: &InsideEnd, plan: &InsidePlan) -> Result<Infallible> {
    let started = wait_for_start(channel, plan)?;
    let error = Error::invalid("process", "is not set: there is no program to start");
    let _ = started.report.send(&FromInside::Failed(error));
    super::leave(1)
}
