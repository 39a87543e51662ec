//! A `run` or `exec` that stays until its program ends: hands signals on, relays the terminal, adopts orphans, and ends as it did.
//!
//! ```text
//!   signalfd ──► to the program, but SIGCHLD (reap), SIGWINCH (the terminal's new size) and SIGURG (Go's own business)
//!   pidfd    ──► it ended
//!   terminal ──► relay.rs
//!   readiness ─► it is ready: the service manager is told
//! ```

use std::os::fd::{AsFd, OwnedFd};

use corten::Runtime;
use corten::error::{Kind, OrCall, Result};
use corten::host::{ExecRequest, Executed, Running};
use corten::subsystems::namespaces::host::pid_of;
use corten::subsystems::readiness::Readiness;
use corten::sys::pidfd::{self, Ended};
use corten::timing::phase;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::relay::{Relay, is_ready};

/// How it stays.
#[derive(Clone, Copy, Debug)]
pub struct Stay {
    /// `--keep`
    pub keep: bool,
    /// Not `--no-subreaper`.
    pub subreaper: bool,
}

/// Has the container `id` made and run, and stays. The answer is the exit status of its program.
pub fn run(runtime: &Runtime, id: &str, stay: Stay, make: impl FnOnce() -> Result<Running>) -> Result<u8> {
    if stay.subreaper {
        prctl::set_child_subreaper(true).or_call(|| "prctl(PR_SET_CHILD_SUBREAPER)")?;
    }
    let signals = take_all_signals()?;
    let Running { container, init, terminal, readiness } = make()?;
    let ended = phase("the program runs", || attend(init, terminal, readiness, signals));
    match ended {
        Ok(_) if stay.keep => {}
        // Somebody may have been faster, with `delete --force`.
        Ok(_) => phase("clean up", || container.delete()).or_else(|error| match error.kind() {
            Kind::NotFound => Ok(()),
            _ => Err(error),
        })?,
        // Nobody could wait for it any more.
        Err(_) => runtime.delete_forcibly(id)?,
    }
    Ok(u8::try_from(ended?.status()).unwrap_or(u8::MAX))
}

/// Executes a further program in a container, and stays. The answer is its exit status.
pub fn exec(runtime: &Runtime, id: &str, request: &ExecRequest) -> Result<u8> {
    let signals = take_all_signals()?;
    let Executed { process, terminal } = runtime.exec(id, request)?;
    let ended = phase("the program runs", || attend(process, terminal, None, signals))?;
    Ok(u8::try_from(ended.status()).unwrap_or(u8::MAX))
}

/// ORDER: before there is a program that one could be meant for. What comes meanwhile waits.
fn take_all_signals() -> Result<SignalFd> {
    let all = SigSet::all();
    all.thread_block().or_call(|| "sigprocmask(SIG_BLOCK)")?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).or_call(|| "signalfd")
}

fn attend(
    process: OwnedFd,
    terminal: Option<OwnedFd>,
    mut readiness: Option<Readiness>,
    signals: SignalFd,
) -> Result<Ended> {
    let mut program = Program { pid: pid_of(&process)?, process, ended: None };
    let mut relay = terminal.map(Relay::new).transpose()?;
    loop {
        let (directions, relayed): (Vec<_>, Vec<_>) =
            relay.as_ref().map(Relay::interests).unwrap_or_default().into_iter().unzip();
        let mut polled = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(program.process.as_fd(), PollFlags::POLLIN),
        ];
        polled.extend(relayed);
        polled.extend(readiness.as_ref().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).or_call(|| "poll"),
        }
        let ready: Vec<bool> = polled.iter().map(is_ready).collect();
        if let Some(relay) = &mut relay {
            let to_do = directions.into_iter().zip(&ready[2..]).filter(|(_, ready)| **ready);
            to_do.for_each(|(direction, _)| relay.go_on(direction));
        }
        if ready[0] {
            take_signals(&signals, &mut program, relay.as_ref())?;
        }
        if readiness.is_some() && ready.last() == Some(&true) {
            readiness = readiness.filter(is_still_awaited);
        }
        if ready[1] {
            program.look()?;
        }
        if let Some(ended) = program.ended {
            if let Some(relay) = relay {
                relay.finish(&signals);
            }
            return Ok(ended);
        }
    }
}

/// Hears one message of the program. COMPAT(runc): we stay, so to the service manager we are the main process; a barrier, for those
/// who go, is not needed.
fn is_still_awaited(readiness: &Readiness) -> bool {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    match readiness.pass_on(own) {
        Ok(is_ready) => !is_ready,
        Err(error) => {
            log::warn!("{error}");
            false
        }
    }
}

fn take_signals(signals: &SignalFd, program: &mut Program, relay: Option<&Relay>) -> Result<()> {
    loop {
        let info = match signals.read_signal() {
            Err(Errno::EINTR) => continue,
            other => other.or_call(|| "read(signalfd)")?,
        };
        let Some(info) = info else { return Ok(()) };
        match i32::try_from(info.ssi_signo).unwrap_or(0) {
            libc::SIGCHLD => program.reap_all()?,
            libc::SIGWINCH => relay.into_iter().for_each(Relay::resize),
            // Go programs send it to themselves, all the time.
            libc::SIGURG => {}
            signal => program.send(signal),
        }
    }
}

/// The program, our child.
#[derive(Debug)]
struct Program {
    process: OwnedFd,
    pid: i32,
    ended: Option<Ended>,
}

impl Program {
    fn send(&self, signal: i32) {
        if let Err(errno) = pidfd::send_signal(&self.process, signal) {
            // It may be gone; that is noticed in its own way.
            log::debug!("signal {signal} is not handed on: {errno}");
        }
    }

    /// Its pidfd is ready: it has ended, unless a debugger reaps it first.
    fn look(&mut self) -> Result<()> {
        if self.ended.is_none() {
            self.ended = Some(pidfd::reap(&self.process).or_call(|| format!("poll and waitid({})", self.pid))?);
        }
        Ok(())
    }

    /// It and, as a subreaper gets them, orphans of the container that has no pid namespace of its own.
    fn reap_all(&mut self) -> Result<()> {
        let any = Pid::from_raw(-1);
        loop {
            let ended = match waitpid(any, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid.as_raw(), Ended::Exited(status)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), Ended::Killed(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno).or_call(|| "waitpid(-1)"),
            };
            if ended.0 == self.pid {
                self.ended = Some(ended.1);
            }
        }
    }
}
