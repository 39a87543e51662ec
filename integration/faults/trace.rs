//! Runs a command under ptrace(2), and lets one fault happen at one of its system calls.
//!
//! A task is named by how it came to be: `host` is the command, `host/child1` the first process that it made, `host/thread1` its
//! first thread, `init` the first process of a container that was there before. A call is named by its task, its own name
//! and how many of that name came before it, so that a retry of one call does not move all others.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use libseccomp::ScmpSyscall;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::reaper::Reaper;

/// A system call of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub task: String,
    pub call: String,
    /// From 1 on.
    pub occurrence: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.task, self.call, self.occurrence)
    }
}

/// What happens there, instead of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The command gets a SIGKILL.
    KillRuntime,
    /// The container's process that is being made gets one; if none is, the container's first.
    KillChild,
    /// Who makes the call gets one, though it is neither of them.
    KillCaller,
    /// The call is not made, and fails.
    Refuse(Errno),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillRuntime => f.write_str("kill-runtime"),
            Self::KillChild => f.write_str("kill-child"),
            Self::KillCaller => f.write_str("kill-caller"),
            Self::Refuse(errno) => write!(f, "{errno:?}"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "kill-runtime" => Ok(Self::KillRuntime),
            "kill-child" => Ok(Self::KillChild),
            "kill-caller" => Ok(Self::KillCaller),
            _ => super::errnos::ALL
                .into_iter()
                .find(|errno| format!("{errno:?}") == text)
                .map(Self::Refuse)
                .ok_or_else(|| format!("{text:?} is no fault")),
        }
    }
}

/// A call that was made, whether there was a child to kill, and whether a third process made the call.
#[derive(Clone, Debug)]
pub struct Made {
    pub place: Place,
    pub has_child: bool,
    pub by_another: bool,
}

/// What became of a command.
pub struct Traced {
    /// `None`: it did not end in time.
    pub ended: Option<WaitStatus>,
    /// All calls, when there was no fault; the calls of what was executed by others than us are not ours.
    pub made: Vec<Made>,
    /// Whether the fault happened.
    pub hit: bool,
}

/// How long any command may take, with or without a fault: its own patience with what is killed is 10 s.
const DEADLINE: Duration = Duration::from_secs(30);

/// `argv[0]` of the container's side of corten.
const SEALED: &[u8] = b"corten:[INIT]\0";

/// Before we are attached, a shell waits for its stdin.
const START: &str = "read _; exec \"$@\"";

/// Runs `words` with both outputs to `output`.
pub fn trace(
    reaper: &Reaper,
    words: &[OsString],
    output: &File,
    init: Option<Pid>,
    disturbs_init: bool,
    fault: Option<&(Place, Fault)>,
) -> Traced {
    let mut child = Command::new("sh")
        .args(["-c", START, "_"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(output.try_clone().unwrap())
        .stderr(output.try_clone().unwrap())
        .spawn()
        .unwrap();
    let host = Pid::from_raw(child.id().try_into().unwrap());
    let mut tracer = Tracer::new(host, init, fault);
    tracer.attach(host, "host");
    if let Some(init) = init.filter(|_| disturbs_init) {
        tracer.attach(init, "init");
        // It may be gone by now.
        let _ = ptrace::interrupt(init);
    }
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let ended = reaper.until(DEADLINE, |event| tracer.handle(event));
    if ended.is_none() {
        tracer.kill_all();
    }
    // Who still lives goes on without us.
    tracer.tasks.retain(|pid, _| ptrace::interrupt(*pid).is_ok());
    for pid in tracer.unknown.drain() {
        let _ = ptrace::detach(pid, None);
    }
    tracer.leaving = true;
    while !tracer.tasks.is_empty() && reaper.until(DEADLINE, |event| tracer.handle(event)).is_some() {}
    Traced { ended, made: tracer.made, hit: tracer.hit }
}

#[derive(Debug, Default)]
struct Task {
    name: String,
    is_thread: bool,
    /// Its calls are ours: it is corten.
    counts: bool,
    is_sealed: bool,
    calls: HashMap<String, u32>,
    children: u32,
    threads: u32,
    /// What its current call is made to fail with.
    refused: Option<Errno>,
}

struct Tracer<'a> {
    host: Pid,
    init: Option<Pid>,
    fault: Option<&'a (Place, Fault)>,
    tasks: HashMap<Pid, Task>,
    /// Made by a task that has not told yet.
    unknown: HashSet<Pid>,
    /// Processes in the order in which they were made.
    processes: Vec<Pid>,
    made: Vec<Made>,
    hit: bool,
    leaving: bool,
}

impl<'a> Tracer<'a> {
    fn new(host: Pid, init: Option<Pid>, fault: Option<&'a (Place, Fault)>) -> Self {
        Self {
            host,
            init,
            fault,
            tasks: HashMap::new(),
            unknown: HashSet::new(),
            processes: Vec::new(),
            made: Vec::new(),
            hit: false,
            leaving: false,
        }
    }

    fn attach(&mut self, pid: Pid, name: &str) {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        if ptrace::seize(pid, options).is_ok() {
            let is_ours = name == "init";
            self.tasks
                .insert(pid, Task { name: name.to_owned(), counts: is_ours, is_sealed: is_ours, ..Task::default() });
        }
    }

    /// An answer: the command, or while we are leaving the last one, has come to its end.
    fn handle(&mut self, event: WaitStatus) -> Option<WaitStatus> {
        match event {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.tasks.remove(&pid);
                self.unknown.remove(&pid);
                self.processes.retain(|process| *process != pid);
                return (pid == self.host || (self.leaving && self.tasks.is_empty())).then_some(event);
            }
            WaitStatus::PtraceSyscall(pid) => self.at_call(pid),
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => self.executed(pid),
            WaitStatus::PtraceEvent(
                pid,
                _,
                event @ (libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE),
            ) => self.has_made(pid, event),
            WaitStatus::PtraceEvent(pid, ..) => self.go_on(pid, None),
            WaitStatus::Stopped(pid, signal) => self.go_on(pid, Some(signal)),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
        (self.leaving && self.tasks.is_empty()).then_some(event)
    }

    /// Errors: it was killed meanwhile, of which we hear next.
    fn go_on(&mut self, pid: Pid, signal: Option<Signal>) {
        let Some(task) = self.tasks.get(&pid) else {
            // Its parent may have been killed before we heard of it.
            if self.leaving || self.hit {
                let _ = ptrace::detach(pid, signal);
            } else {
                self.unknown.insert(pid);
            }
            return;
        };
        if self.leaving || (self.hit && task.refused.is_none()) {
            self.tasks.remove(&pid);
            let _ = ptrace::detach(pid, signal);
        } else if self.fault.is_none_or(|(place, _)| place.task == task.name) {
            let _ = ptrace::syscall(pid, signal);
        } else {
            let _ = ptrace::cont(pid, signal);
        }
    }

    fn has_made(&mut self, parent: Pid, event: i32) {
        let made = ptrace::getevent(parent).ok().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        if let (Some(pid), Some(task)) = (made, self.tasks.get_mut(&parent)) {
            let is_thread =
                event == libc::PTRACE_EVENT_CLONE && fs::exists(format!("/proc/{parent}/task/{pid}")).unwrap_or(false);
            let (kind, number) = if is_thread { ("thread", &mut task.threads) } else { ("child", &mut task.children) };
            *number += 1;
            let name = format!("{}/{kind}{number}", task.name);
            let counts = task.counts;
            self.tasks.insert(pid, Task { name, is_thread, counts, ..Task::default() });
            if !is_thread {
                self.processes.push(pid);
            }
            if self.unknown.remove(&pid) {
                self.go_on(pid, None);
            }
        }
        self.go_on(parent, None);
    }

    /// Another program's calls are none of ours.
    fn executed(&mut self, pid: Pid) {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let Some(task) = self.tasks.get_mut(&pid) else { return };
        task.is_sealed = command.starts_with(SEALED);
        // Nor are those of the shell that waits for us, which may be executed only now.
        task.counts = task.is_sealed || (pid == self.host && !command.starts_with(b"sh\0"));
        if task.counts || pid == self.host {
            self.go_on(pid, None);
        } else {
            self.tasks.remove(&pid);
            let _ = ptrace::detach(pid, None);
        }
    }

    fn at_call(&mut self, pid: Pid) {
        let (Ok(mut registers), Some(task)) = (ptrace::getregs(pid), self.tasks.get_mut(&pid)) else {
            return self.go_on(pid, None);
        };
        let is_entry = ptrace::syscall_info(pid).is_ok_and(|info| info.op == libc::PTRACE_SYSCALL_INFO_ENTRY);
        if let Some(errno) = task.refused.take() {
            registers.rax = i64::from(-(errno as i32)).cast_unsigned();
            let _ = ptrace::setregs(pid, registers);
        } else if is_entry && task.counts && !self.hit {
            let call = name_of(registers.orig_rax);
            let occurrence = task.calls.entry(call.clone()).or_default();
            *occurrence += 1;
            let place = Place { task: task.name.clone(), call, occurrence: *occurrence };
            match self.fault {
                None => {
                    let victim = self.victim();
                    let by_another = self.processes.contains(&pid) && victim != Some(pid);
                    self.made.push(Made { place, has_child: victim.is_some(), by_another });
                }
                Some((there, fault)) if *there == place => {
                    self.hit = true;
                    self.happen(*fault, pid, registers);
                    for unknown in self.unknown.drain() {
                        let _ = ptrace::detach(unknown, None);
                    }
                }
                Some(_) => {}
            }
        }
        self.go_on(pid, None);
    }

    fn happen(&mut self, fault: Fault, pid: Pid, mut registers: libc::user_regs_struct) {
        match fault {
            Fault::KillRuntime => deadly(self.host),
            Fault::KillChild => self.victim().into_iter().for_each(deadly),
            Fault::KillCaller => deadly(pid),
            Fault::Refuse(errno) => {
                // Whatever close(2) says, the descriptor is closed.
                if name_of(registers.orig_rax) != "close" {
                    // No call has this number.
                    registers.orig_rax = u64::MAX;
                    let _ = ptrace::setregs(pid, registers);
                }
                if let Some(task) = self.tasks.get_mut(&pid) {
                    task.refused = Some(errno);
                }
            }
        }
    }

    /// The last process of the container's that the command has made, or the container's first.
    fn victim(&self) -> Option<Pid> {
        let is_ours = |pid: &&Pid| self.tasks.get(pid).is_some_and(|task| task.counts && !task.is_thread);
        self.processes.iter().rev().find(is_ours).copied().or(self.init)
    }

    fn kill_all(&self) {
        self.tasks.keys().copied().for_each(deadly);
    }
}

/// Error: it is gone already.
fn deadly(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
}

fn name_of(number: u64) -> String {
    let number = i32::try_from(number).unwrap_or(-1);
    ScmpSyscall::from(number).get_name().unwrap_or_else(|_| number.to_string())
}
