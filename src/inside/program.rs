//! From a finished root to execve: what the first process of a container and every further one do alike.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::channel::{FromInside, InsideEnd};
use crate::config::Hook;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::rootdir::RootDir;
use crate::plan::{SeccompPoint, StartRoute};
use crate::subsystems::capabilities::Surplus;
use crate::subsystems::doors::{InRoot, Unprivileged};
use crate::subsystems::hooks::{self, HookState, Surroundings};
use crate::subsystems::process::ProcessPlan;
use crate::subsystems::process::inside::{self as process, Program};
use crate::subsystems::seccomp;
use crate::sys;

/// What this process is to become, and how it learns that it may.
#[derive(Debug)]
pub struct Becoming<'a> {
    pub channel: &'a InsideEnd,
    pub wanted: &'a ProcessPlan,
    pub seccomp: Option<&'a (seccomp::Filter, SeccompPoint)>,
    /// The host may not take the filter's listener from us: it must be passed.
    pub passes_listener: bool,
    pub start: StartRoute,
    /// `startContainer`, and what they are told.
    pub hooks: Option<(&'a [Hook], &'a HookState)>,
    pub preserved_fds: u32,
}

/// Becomes the program. Its streams are in place, and the root is as the program is to find it.
pub fn become_program(in_root: InRoot, root: &RootDir, becoming: &Becoming<'_>) -> Result<Infallible> {
    let Becoming { channel, wanted, start, preserved_fds, .. } = *becoming;
    let environment = process::environment(&in_root, root, wanted);
    process::enter_cwd(&in_root, wanted)?;
    // The caller's ignored signals are not the program's.
    sys::signal::reset_all().or_call(|| "sigaction(SIG_DFL)")?;
    process::set_execution(&in_root, wanted)?;

    process::set_rlimits(&in_root, wanted)?;
    let surplus = process::become_user(&in_root, wanted)?;
    // Changing ids sets this anew, to what fs.suid_dumpable says, and in our pid namespace others can see us.
    nix::sys::prctl::set_dumpable(false).or_call(|| "prctl(PR_SET_DUMPABLE)")?;
    process::verify_cwd(&in_root, wanted)?;
    let program = process::find_program(&in_root, wanted, &environment)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(wanted.user.umask));

    let start = Start::take(start)?;
    super::log::stop();
    let mut kept = vec![channel.as_fd().as_raw_fd()];
    kept.extend(start.descriptors());
    let last = LastSteps { becoming, program: &program, environment: &environment, start: &start };
    let closed = close_all_but(kept, preserved_fds).map_err(|error| (error, channel));
    let Err((error, listener)) = closed.and_then(|()| last.take(in_root, &surplus));
    // If nobody listens any more there is nobody to tell.
    let _ = listener.send(&FromInside::Failed(error));
    // Not by a return: values of the callers own descriptors that are closed.
    super::leave(1)
}

/// What is left when everything was looked up, opened and closed. Behind the filter only what it must allow anyway is
/// called: read, write and execve; and capset, when capabilities are left to give away.
struct LastSteps<'a> {
    becoming: &'a Becoming<'a>,
    program: &'a Program,
    environment: &'a [String],
    start: &'a Start,
}

impl LastSteps<'_> {
    /// Comes back with what went wrong, and who is to hear it.
    fn take(&self, in_root: InRoot, surplus: &Surplus) -> std::result::Result<Infallible, (Error, &InsideEnd)> {
        let channel = self.becoming.channel;
        self.finish(in_root, surplus).map_err(|error| (error, channel))?;
        let report = self.start.report.as_ref().unwrap_or(channel);
        self.start.wait(channel).and_then(|()| self.execute(report)).map_err(|error| (error, report))
    }

    fn finish(&self, in_root: InRoot, surplus: &Surplus) -> Result<()> {
        self.load_filter(SeccompPoint::BeforeDrop)?;
        let _unprivileged: Unprivileged = process::drop_privileges(in_root, self.becoming.wanted, surplus)?;
        self.load_filter(SeccompPoint::Last)?;
        self.becoming.channel.send(&FromInside::Ready)
    }

    fn load_filter(&self, now: SeccompPoint) -> Result<()> {
        match self.becoming.seccomp {
            Some((filter, point)) if *point == now => {
                match seccomp::inside::load(filter).within(|| "linux.seccomp")? {
                    Some(listener) => self.announce(listener),
                    None => Ok(()),
                }
            }
            Some(_) | None => Ok(()),
        }
    }

    /// ORDER: at once. From here on any call may have to wait for an agent's answer, and there is none before the host has
    /// the listener. So the host takes it: telling its number costs a write(2), which no filter of ours lets wait, where
    /// passing it on would cost a sendmsg(2), which many do. It stays open here until execve: close(2) may have to wait, too.
    fn announce(&self, listener: OwnedFd) -> Result<()> {
        let number = listener.into_raw_fd();
        let message = FromInside::Listener { number };
        match self.becoming.passes_listener {
            true => self.becoming.channel.send_with(&message, sys::fd::borrow(number)),
            false => self.becoming.channel.send(&message),
        }
    }

    /// SPEC(runtime, Lifecycle 6-8): the startContainer hooks, and then the program.
    fn execute(&self, report: &InsideEnd) -> Result<Infallible> {
        if let Some((hooks, state)) = self.becoming.hooks {
            let surroundings = Surroundings { name: "startContainer", env: Some(self.environment), directory: None };
            hooks::run_all(hooks, &state.now("created", nix::unistd::getpid().as_raw()), surroundings)?;
        }
        for number in (3..).take(usize::try_from(self.becoming.preserved_fds).unwrap_or(usize::MAX)) {
            sys::fd::set_cloexec(sys::fd::borrow(number), false).or_call(|| format!("fcntl({number})"))?;
        }
        report.send(&FromInside::Executing)?;
        process::execute(self.program)
    }
}

/// How we learn that start was asked for. Without FIFOs, over the channel.
pub struct Start {
    go: Option<OwnedFd>,
    report: Option<InsideEnd>,
}

impl Start {
    /// Takes the descriptors that came along.
    pub fn take(route: StartRoute) -> Result<Self> {
        match route {
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
    pub fn wait(&self, channel: &InsideEnd) -> Result<()> {
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
