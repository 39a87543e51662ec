//! The first process of a container, from its first instruction to execve, in the order of the specification's lifecycle.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::{getpid, sethostname, setsid};

use crate::channel::{FromInside, InsideEnd};
use crate::config::NamespaceKind;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::plan::{InsidePlan, SeccompPoint, StartRoute};
use crate::subsystems::capabilities::Surplus;
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

    let mut rootfs = root::attach_root(&inside, &plan.mounts.root)?;
    root::attach_all(&inside, &mut rootfs, &plan.mounts, &mut |inside| cgroup.enter(inside))?;
    devices::inside::make_all(&inside, &rootfs.dir, &plan.devices)?;
    cgroup.enter(&inside)?;
    run_hooks_of_create(&inside, channel, plan)?;
    // ORDER: behind the hooks, which are the host's programs and would inherit it; before the host's procfs is gone.
    lsm::set_at_exec(&inside, &plan.lsm)?;

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
    // Changing ids sets this anew, to what fs.suid_dumpable says, and in our pid namespace others can see us.
    nix::sys::prctl::set_dumpable(false).or_call(|| "prctl(PR_SET_DUMPABLE)")?;
    process::verify_cwd(&in_root, wanted)?;
    let program = process::find_program(&in_root, wanted, &environment)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(wanted.user.umask));

    let start = Start::take(plan)?;
    super::log::stop();
    let mut kept = vec![channel.as_fd().as_raw_fd()];
    kept.extend(start.descriptors());
    close_all_but(kept, plan.preserved_fds)?;

    let last = LastSteps { plan, wanted, program: &program, environment: &environment, channel, start: &start };
    let Err((error, listener)) = last.take(in_root, &surplus);
    // If nobody listens any more there is nobody to tell.
    let _ = listener.send(&FromInside::Failed(error));
    // Not by a return: values of the callers own descriptors that are closed.
    super::leave(1)
}

/// What a program inherits and must not: the caller's ignored signals and narrow CPU mask.
fn reset_inherited() -> Result<()> {
    sys::signal::reset_all().or_call(|| "sigaction(SIG_DFL)")?;
    if let Err(errno) = sys::limits::reset_affinity() {
        log::debug!("the CPU affinity stays as it is: {errno}");
    }
    Ok(())
}

/// What is left when everything was looked up, opened and closed. Behind the filter only what it must allow anyway is
/// called: read, write and execve; and capset, when capabilities are left to give away.
struct LastSteps<'a> {
    plan: &'a InsidePlan,
    wanted: &'a ProcessPlan,
    program: &'a Program,
    environment: &'a [String],
    channel: &'a InsideEnd,
    start: &'a Start,
}

impl LastSteps<'_> {
    /// Comes back with what went wrong, and who is to hear it.
    fn take(&self, in_root: InRoot, surplus: &Surplus) -> std::result::Result<Infallible, (Error, &InsideEnd)> {
        self.finish_create(in_root, surplus).map_err(|error| (error, self.channel))?;
        let report = self.start.report.as_ref().unwrap_or(self.channel);
        self.start.wait(self.channel).and_then(|()| self.execute(report)).map_err(|error| (error, report))
    }

    fn finish_create(&self, in_root: InRoot, surplus: &Surplus) -> Result<()> {
        self.load_filter(SeccompPoint::BeforeDrop)?;
        let _unprivileged: Unprivileged = process::drop_privileges(in_root, self.wanted, surplus)?;
        self.load_filter(SeccompPoint::Last)?;
        self.channel.send(&FromInside::Ready)
    }

    fn load_filter(&self, now: SeccompPoint) -> Result<()> {
        match &self.plan.seccomp {
            Some((filter, point)) if *point == now => {
                seccomp::inside::load(filter).within(|| "linux.seccomp").map(drop)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// SPEC(runtime, Lifecycle 6-8): the startContainer hooks, and then the program.
    fn execute(&self, report: &InsideEnd) -> Result<Infallible> {
        let state = self.plan.state.now("created", getpid().as_raw());
        let surroundings = Surroundings { name: "startContainer", env: Some(self.environment), directory: None };
        hooks::run_all(&self.plan.hooks.start_container, &state, surroundings)?;
        for number in (3..).take(usize::try_from(self.plan.preserved_fds).unwrap_or(usize::MAX)) {
            sys::fd::set_cloexec(sys::fd::borrow(number), false).or_call(|| format!("fcntl({number})"))?;
        }
        report.send(&FromInside::Executing)?;
        process::execute(self.program)
    }
}

/// How we learn that start was asked for. Without FIFOs, over the channel.
struct Start {
    go: Option<OwnedFd>,
    report: Option<InsideEnd>,
}

impl Start {
    fn take(plan: &InsidePlan) -> Result<Self> {
        match plan.start {
            StartRoute::Channel => Ok(Self { go: None, report: None }),
            StartRoute::Fifos { go, report } => {
                let go = go.take().or_call(|| "fcntl(start FIFO)")?;
                let report = report.take().or_call(|| "fcntl(report FIFO)")?;
                Ok(Self { go: Some(go), report: Some(InsideEnd::new(report)) })
            }
        }
    }

    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let go = self.go.as_ref().map(AsRawFd::as_raw_fd);
        let report = self.report.as_ref().map(|report| report.as_fd().as_raw_fd());
        go.into_iter().chain(report)
    }

    /// Waits. We hold both ends of the FIFO, so it has no end of file: only a byte wakes us.
    fn wait(&self, channel: &InsideEnd) -> Result<()> {
        let Some(go) = &self.go else { return channel.wait_for_go() };
        loop {
            match nix::unistd::read(go, &mut [0_u8; 1]) {
                Ok(0) => return Err(Error::new(Kind::Failed, "the start FIFO is closed")),
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::call("read(start FIFO)", errno)),
            }
        }
    }
}

/// CVE-2016-9962, CVE-2024-21626: execve looks up its path before it closes what is close-on-exec, and processes that are in
/// the container already may look into this one while it waits: so nothing of the host may be open at all, but the caller's
/// three streams, what it asked to preserve, and our way to talk.
///
/// Closes descriptors that values of the callers still own: from here on this process must end without dropping them.
fn close_all_but(mut kept: Vec<RawFd>, preserved: u32) -> Result<()> {
    kept.sort_unstable();
    let (mut first, lowest) = (3 + preserved, 3 + preserved);
    for number in kept.into_iter().filter_map(|number| u32::try_from(number).ok()).filter(|number| *number >= lowest) {
        if number > first {
            sys::fd::close_range(first, number - 1).or_call(|| "close_range")?;
        }
        first = number + 1;
    }
    sys::fd::close_range(first, u32::MAX).or_call(|| "close_range")
}

/// A container without a process can be created; start refuses it without asking us.
fn wait_in_vain(channel: &InsideEnd, plan: &InsidePlan) -> Result<Infallible> {
    let start = Start::take(plan)?;
    channel.send(&FromInside::Ready)?;
    super::log::stop();
    start.wait(channel)?;
    Err(Error::invalid("process", "is not set: there is no program to start"))
}
