//! Whether a fault at one point did any harm.

use std::ffi::OsString;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use corten::error::{in_words, phrases};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use serde_json::Value;

use super::commands::{EXECUTED, Row, plainly};
use super::errnos;
use super::reaper::Reaper;
use super::trace::{Fault, Made, Place, Traced, trace};
use crate::support::Bundle;
use crate::support::peer::program_name;

/// How long the commands after a fault may take, and how long what was killed may take to be gone.
const DEADLINE: Duration = Duration::from_secs(30);
const GONE: Duration = Duration::from_secs(5);

/// Where the points of one command are tried, one after the other.
pub struct Stage<'a> {
    reaper: &'a Reaper,
    row: &'a Row,
    bundle: Bundle,
    devices: Vec<OsString>,
}

/// What came of one try.
pub enum Verdict {
    Clean,
    /// The command went another way this time.
    NotReached,
    Unclean(Vec<String>),
}

impl<'a> Stage<'a> {
    pub fn new(reaper: &'a Reaper, row: &'a Row) -> Self {
        let bundle = (row.bundle)();
        bundle.write();
        Self { reaper, row, bundle, devices: network_devices() }
    }

    /// The calls of the command when nothing disturbs it.
    pub fn record(&self) -> Vec<Made> {
        let (traced, output) = self.act(None);
        let mut found = Vec::new();
        self.judge_answer(&traced, &output, None, &mut found);
        self.judge_machine(None, &mut found);
        assert!(found.is_empty(), "{}: {found:#?}", self.row.name);
        traced.made
    }

    pub fn try_point(&self, point: &(Place, Fault)) -> Verdict {
        let (traced, output) = self.act(Some(point));
        let mut found = Vec::new();
        self.judge_answer(&traced, &output, Some(point), &mut found);
        self.judge_machine(Some(point), &mut found);
        match (found.is_empty(), traced.hit) {
            (false, _) => Verdict::Unclean(found),
            (true, true) => Verdict::Clean,
            (true, false) => Verdict::NotReached,
        }
    }

    /// Removes by hand what a try has left.
    pub fn clear(self) {
        self.bundle.sweep();
        self.reaper.reap(Duration::ZERO);
    }

    fn act(&self, point: Option<&(Place, Fault)>) -> (Traced, String) {
        for command in self.row.before {
            let (status, output) = self.call(plainly(&self.bundle, command));
            assert!(matches!(status, Some(WaitStatus::Exited(_, 0))), "{command}: {output}");
        }
        if self.row.before.contains(&"kill") {
            assert_eq!(self.becomes(|now| now == "stopped"), Ok("stopped".to_owned()));
        }
        let first_process = || {
            let state: Value = serde_json::from_str(&self.call(plainly(&self.bundle, "state")).1).unwrap();
            Pid::from_raw(state["pid"].as_i64().unwrap().try_into().unwrap())
        };
        let (path, output) = self.output("output");
        let words = (self.row.command)(&self.bundle).words();
        let init = (!self.row.before.is_empty() && !self.row.before.contains(&"kill")).then(first_process);
        let traced = trace(self.reaper, &words, &output, init, self.row.disturbs_init, point);
        (traced, fs::read_to_string(path).unwrap())
    }

    /// Undisturbed.
    fn call(&self, words: Vec<OsString>) -> (Option<WaitStatus>, String) {
        let (path, output) = self.output("answer");
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        (self.reaper.end_of(pid, DEADLINE), fs::read_to_string(path).unwrap())
    }

    /// A new file: what a container has open may be written to still.
    fn output(&self, name: &str) -> (std::path::PathBuf, File) {
        let path = self.bundle.path(name);
        let _ = fs::remove_file(&path);
        let file = File::options().create_new(true).append(true).open(&path).unwrap();
        (path, file)
    }

    /// What the command says, and whether it is true.
    fn judge_answer(&self, traced: &Traced, output: &str, point: Option<&(Place, Fault)>, found: &mut Vec<String>) {
        let fault = point.map(|(_, fault)| *fault).filter(|_| traced.hit);
        let code = match traced.ended {
            None => return found.push("it hangs".to_owned()),
            Some(WaitStatus::Signaled(_, Signal::SIGKILL, _)) if fault == Some(Fault::KillRuntime) => None,
            Some(WaitStatus::Signaled(_, Signal::SIGABRT | Signal::SIGSEGV, _)) if cannot_begin(point) => None,
            Some(WaitStatus::Exited(_, C_LIBRARY)) if cannot_begin(point) => None,
            Some(WaitStatus::Exited(_, code)) => Some(code),
            Some(other) => return found.push(format!("it ended by {other:?}: {output}")),
        };
        let has_lost_child = fault == Some(Fault::KillChild);
        let is_expected = |now: &str| match code {
            None => true,
            Some(_) if has_lost_child && ["", "stopped"].contains(&now) => true,
            Some(0) if is_waiting_to_start(point) && now == "stopped" => true,
            Some(0) => self.row.done.contains(&now),
            Some(_) => self.row.refused.contains(&now),
        };
        let now = match self.becomes(is_expected) {
            Ok(now) => now,
            Err(answer) => return found.push(answer),
        };
        if !is_expected(&now) {
            found.push(format!("it ends with {code:?} and the container is {now:?}: {output}"));
        }
        let Some(code) = code else { return };
        let is_done = code == 0;
        let has_effect = (self.row.effect)(&self.bundle, output);
        let is_wrong =
            if is_done { has_effect == Some(false) } else { self.row.takes_back && has_effect == Some(true) };
        if is_wrong && !has_lost_child {
            found.push(format!("it exits with {code}, but what it does is another thing: {output}"));
        }
        if !is_done {
            self.judge_error(code, output, point.filter(|_| traced.hit), found);
        }
        // Its own undoing, without our help; but who was refused the last step of removing cannot do it.
        if now.is_empty() && !(code != 0 && output.contains(": rmdir(\"corten-test-")) {
            self.nothing_left("before delete: ", found);
        }
    }

    /// The status, as soon as it is an expected one: who gets a signal needs a moment.
    fn becomes(&self, is_expected: impl Fn(&str) -> bool) -> Result<String, String> {
        let end = Instant::now() + GONE;
        loop {
            let (status, said) = self.call(plainly(&self.bundle, "state"));
            let known: Value = serde_json::from_str(&said).unwrap_or_default();
            let now = match status {
                Some(WaitStatus::Exited(_, 0)) => known["status"].as_str().unwrap_or("unreadable"),
                Some(WaitStatus::Exited(_, 1)) if said.contains(phrases::DOES_NOT_EXIST) => "",
                other => return Err(format!("state answers {other:?} {said}")),
            };
            if is_expected(now) || Instant::now() > end {
                return Ok(now.to_owned());
            }
        }
    }

    fn judge_error(&self, code: i32, output: &str, point: Option<&(Place, Fault)>, found: &mut Vec<String>) {
        let command = self.row.name.split('-').next().unwrap_or_default();
        // Of whom nobody waits for any more, the program speaks when it likes.
        let last = output.lines().rfind(|line| *line != EXECUTED).unwrap_or_default();
        let program_was_killed = code == 128 + libc_kill() && matches!(point, Some((_, Fault::KillChild)));
        if program_was_killed && matches!(command, "run" | "exec") {
            return;
        }
        let cannot_begin = cannot_begin(point);
        // What fails before the command line is read exits with 1.
        let own = if command == "exec" && !last.contains("standard streams") { 255 } else { 1 };
        if code != own || (!cannot_begin && !last.starts_with(&format!("{} {command} failed: ", program_name()))) {
            found.push(format!("it exits with {code}: {output}"));
        }
        if let Some((place, Fault::Refuse(errno))) = point
            && !names(last, place, *errno)
            && !(place.task == "init" && is_waiting_to_start(point))
        {
            found.push(format!("the error does not name the call: {output}"));
        }
    }

    /// What everybody does next, and whether anything is left then.
    fn judge_machine(&self, point: Option<&(Place, Fault)>, found: &mut Vec<String>) {
        let delete = self.bundle.runtime("delete").args(["--force", &self.bundle.id]).words();
        for words in [self.bundle.runtime("list").words(), delete] {
            let is_list = words.contains(&OsString::from("list"));
            let (status, output) = self.call(words);
            if !matches!(status, Some(WaitStatus::Exited(_, 0))) || (!is_list && !output.is_empty()) {
                found.push(format!("{} answers {status:?}: {output}", if is_list { "list" } else { "delete --force" }));
            }
        }
        self.nothing_left("", found);
        let _ = fs::remove_file(self.bundle.path("pid"));
        // The next who writes the pid file removes what a killed one has left of it.
        if fs::remove_file(self.bundle.path(".pid.new")).is_ok() && !matches!(point, Some((_, Fault::KillRuntime))) {
            found.push(".pid.new is left".to_owned());
        }
        if network_devices() != self.devices {
            found.push(format!("network devices: {:?}", network_devices()));
        }
    }

    fn nothing_left(&self, when: &str, found: &mut Vec<String>) {
        let end = Instant::now() + GONE;
        loop {
            self.reaper.reap(Duration::ZERO);
            let left = self.bundle.leftovers();
            if left.is_empty() {
                return;
            }
            if Instant::now() > end {
                found.extend(left.into_iter().map(|it| format!("{when}left: {it}")));
                return;
            }
            self.reaper.reap(Duration::from_millis(5));
        }
    }
}

fn libc_kill() -> i32 {
    Signal::SIGKILL as i32
}

/// With which the C library ends a program that it cannot begin.
const C_LIBRARY: i32 = 127;

const STARTUP: [&str; 6] = ["arch_prctl", "brk", "getrandom", "mmap", "mprotect", "recvfrom"];

/// Whether the call may be one of the C library's, or of Rust's, before there is anybody who could tell; or that in which Rust's
/// library hears of a process that it makes, which cannot fail for it.
fn cannot_begin(point: Option<&(Place, Fault)>) -> bool {
    matches!(point, Some((place, Fault::Refuse(_))) if STARTUP.contains(&place.call.as_str()))
}

fn names(line: &str, place: &Place, errno: Errno) -> bool {
    let call = place.call.as_str();
    let mut known = std::iter::once(&call).chain(errnos::names_of(call));
    (line.contains(&in_words(errno)) && known.any(|name| line.contains(name))) || is_told_otherwise(line, place, errno)
}

fn is_told_otherwise(line: &str, place: &Place, errno: Errno) -> bool {
    let is_startup = STARTUP.contains(&place.call.as_str()) && place.task != "host";
    if is_startup && ["was killed by signal", "ended with status 127"].iter().any(|how| line.contains(how)) {
        return true;
    }
    // Rust's library makes a process in many steps, and has one error for all.
    if [" hook #", " criu: "].iter().any(|whose| line.contains(whose)) && line.contains(": fork/exec: ") {
        return line.contains(&in_words(errno));
    }
    match place.call.as_str() {
        // What a thread needs, the C library asks for, and has one error for all.
        "clone3" | "mmap" | "mprotect" => line.contains("pthread_create"),
        // The deadline of a socket.
        "sendmsg" => {
            errno == Errno::EAGAIN && ["in time", "did not come within"].iter().any(|late| line.contains(late))
        }
        _ => false,
    }
}

/// The first process is refused the call in which it waits to be started: before that, nobody hears it.
fn is_waiting_to_start(point: Option<&(Place, Fault)>) -> bool {
    matches!(point, Some((place, Fault::Refuse(_))) if place.call == "read" && place.task != "host")
}

fn network_devices() -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir("/sys/class/net").unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort_unstable();
    names
}
