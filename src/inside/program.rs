//! From a finished root to execve: what the first process of a container and every further one do alike.
//!
//! What can be looked up is looked up, with the rights of the program's user. What is left to do then, in an order that
//! matters, is written to a script ([`Script`]), and carried out by a husk ([`husk`]) or by this process.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::channel::{self, FromInside, InsideEnd};
use crate::config::Hook;
use crate::error::{OrCall, Refusal, Result};
use crate::fs::rootdir::RootDir;
use crate::plan::{SeccompPoint, StartRoute};
use crate::subsystems::doors::{InRoot, Unprivileged};
use crate::subsystems::hooks::{self, HookState, Surroundings};
use crate::subsystems::lsm::AtExec;
use crate::subsystems::process::ProcessPlan;
use crate::subsystems::process::inside::{self as process, Program, Seeker};
use crate::subsystems::{seccomp, terminal};
use crate::sys;
use crate::sys::fd::Passed;
use crate::sys::husk;
use crate::sys::script::{Copying, Script};
use crate::timing::phase;

/// What this process is to become, and how it learns that it may.
#[derive(Debug)]
pub struct Becoming<'a> {
    pub channel: &'a InsideEnd,
    pub wanted: &'a ProcessPlan,
    pub lsm: AtExec,
    pub seccomp: Option<&'a (seccomp::Filter, SeccompPoint)>,
    /// The host may not take the filter's listener from us: it must be passed.
    pub passes_listener: bool,
    /// Not this process but a copy of it is in the pid namespace.
    pub by_copy: bool,
    /// It leads a session already.
    pub has_session: bool,
    pub start: StartRoute,
    /// `startContainer`, and what they are told.
    pub hooks: Option<(&'a [Hook], &'a HookState)>,
    pub preserved_fds: u32,
    /// The file for a husk, if there is to be one.
    pub husk: Option<Passed>,
}

/// Becomes the program. Its streams are in place, and the root is as the program is to find it.
pub fn become_program(in_root: InRoot, root: &RootDir, becoming: &Becoming<'_>) -> Result<Infallible> {
    let Becoming { wanted, start, .. } = *becoming;
    let environment = process::environment(&in_root, root, wanted);
    process::enter_cwd(&in_root, wanted)?;
    // The caller's ignored signals are not the program's.
    sys::signal::reset_all().or_call(|| "sigaction(SIG_DFL)")?;
    process::set_execution(&in_root, wanted)?;
    process::take_groups(&in_root, wanted)?;
    let seeker = if becoming.by_copy { Seeker::Outside } else { Seeker::Itself };
    let program = phase("look up the program", || process::find_program(&in_root, wanted, &environment, seeker))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(wanted.user.umask));

    let start = Start::take(start)?;
    let last = LastSteps { becoming, program: &program, start: &start };
    let mut script = Script::new(becoming.channel.as_fd(), channel::refusal);
    let copying = last.close(&mut script)?;
    last.drop_rights(in_root, &mut script)?;
    start.wait(becoming.channel, &mut script)?;
    super::log::stop();
    match becoming.hooks.filter(|(hooks, _)| !hooks.is_empty()) {
        Some((hooks, state)) => {
            let mut rest = Script::new(start.report(becoming.channel), channel::refusal);
            last.execute(&mut rest)?;
            script.carry_out();
            last.run_hooks(hooks, state, &environment)
                .unwrap_or_else(|error| super::fail(start.report(becoming.channel), error));
            rest.carry_out();
        }
        None => {
            last.execute(&mut script)?;
            if let Some(copying) = &copying {
                script.end_the_copied(copying);
            }
            last.carry_out(&script)?;
        }
    }
    // Not by a return: values of the callers own descriptors that are closed.
    super::leave(1)
}

/// What is left when everything was looked up. Behind the filter only what it must allow anyway is called: read, write and
/// execve; and capset, when capabilities are left to give away.
struct LastSteps<'a> {
    becoming: &'a Becoming<'a>,
    program: &'a Program,
    start: &'a Start,
}

impl LastSteps<'_> {
    /// The husk, if there is one, has our descriptors until here. From the copy on we are where the container can see us.
    fn close(&self, script: &mut Script) -> Result<Option<Copying>> {
        let Becoming { channel, lsm, preserved_fds, .. } = self.becoming;
        // execve, and changing ids, sets this anew, and in our pid namespace others can see us.
        self.set_undumpable(script);
        let refused = script.frame(Refusal::of("fcntl(F_SETFD)"));
        for fd in self.kept().chain(lsm.descriptors()) {
            script.set_cloexec(fd, true, refused);
        }
        lsm.write(script);
        close_all_but(self.kept().collect(), *preserved_fds, script);
        let copying = self.becoming.by_copy.then(|| -> Result<Copying> {
            // By it the host finds the copy, if we are killed before we could tell of it.
            let refused = script.frame(Refusal::of("setpgid"));
            script.set_group(refused);
            // KERNEL: ENOMEM is also what a pid namespace says whose first process has ended.
            let refusal = Refusal::of("clone3(CLONE_PARENT)").within("join the pid namespace");
            let gone = "the container's first process may be gone";
            let copying = script.frame(refusal.hint(Errno::ENOMEM, None, gone));
            let saying = script.frame(Refusal::of("sendmsg(channel)"));
            let message = channel::encode(&FromInside::FirstProcess)?;
            Ok(script.copy_as_sibling(channel.as_fd(), &message, copying, saying))
        });
        if !self.becoming.has_session {
            let refused = script.frame(Refusal::of("setsid"));
            script.set_session(refused);
        }
        if self.becoming.wanted.terminal.is_some() {
            terminal::make_controlling(script);
        }
        copying.transpose()
    }

    fn set_undumpable(&self, script: &mut Script) {
        let refused = script.frame(Refusal::of("prctl(PR_SET_DUMPABLE)"));
        script.prctl(libc::PR_SET_DUMPABLE, 0, 0, refused);
    }

    fn drop_rights(&self, in_root: InRoot, script: &mut Script) -> Result<()> {
        let wanted = self.becoming.wanted;
        process::set_rlimits(&in_root, wanted, script);
        let surplus = process::become_user(&in_root, wanted, script)?;
        self.set_undumpable(script);
        if self.becoming.by_copy {
            // The host knows the copy now, or is about to: that takes as long as giving the rights away. Before, it may do nothing
            // that others depend on.
            let refused = script.frame(Refusal::of("read(channel)"));
            script.wait_for_byte(self.becoming.channel.as_fd(), refused);
        }
        self.load_filter(SeccompPoint::BeforeDrop, script)?;
        let _unprivileged: Unprivileged = process::drop_privileges(in_root, wanted, &surplus, script);
        self.load_filter(SeccompPoint::Last, script)
    }

    /// ORDER: the listener is announced at once. From there on any call may have to wait for an agent's answer, and there is
    /// none before the host has the listener. So the host takes it: telling its number costs a write(2), which no filter of
    /// ours lets wait, where passing it on would cost a sendmsg(2), which many do. It stays open until execve: close(2) may
    /// have to wait, too.
    fn load_filter(&self, now: SeccompPoint, script: &mut Script) -> Result<()> {
        let Some((filter, _)) = self.becoming.seccomp.filter(|(_, point)| *point == now) else { return Ok(()) };
        let loaded = seccomp::inside::write(filter, script)?;
        if filter.notifies {
            let message = channel::encode(&FromInside::Listener { number: [0; 4] })?;
            let channel = self.becoming.channel.as_fd();
            let refused = script.frame(Refusal::of("write(channel)"));
            match self.becoming.passes_listener {
                true => script.pass_listener(&loaded, channel, &message, refused),
                false => script.say_listener(&loaded, channel, &message, refused),
            }
        }
        Ok(())
    }

    /// SPEC(runtime, Lifecycle 6-7): the startContainer hooks.
    fn run_hooks(&self, hooks: &[Hook], state: &HookState, environment: &[String]) -> Result<()> {
        let surroundings = Surroundings { name: "startContainer", env: Some(environment), directory: None };
        hooks::run_all(hooks, &state.now("created", nix::unistd::getpid().as_raw()), surroundings)
    }

    fn execute(&self, script: &mut Script) -> Result<()> {
        let refused = script.frame(Refusal::of("fcntl(F_SETFD)"));
        for number in (3..).take(usize::try_from(self.becoming.preserved_fds).unwrap_or(usize::MAX)) {
            script.set_cloexec(number, false, refused);
        }
        let refused = script.frame(Refusal::of("write(channel)"));
        script.say(self.start.report(self.becoming.channel), &channel::encode(&FromInside::Executing)?, refused);
        process::execute(self.program, script);
        Ok(())
    }

    fn kept(&self) -> impl Iterator<Item = RawFd> {
        std::iter::once(self.becoming.channel.as_fd().as_raw_fd()).chain(self.start.descriptors())
    }

    /// As a husk, or as we are.
    fn carry_out(&self, script: &Script) -> Result<()> {
        let Some(file) = self.becoming.husk else {
            script.carry_out();
            return Ok(());
        };
        let preserved = (3..).take(usize::try_from(self.becoming.preserved_fds).unwrap_or(usize::MAX));
        for fd in self.kept().chain(self.becoming.lsm.descriptors()).chain(preserved) {
            sys::fd::set_cloexec(sys::fd::borrow(fd), false).or_call(|| "fcntl(F_SETFD)")?;
        }
        let file = file.take().or_call(|| "fcntl(husk)")?;
        husk::write(script, &file).or_call(|| "write(husk)")?;
        sys::memfd::seal(&file).or_call(|| "fcntl(husk, F_ADD_SEALS)")?;
        husk::execute(&file, channel::SEALED_NAME).or_call(|| "execveat(husk)").map(|never| match never {})
    }
}

/// How we learn that start was asked for. Without FIFOs, over the channel.
#[derive(Debug)]
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

    /// Writes: it says that it is ready, and waits until it may start.
    pub fn wait(&self, channel: &InsideEnd, script: &mut Script) -> Result<()> {
        let refused = script.frame(Refusal::of("write(channel)"));
        script.say(channel.as_fd(), &channel::encode(&FromInside::Ready)?, refused);
        // Who created us ends, and who starts us has the report.
        script.report_to(self.report(channel));
        let refused = script.frame(Refusal::of("read(start)"));
        // We hold both ends of the FIFO, so it has no end of file: only a byte wakes us.
        script.wait_for_byte(self.go.as_ref().map_or(channel.as_fd(), AsFd::as_fd), refused);
        Ok(())
    }

    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let go = self.go.as_ref().map(AsRawFd::as_raw_fd);
        let report = self.report.as_ref().map(|report| report.as_fd().as_raw_fd());
        go.into_iter().chain(report)
    }

    /// Who hears of failures once the start was asked for.
    pub fn report<'a>(&'a self, channel: &'a InsideEnd) -> BorrowedFd<'a> {
        self.report.as_ref().unwrap_or(channel).as_fd()
    }
}

/// CVE-2016-9962, CVE-2024-21626: execve looks up its path before it closes what is close-on-exec, and processes that are in
/// the container already may look into this one while it waits: so nothing of the host may be open at all, but the caller's
/// three streams, what it asked to preserve, and our way to talk.
fn close_all_but(mut kept: Vec<RawFd>, preserved: u32, script: &mut Script) {
    let refused = script.frame(Refusal::of("close_range"));
    kept.sort_unstable();
    let (mut first, lowest) = (3 + preserved, 3 + preserved);
    for number in kept.into_iter().filter_map(|number| u32::try_from(number).ok()).filter(|number| *number >= lowest) {
        if number > first {
            script.close_range(first, number - 1, refused);
        }
        first = number + 1;
    }
    script.close_range(first, u32::MAX, refused);
}
