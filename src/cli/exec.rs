//! `exec`.

use std::ffi::OsStr;
use std::path::Path;

use corten::config::Process;
use corten::config::process::{CAPABILITIES, CapSet};
use corten::error::{Error, Result, Within};
use corten::host::{Changes, ExecRequest, ProcessChoice};
use corten::subsystems::cgroups::host::SubGroup;

use super::args::{Flag, FlagsEnd};
use super::create::{CONSOLE_SOCKET, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS, check_log_is_not_preserved, preserve_fds};
use super::{Command, Invocation, foreground, invalid, relay};

pub(super) const COMMAND: Command = Command {
    name: "exec",
    about: "Execute a further program in a container",
    arguments: "<container-id> <command> [command options]  || -p process.json <container-id>",
    counts: (1, usize::MAX),
    flags: &[
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        Flag::value("cwd", "DIR", "Working directory in the container"),
        Flag::values("env", "K=V", "Environment variable, may be repeated").or('e'),
        Flag::switch("tty", "Give it a terminal").or('t'),
        Flag::value("user", "UID[:GID]", "User and group in the container, as numbers").or('u'),
        Flag::values("additional-gids", "GID", "Additional group, may be repeated").or('g'),
        Flag::value("process", "FILE", "JSON file with the whole process").or('p'),
        Flag::switch("detach", "Come back when it is started").or('d'),
        PID_FILE,
        Flag::value("process-label", "LABEL", "SELinux label"),
        Flag::value("apparmor", "PROFILE", "AppArmor profile"),
        Flag::switch("no-new-privs", "It cannot gain privileges by execve"),
        Flag::values("cap", "NAME", "Capability to add, may be repeated").or('c'),
        PRESERVE_FDS,
        Flag::values("cgroup", "[CONTROLLER,...:]PATH", "cgroup below the container's, may be repeated"),
        Flag::switch("ignore-paused", "Also in a paused container"),
    ],
    flags_end: FlagsEnd::AtFirstArgument,
    failure: 255,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    let detach = invocation.has("detach");
    let preserved_fds = preserve_fds(invocation)?;
    check_log_is_not_preserved(preserved_fds)?;
    let request = ExecRequest {
        process: process(invocation)?,
        console_socket: invocation.path("console-socket"),
        pidfd_socket: invocation.path("pidfd-socket"),
        pid_file: invocation.path("pid-file"),
        preserved_fds,
        detach,
        ignore_paused: invocation.has("ignore-paused"),
        cgroups: cgroups(invocation).within(|| "--cgroup")?,
        terminal_size: if detach { None } else { relay::own_size() },
    };
    let runtime = invocation.runtime()?;
    if detach {
        return runtime.exec(invocation.id()?, &request).map(|_| 0);
    }
    foreground::exec(&runtime, invocation.id()?, &request)
}

fn cgroups(invocation: &Invocation) -> Result<Vec<SubGroup>> {
    invocation.values("cgroup").map(|text| SubGroup::parse(&text.to_string_lossy())).collect()
}

fn process(invocation: &Invocation) -> Result<ProcessChoice> {
    if let Some(path) = invocation.path("process") {
        let (process, warnings) = read_process(&path).within(|| "--process")?;
        warnings.iter().for_each(|warning| ::log::warn!("{warning}"));
        return Ok(ProcessChoice::Whole(Box::new(process)));
    }
    let text =
        |word: &OsStr| word.to_str().map(str::to_owned).ok_or_else(|| invalid(format_args!("{word:?}: is not UTF-8")));
    let args = invocation.arguments().skip(1).map(text).collect::<Result<Vec<String>>>()?;
    if args.is_empty() {
        return Err(invalid("process args cannot be empty"));
    }
    let (uid, gid) = match invocation.value("user") {
        None => (None, None),
        Some(user) => parse_user(&user.to_string_lossy()).within(|| "--user")?,
    };
    let string = |flag| invocation.value(flag).map(|value| value.to_string_lossy().into_owned());
    Ok(ProcessChoice::Command(Box::new(Changes {
        args,
        terminal: invocation.has("tty"),
        cwd: cwd(invocation)?,
        env: invocation.values("env").map(text).map(|entry| check_env(entry?)).collect::<Result<_>>()?,
        uid,
        gid,
        additional_gids: invocation
            .values("additional-gids")
            .map(|gid| parse_id(&gid.to_string_lossy()).within(|| "--additional-gids"))
            .collect::<Result<_>>()?,
        capabilities: capabilities(invocation),
        no_new_privileges: invocation.has("no-new-privs"),
        apparmor_profile: string("apparmor"),
        selinux_label: string("process-label"),
    })))
}

fn read_process(path: &Path) -> Result<(Process, Vec<String>)> {
    let content = std::fs::read(path).map_err(|error| Error::io(format!("open({path:?})"), &error))?;
    Process::parse(&content).within(|| format!("{path:?}"))
}

fn cwd(invocation: &Invocation) -> Result<Option<std::path::PathBuf>> {
    match invocation.path("cwd") {
        Some(path) if !path.is_absolute() => Err(invalid(format_args!("{path:?} is not absolute")).within("--cwd")),
        path => Ok(path),
    }
}

fn check_env(entry: String) -> Result<String> {
    match entry.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(entry),
        Some(_) | None => Err(invalid(format_args!("{entry:?} is not NAME=VALUE")).within("--env")),
    }
}

/// Strictly: 32 bits, no sign, no name.
fn parse_id(text: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX);
    number.ok_or_else(|| invalid(format_args!("{text:?} is not a number from 0 to 4294967294")))
}

fn parse_user(text: &str) -> Result<(Option<u32>, Option<u32>)> {
    match text.split_once(':') {
        None => Ok((Some(parse_id(text)?), None)),
        Some((uid, gid)) => Ok((Some(parse_id(uid)?), Some(parse_id(gid)?))),
    }
}

/// Names that nobody knows are warned about, as in config.json.
fn capabilities(invocation: &Invocation) -> CapSet {
    let mut set = CapSet::default();
    for name in invocation.values("cap").map(|name| name.to_string_lossy().to_ascii_uppercase()) {
        let full = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
        match CAPABILITIES.iter().position(|known| *known == full) {
            Some(number) => set.0 |= 1 << number,
            None => ::log::warn!("--cap: unknown capability {full:?} is ignored"),
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        for (text, expected) in [
            ("0", Some((Some(0), None))),
            ("1000:100", Some((Some(1000), Some(100)))),
            ("root", None),
            ("", None),
            ("1:", None),
            ("+1", None),
            ("-1", None),
            ("4294967295", None),
            ("1:2:3", None),
            (" 1", None),
        ] {
            assert_eq!(parse_user(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn variables_have_names() {
        for (entry, good) in [("A=", true), ("A=b=c", true), ("A", false), ("=b", false)] {
            assert_eq!(check_env(entry.to_owned()).is_ok(), good, "{entry}");
        }
    }
}
