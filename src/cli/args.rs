//! The command line, in two steps: callers write flags as Go programs read them, [`Words`] rewrites that, clap reads it.
//!
//! COMPAT(Podman, containerd, conmon-rs): Go takes `-flag` for `--flag`, `--flag=true` for switches, whatever follows for a
//! value, and of repeated flags the last one; all of it is in use. clap then finds unknown flags and writes the help texts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::{COMMANDS, Command};

/// A flag of the program or of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub(super) long: &'static str,
    short: Option<char>,
    /// What its value is called in the help text; `None`: it is a switch.
    value: Option<&'static str>,
    /// All values count, not only the last one.
    repeated: bool,
    help: &'static str,
    hidden: bool,
}

impl Flag {
    /// A flag without a value.
    pub const fn switch(long: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: None, repeated: false, help, hidden: false }
    }

    /// A flag with a value.
    pub const fn value(long: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: Some(value), repeated: false, help, hidden: false }
    }

    /// A flag whose values add up.
    pub const fn values(long: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: Some(value), repeated: true, help, hidden: false }
    }

    /// The same with a short form.
    pub const fn or(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// The same without a line in the help text.
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// Where a command's flags end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagsEnd {
    /// At the end of the line: they may stand behind arguments.
    Never,
    /// COMPAT(runc): at the first argument; what follows is not ours.
    AtFirstArgument,
}

/// The flags of the program, which stand before the command.
pub const GLOBALS: [Flag; 10] = [
    Flag::value("root", "DIR", "Directory of the containers' state [default: /run/corten, or $XDG_RUNTIME_DIR/corten]"),
    Flag::value("log", "FILE", "File to which warnings and errors are appended"),
    Flag::value("log-format", "FORMAT", "Format of the records: text or json [default: text]"),
    Flag::switch("debug", "Log debugging records, too"),
    Flag::value(
        "timing",
        "FILE",
        "File to which the phases are written, as a trace for Perfetto or Chrome [default: $CORTEN_TIMING]",
    ),
    Flag::switch("systemd-cgroup", "Let systemd make the cgroups"),
    Flag::value("cgroup-manager", "NAME", "Who makes the cgroups: cgroupfs, systemd or disabled [default: cgroupfs]"),
    Flag::value("rootless", "BOOL", "Whether we are without privileges: true, false or auto [default: auto]"),
    Flag::value("criu", "PATH", "Ignored: criu is found in $PATH"),
    Flag::switch("version", "Print the version").or('v'),
];

/// Words of the command line: flags in one spelling (`--name`, `--name=value`), and the rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// In their order.
    pub flags: Vec<OsString>,
    /// What is no flag.
    pub arguments: Vec<OsString>,
    /// Why it cannot be read, the first reason.
    pub problem: Option<String>,
}

impl Words {
    /// Sorts `words`. Unknown flags are kept, for clap to complain about.
    pub fn read(words: &[OsString], flags: &[Flag], end: FlagsEnd) -> Self {
        let mut read = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                read.arguments.extend(words.by_ref().cloned());
            } else if word.len() < 2 || word.as_bytes()[0] != b'-' {
                read.arguments.push(word.clone());
                if end == FlagsEnd::AtFirstArgument {
                    read.arguments.extend(words.by_ref().cloned());
                }
            } else {
                read.flag(word, flags, &mut words);
            }
        }
        read
    }

    /// The value of a flag, of several the last one.
    pub fn value(&self, long: &str) -> Option<&OsStr> {
        let prefix = format!("--{long}=");
        let value = |word: &'_ OsString| -> Option<usize> {
            word.as_bytes().starts_with(prefix.as_bytes()).then_some(prefix.len())
        };
        let found = self.flags.iter().rev().find_map(|word| Some((word, value(word)?)));
        found.map(|(word, start)| OsStr::from_bytes(&word.as_bytes()[start..])).filter(|value| !value.is_empty())
    }

    /// Whether a switch is on.
    pub fn has(&self, long: &str) -> bool {
        self.flags.iter().any(|word| word.as_bytes().strip_prefix(b"--") == Some(long.as_bytes()))
    }

    fn flag<'a>(&mut self, word: &OsStr, flags: &[Flag], rest: &mut impl Iterator<Item = &'a OsString>) {
        let bytes = word.as_bytes();
        let dashes = if bytes.starts_with(b"--") { 2 } else { 1 };
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(equals) => (&bytes[dashes..equals], Some(&bytes[equals + 1..])),
            None => (&bytes[dashes..], None),
        };
        let name = String::from_utf8_lossy(name);
        match (find(flags, &name), value) {
            (None, None) if name == "h" || name == "help" => self.flags.push("--help".into()),
            (None, _) => self.unknown(word, dashes, &name, flags),
            (Some(Flag { long, value: Some(_), .. }), Some(value)) => self.with_value(long, value),
            (Some(Flag { long, value: Some(_), .. }), None) => match rest.next() {
                Some(value) => self.with_value(long, value.as_bytes()),
                // COMPAT(Podman): the words that its probe for a flag searches for.
                None => self.object(format!("flag needs an argument: --{long}")),
            },
            (Some(Flag { long, value: None, .. }), value) => self.switch(long, value),
        }
    }

    fn with_value(&mut self, long: &str, value: &[u8]) {
        self.flags.push(OsString::from_vec([b"--", long.as_bytes(), b"=", value].concat()));
    }

    fn switch(&mut self, long: &str, value: Option<&[u8]>) {
        let word = OsString::from(format!("--{long}"));
        match value {
            None => self.flags.push(word),
            Some(value) => match parse_bool(&String::from_utf8_lossy(value)) {
                Some(true) => self.flags.push(word),
                Some(false) => self.flags.retain(|earlier| *earlier != word),
                None => {
                    let value = String::from_utf8_lossy(value);
                    self.object(format!("invalid value {value:?} for --{long}: true or false is expected"));
                }
            },
        }
    }

    /// `-fq` is two short switches; any other word is left to clap, as a long flag so that it is named as a whole.
    fn unknown(&mut self, word: &OsStr, dashes: usize, name: &str, flags: &[Flag]) {
        let short = |letter: char| flags.iter().find(|flag| flag.short == Some(letter) && flag.value.is_none());
        let switches: Option<Vec<&Flag>> = name.chars().map(short).collect();
        match switches {
            Some(switches) if dashes == 1 => switches.iter().for_each(|flag| self.switch(flag.long, None)),
            _ if dashes == 1 && name.len() > 1 => {
                self.flags.push(OsString::from_vec([b"-", word.as_bytes()].concat()));
            }
            _ => self.flags.push(word.to_owned()),
        }
    }

    fn object(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}

fn find<'a>(flags: &'a [Flag], name: &str) -> Option<&'a Flag> {
    let is_short = |flag: &Flag| flag.short.is_some_and(|short| name.chars().eq([short]));
    flags.iter().find(|flag| flag.long == name || is_short(flag))
}

/// What Go's strconv.ParseBool takes.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// This text, and nothing else.
    Help(String),
    /// `--version`.
    Version,
    /// A command. Its matches hold its flags, and its arguments as [`ARGUMENTS`].
    Command(&'static Command, ArgMatches),
}

/// Why it asks for nothing that we know.
#[derive(Debug, PartialEq, Eq)]
pub enum Misuse {
    /// There is no such command.
    UnknownCommand(String),
    /// Flags or arguments are wrong.
    Usage(String),
}

/// The name of what is no flag in [`Request::Command`].
pub const ARGUMENTS: &str = "arguments";

/// Reads what [`Words`] sorted: the flags before the command, the command and what follows.
pub fn parse(program: &str, globals: &Words) -> Result<Request, Misuse> {
    let (name, rest) = match globals.arguments.as_slice() {
        [] => (None, &[][..]),
        // `help create` is `create --help`; `help` alone is `--help`.
        [word, rest @ ..] if word == "help" || word == "h" => {
            let command = rest.first().map(|name| known(&name.to_string_lossy())).transpose()?;
            return Ok(Request::Help(help(program, command)));
        }
        [name, rest @ ..] => (Some(name.to_string_lossy()), rest),
    };
    let command = name.as_deref().map(known).transpose()?;
    let mut line = vec![OsString::from(program)];
    line.extend(globals.flags.iter().cloned());
    let mut problem = globals.problem.clone();
    if let Some(command) = command {
        let words = Words::read(rest, command.flags, command.flags_end);
        line.push(command.name.into());
        line.extend(words.flags);
        line.push("--".into());
        line.extend(words.arguments);
        problem = problem.or(words.problem);
    }
    if globals.has("version") {
        return Ok(Request::Version);
    }
    let commands = command.map_or(&COMMANDS[..], std::slice::from_ref);
    let mut matches = match description(program, commands).try_get_matches_from(line) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(Request::Help(help(program, command))),
        // What Words found wrong may be the reason for what clap finds wrong.
        Err(error) => return Err(Misuse::Usage(problem.unwrap_or_else(|| in_one_line(&error)))),
    };
    match (problem, command, matches.remove_subcommand()) {
        (Some(problem), _, _) => Err(Misuse::Usage(problem)),
        (None, Some(command), Some((_, matches))) => {
            check_count(command, matches.get_many::<OsString>(ARGUMENTS).map_or(0, Iterator::count))?;
            Ok(Request::Command(command, matches))
        }
        (None, _, _) => Ok(Request::Help(help(program, None))),
    }
}

fn known(name: &str) -> Result<&'static Command, Misuse> {
    COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| Misuse::UnknownCommand(name.to_owned()))
}

/// COMPAT(runc's tests): the name of the program, and of the command, on the second line.
fn help(program: &str, command: Option<&'static Command>) -> String {
    let mut description = match command {
        None => description(program, &COMMANDS).help_template(format!(
            "NAME:\n   {program} - {{about}}\n\nUSAGE:\n   {program} [global options] command [command options] \
             [arguments...]\n\nCOMMANDS:\n{{subcommands}}\n\nGLOBAL OPTIONS:\n{{options}}\n"
        )),
        Some(row) => complete(clap::Command::new(row.name).about(row.about)).help_template(format!(
            "NAME:\n   {program} {name} - {{about}}\n\nUSAGE:\n   {program} {name} [command options] {arguments}\n\n\
             OPTIONS:\n{{options}}\n",
            name = row.name,
            arguments = row.arguments
        )),
    };
    description.render_help().to_string()
}

/// COMPAT(runc): its words.
fn check_count(command: &Command, count: usize) -> Result<(), Misuse> {
    let (least, most) = command.counts;
    let (how, number) = match () {
        () if (least..=most).contains(&count) => return Ok(()),
        () if least == most => ("exactly", least),
        () if count < least => ("a minimum of", least),
        () => ("a maximum of", most),
    };
    Err(Misuse::Usage(format!("{:?} requires {how} {number} argument(s)", command.name)))
}

/// The program as clap knows it. Of `commands` only the one that is asked for is built.
fn description(program: &str, commands: &'static [Command]) -> clap::Command {
    let commands = commands.iter().map(|row| clap::Command::new(row.name).about(row.about).defer(complete));
    clap::Command::new("corten")
        .bin_name(program)
        .about("Open Container Initiative runtime")
        .args(GLOBALS.iter().map(arg))
        .args_override_self(true)
        .disable_help_subcommand(true)
        .subcommands(commands)
}

fn complete(command: clap::Command) -> clap::Command {
    let Ok(row) = known(command.get_name()) else { return command };
    let arguments = Arg::new(ARGUMENTS).num_args(0..).value_parser(value_parser!(OsString)).hide(true);
    command.args(row.flags.iter().map(arg)).arg(arguments).args_override_self(true)
}

fn arg(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.long).long(flag.long).help(flag.help).hide(flag.hidden);
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match flag.value {
        Some(name) if flag.repeated => {
            arg.action(ArgAction::Append).value_name(name).value_parser(value_parser!(OsString))
        }
        Some(name) => arg.action(ArgAction::Set).value_name(name).value_parser(value_parser!(OsString)),
        None => arg.action(ArgAction::SetTrue),
    }
}

/// clap's message and whom it takes for meant, without the rest of the page: an error is one line.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let message = text.lines().next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(meant)) => format!("{message} (did you mean {meant}?)"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(Into::into).collect()
    }

    fn read(line: &str) -> Result<Request, Misuse> {
        parse("corten", &Words::read(&words(line), &GLOBALS, FlagsEnd::AtFirstArgument))
    }

    /// The command, and its flags and arguments as they were understood.
    fn understood(line: &str) -> String {
        let Ok(Request::Command(command, matches)) = read(line) else { return format!("{:?}", read(line)) };
        let mut text = command.name.to_owned();
        for flag in command.flags {
            match flag.value {
                Some(_) => {
                    if let Some(value) = matches.get_one::<OsString>(flag.long) {
                        text.push_str(&format!(" {}={}", flag.long, value.to_string_lossy()));
                    }
                }
                None if matches.get_flag(flag.long) => text.push_str(&format!(" {}", flag.long)),
                None => {}
            }
        }
        for argument in matches.get_many::<OsString>(ARGUMENTS).into_iter().flatten() {
            text.push_str(&format!(" <{}>", argument.to_string_lossy()));
        }
        text
    }

    #[test]
    fn what_engines_write() {
        for (line, expected) in [
            // containerd's shim
            (
                "--root /r --log /b/log.json --log-format json --systemd-cgroup create --bundle /b --pid-file /b/p ID",
                "create bundle=/b pid-file=/b/p <ID>",
            ),
            (
                "--root /r --debug --log /l --log-format json --rootless=true create --bundle /b --pid-file /p \
                 --console-socket /s --no-pivot --no-new-keyring ID",
                "create bundle=/b console-socket=/s pid-file=/p no-pivot no-new-keyring <ID>",
            ),
            // go-runc
            (
                "create --bundle B --pid-file P --console-socket S --pidfd-socket S2 --no-pivot --preserve-fds 2 ID",
                "create bundle=B console-socket=S pidfd-socket=S2 pid-file=P no-pivot preserve-fds=2 <ID>",
            ),
            // conmon, conmon-rs, Buildah
            (
                "--log-format=json --log F --cgroup-manager disabled create --bundle B --pid-file P --preserve-fds 1 ID",
                "create bundle=B pid-file=P preserve-fds=1 <ID>",
            ),
            (
                "--root=R --systemd-cgroup --root=R --systemd-cgroup create --bundle B --pid-file P --console-socket=S ID",
                "create bundle=B console-socket=S pid-file=P <ID>",
            ),
            ("--log-format json --log L run --bundle B --no-pivot --keep ID", "run bundle=B no-pivot keep <ID>"),
            ("--root R start ID", "start <ID>"),
            ("kill --all ID 9", "kill all <ID> <9>"),
            ("kill -a ID 9", "kill all <ID> <9>"),
            ("kill ID KILL", "kill <ID> <KILL>"),
            ("kill ID -9", "kill <ID> <-9>"),
            ("kill ID --all", "kill <ID> <--all>"),
            ("delete --force ID", "delete force <ID>"),
            ("delete -f ID", "delete force <ID>"),
            ("delete ID -f", "delete force <ID>"),
            ("state ID", "state <ID>"),
            ("pause ID", "pause <ID>"),
            ("--root R resume ID", "resume <ID>"),
            // containerd's shim; CRI-O; Podman; runc's tests
            ("--root R update --resources=- ID", "update resources=- <ID>"),
            ("update --resources - ID", "update resources=- <ID>"),
            ("update -r /tmp/podman1 ID", "update resources=/tmp/podman1 <ID>"),
            ("update ID --memory-swap -1 --cpu-quota=-1", "update cpu-quota=-1 memory-swap=-1 <ID>"),
            ("update --kernel-memory 50M ID", "update kernel-memory=50M <ID>"),
            ("list --format=json", "list format=json"),
            ("list -f json -q", "list format=json quiet"),
            ("features", "features"),
        ] {
            assert_eq!(understood(line), expected, "{line}");
        }
    }

    #[test]
    fn as_go_reads_it() {
        for (line, expected) in [
            ("run -d -no-subreaper -bundle=/b ID", "run bundle=/b detach no-subreaper <ID>"),
            ("run -b /a --bundle /b -b=/c ID", "run bundle=/c <ID>"),
            ("run --keep --keep=false --detach=true ID", "run detach <ID>"),
            ("run --bundle --keep ID", "run bundle=--keep <ID>"),
            ("run --bundle= ID", "run bundle= <ID>"),
            ("-root=/x -debug start ID", "start <ID>"),
            ("start -- -ID", "start <-ID>"),
            ("start -", "start <->"),
            ("delete -- --force", "delete <--force>"),
        ] {
            assert_eq!(understood(line), expected, "{line}");
        }
    }

    #[test]
    fn misuse() {
        let usage = |text: &str| Misuse::Usage(text.to_owned());
        for (line, expected) in [
            ("foo", Misuse::UnknownCommand("foo".to_owned())),
            ("help foo", Misuse::UnknownCommand("foo".to_owned())),
            ("bogus ID", Misuse::UnknownCommand("bogus".to_owned())),
            ("create --pid-file", usage("flag needs an argument: --pid-file")),
            ("create -b", usage("flag needs an argument: --bundle")),
            ("--root", usage("flag needs an argument: --root")),
            ("create --foo ID", usage("unexpected argument '--foo' found")),
            ("create -foo=3 ID", usage("unexpected argument '--foo' found")),
            ("create -x ID", usage("unexpected argument '-x' found")),
            ("create --bundel B ID", usage("unexpected argument '--bundel' found (did you mean --bundle?)")),
            ("--unheard-of state ID", usage("unexpected argument '--unheard-of' found")),
            ("kill -9 ID", usage("unexpected argument '-9' found")),
            ("state", usage("\"state\" requires exactly 1 argument(s)")),
            ("state a b", usage("\"state\" requires exactly 1 argument(s)")),
            ("kill", usage("\"kill\" requires a minimum of 1 argument(s)")),
            ("kill a b c", usage("\"kill\" requires a maximum of 2 argument(s)")),
            ("list x", usage("\"list\" requires exactly 0 argument(s)")),
            ("run --keep=x ID", usage("invalid value \"x\" for --keep: true or false is expected")),
        ] {
            assert_eq!(read(line).map(|_| ()), Err(expected), "{line}");
        }
    }

    #[test]
    fn help_and_version() {
        let lines = |line: &str| match read(line) {
            Ok(Request::Help(text)) => text.lines().map(str::to_owned).collect::<Vec<_>>(),
            other => panic!("{line}: {other:?}"),
        };
        for line in ["", "-h", "--help", "help", "h", "--root /x -help"] {
            assert_eq!(lines(line)[..2], ["NAME:", "   corten - Open Container Initiative runtime"], "{line}");
        }
        for line in ["create -h", "create --help", "help create", "create --help ID", "--debug create -help"] {
            assert_eq!(lines(line)[..2], ["NAME:", "   corten create - Create a container"], "{line}");
        }
        for line in ["--version", "-v", "-version", "--root /x -v", "-v state"] {
            assert!(matches!(read(line), Ok(Request::Version)), "{line}");
        }
    }

    #[test]
    fn global_flags() {
        let globals = Words::read(&words("--log a -root=/r --log=b --debug -- x"), &GLOBALS, FlagsEnd::AtFirstArgument);
        assert_eq!(globals.value("log"), Some(OsStr::new("b")));
        assert_eq!(globals.value("root"), Some(OsStr::new("/r")));
        assert_eq!((globals.value("log-format"), globals.has("debug")), (None, true));
        assert_eq!(globals.arguments, ["x"]);
    }

    #[test]
    fn every_command_is_well_described() {
        description("corten", &COMMANDS).debug_assert();
        for command in &COMMANDS {
            complete(clap::Command::new(command.name)).debug_assert();
        }
    }
}
