//! The command line: the only code that reads arguments and the environment, prints, and installs a logger.
//!
//! One file per command: its row of the table ([`COMMANDS`]) and what it does. [`args`] reads the line, [`log`] is the
//! logger, [`timing`] the trace, [`output`] prints, [`size`] reads sizes, [`foreground`] stays with the program of a `run`
//! until it ends, with [`relay`] for its terminal.

mod args;
mod create;
mod delete;
mod duration;
mod events;
mod exec;
mod features;
mod foreground;
mod invocation;
mod kill;
mod list;
mod log;
mod output;
mod pause;
mod ps;
mod relay;
mod resume;
mod run;
mod size;
mod spec;
mod start;
mod state;
mod timing;
mod update;
mod version;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::Path;

use args::{Flag, FlagsEnd, GLOBALS, Misuse, Request, Words};
use corten::error::{Error, Kind, Result};
use invocation::Invocation;
use timing::Trace;

/// A command: how it is called and what it does.
#[derive(Debug)]
pub struct Command {
    name: &'static str,
    about: &'static str,
    /// Its arguments in the help text.
    arguments: &'static str,
    /// How many there must and may be.
    counts: (usize, usize),
    flags: &'static [Flag],
    flags_end: FlagsEnd,
    /// The exit status of an error of ours. COMPAT(runc): exec's differs from what programs use.
    failure: u8,
    /// The answer is the exit status.
    run: fn(&Invocation) -> Result<u8>,
}

/// All commands, in the order of the help text.
static COMMANDS: [Command; 15] = [
    create::COMMAND,
    start::COMMAND,
    run::COMMAND,
    exec::COMMAND,
    state::COMMAND,
    kill::COMMAND,
    delete::COMMAND,
    pause::COMMAND,
    resume::COMMAND,
    update::COMMAND,
    list::COMMAND,
    ps::COMMAND,
    events::COMMAND,
    spec::COMMAND,
    features::COMMAND,
];

/// Does what the command line says. The answer is the exit status.
pub fn main() -> u8 {
    let mut words = std::env::args_os();
    let program = program_name(words.next().as_deref());
    let words: Vec<OsString> = words.collect();
    let globals = Words::read(&words, &GLOBALS, FlagsEnd::AtFirstArgument);
    let settled = settle_in();
    let status = match open_log(&globals).and(settled).map_err(Failure::from) {
        Ok(()) => obey(&program, &globals),
        failed => failed.map(|()| 0),
    }
    .unwrap_or_else(|failure| {
        log::last_words(&failure.line(&program, &globals));
        failure.status
    });
    log::finish();
    status
}

fn obey(program: &str, globals: &Words) -> std::result::Result<u8, Failure> {
    match args::parse(program, globals)? {
        Request::Help(text) => output::print(&text)?,
        Request::Version => output::print(&version::text(program))?,
        Request::Command(command, matches) => {
            let run = |invocation: Invocation| corten::timing::phase(command.name, || (command.run)(&invocation));
            let done = Invocation::new(globals, matches).and_then(run);
            return done.map_err(|error| Failure { status: command.failure, ..error.into() });
        }
    }
    Ok(0)
}

/// Why there is nothing to show for it.
#[derive(Debug)]
struct Failure {
    status: u8,
    why: String,
    /// The line is about a command that exists.
    named: bool,
}

impl Failure {
    /// COMPAT(runc): `<program> <command> failed: <why>`.
    fn line(&self, program: &str, globals: &Words) -> String {
        match globals.arguments.first() {
            _ if !self.named => self.why.clone(),
            Some(command) => format!("{program} {} failed: {}", command.to_string_lossy(), self.why),
            None => format!("{program} failed: {}", self.why),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { status: 1, why: error.to_string(), named: true }
    }
}

impl From<Misuse> for Failure {
    /// COMPAT(runc): status 3, and these words, for a command that there is not.
    fn from(misuse: Misuse) -> Self {
        match misuse {
            Misuse::UnknownCommand(name) => {
                Self { status: 3, why: format!("No help topic for '{name}'"), named: false }
            }
            Misuse::Usage(why) => Self { status: 1, why, named: true },
        }
    }
}

/// Whoever calls us by another name (a symlink `runc`) reads that name in our output.
fn program_name(argv0: Option<&OsStr>) -> String {
    let name = argv0.and_then(|path| Path::new(path).file_name());
    name.map_or_else(|| "corten".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn open_log(globals: &Words) -> Result<()> {
    let file = globals.value("log").map(|path| log::open(Path::new(path))).transpose();
    let format = match globals.value("log-format").map(OsStr::to_string_lossy).as_deref() {
        None | Some("text") => Ok(log::Format::Text),
        Some("json") => Ok(log::Format::Json),
        Some(other) => Err(invalid(format_args!("invalid log-format: {other}"))),
    };
    let (file, failure) = match file {
        Ok(file) => (file, None),
        Err(error) => (None, Some(error)),
    };
    let trace = globals.value("timing").map(OsStr::to_owned).or_else(|| std::env::var_os("CORTEN_TIMING"));
    let trace = trace.filter(|file| !file.is_empty()).map(|file| Trace::new(Path::new(&file)));
    log::install(file, *format.as_ref().unwrap_or(&log::Format::Text), globals.has("debug"), trace);
    failure.map_or(Ok(()), Err)?;
    format.map(drop)
}

/// Makes this process one that can be relied on, whoever started it.
fn settle_in() -> Result<()> {
    corten::sys::fd::open_standard_streams()
        .map_err(|errno| Error::call("poll(standard streams), open(\"/dev/null\")", errno))?;
    corten::sys::signal::ignore_sigpipe().map_err(|errno| Error::call("sigaction(SIGPIPE)", errno))?;
    // COMPAT(Podman): what leaks through conmon must not go on to hooks. The launch hands on what is asked for.
    if let Err(errno) = corten::sys::fd::cloexec_from(3) {
        ::log::debug!("inherited descriptors stay open in hooks: close_range(CLOEXEC) needs Linux 5.11: {errno}");
    }
    // Whoever ignores SIGCHLD makes the kernel reap our children before we can ask how they ended.
    corten::sys::signal::restore_default(libc::SIGCHLD).map_err(|errno| Error::call("sigaction(SIGCHLD)", errno))
}

fn invalid(why: impl Display) -> Error {
    Error::new(Kind::InvalidConfig, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_called_what_it_was_called() {
        for (argv0, expected) in [
            (Some("/usr/sbin/runc"), "runc"),
            (Some("corten"), "corten"),
            (Some("./a/b-c"), "b-c"),
            (Some(""), "corten"),
            (None, "corten"),
        ] {
            assert_eq!(program_name(argv0.map(OsStr::new)), expected, "{argv0:?}");
        }
    }

    #[test]
    fn failures_name_program_and_command() {
        let globals =
            |words: &[&str]| Words { arguments: words.iter().map(OsString::from).collect(), ..Words::default() };
        let failure = Failure::from(Error::new(Kind::NotFound, "container does not exist").within("container \"c\""));
        let expected = "runc start failed: container \"c\": container does not exist";
        assert_eq!(failure.line("runc", &globals(&["start", "c"])), expected);
        assert_eq!(Failure::from(invalid("x")).line("corten", &globals(&[])), "corten failed: x");
        let failure = Failure::from(Misuse::UnknownCommand("foo".to_owned()));
        assert_eq!(
            (failure.line("corten", &globals(&["foo"])).as_str(), failure.status),
            ("No help topic for 'foo'", 3)
        );
    }
}
