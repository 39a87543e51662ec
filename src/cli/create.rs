//! `create`.

use std::ffi::OsStr;
use std::path::PathBuf;

use corten::CreateRequest;
use corten::error::{Result, Within};
use corten::plan::ListenFds;

use super::args::{Flag, FlagsEnd};
use super::{Command, Invocation, invalid, log};

pub(super) const COMMAND: Command = Command {
    name: "create",
    about: "Create a container",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &[BUNDLE, CONSOLE_SOCKET, PIDFD_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

pub(super) const BUNDLE: Flag =
    Flag::value("bundle", "DIR", "Directory of the bundle [default: the working directory]").or('b');
pub(super) const CONSOLE_SOCKET: Flag =
    Flag::value("console-socket", "PATH", "AF_UNIX socket that gets the terminal's master");
pub(super) const PIDFD_SOCKET: Flag =
    Flag::value("pidfd-socket", "PATH", "AF_UNIX socket that gets a pidfd of the first process");
pub(super) const PID_FILE: Flag = Flag::value("pid-file", "PATH", "File to write the first process's pid to");
pub(super) const NO_PIVOT: Flag = Flag::switch("no-pivot", "Do not use pivot_root: for a root on a ramdisk");
pub(super) const NO_NEW_KEYRING: Flag = Flag::switch("no-new-keyring", "Keep the caller's session keyring");
pub(super) const PRESERVE_FDS: Flag = Flag::value("preserve-fds", "N", "Hand N more descriptors on, from 3 on");

fn run(invocation: &Invocation) -> Result<u8> {
    invocation.runtime()?.create(&request(invocation, true)?)?;
    Ok(0)
}

/// What `create` and `run` ask for.
pub(super) fn request(invocation: &Invocation, detach: bool) -> Result<CreateRequest> {
    let listen_fds = listen_fds(|name| std::env::var(name).ok(), std::process::id());
    // COMPAT(runc): the listening sockets come first, what is preserved beside them follows.
    let preserved_fds = listen_fds.as_ref().map_or(0, |sockets| sockets.count) + preserve_fds(invocation)?;
    check_log_is_not_preserved(preserved_fds)?;
    Ok(CreateRequest {
        id: invocation.id()?.to_owned(),
        bundle: invocation.path("bundle").unwrap_or_else(|| PathBuf::from(".")),
        cgroup_driver: invocation.cgroup_driver()?,
        rootless: invocation.rootless(),
        console_socket: invocation.path("console-socket"),
        pidfd_socket: invocation.path("pidfd-socket"),
        pid_file: invocation.path("pid-file"),
        no_pivot: invocation.has("no-pivot"),
        no_new_keyring: invocation.has("no-new-keyring"),
        preserved_fds,
        listen_fds,
        terminal_size: None,
        notify_socket: notify_socket(),
        detach,
    })
}

/// Where the service manager that started us listens, sd_notify(3).
pub(super) fn notify_socket() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty()).map(PathBuf::from)
}

/// More than a process can have open by default (fs.nr_open).
const MOST_FDS: u32 = 1 << 20;

/// `--preserve-fds`.
pub(super) fn preserve_fds(invocation: &Invocation) -> Result<u32> {
    parse_preserve_fds(invocation.value("preserve-fds")).within(|| "--preserve-fds")
}

fn parse_preserve_fds(value: Option<&OsStr>) -> Result<u32> {
    let Some(value) = value else { return Ok(0) };
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| *number <= MOST_FDS);
    number.ok_or_else(|| invalid(format_args!("{value:?} is not a number from 0 to {MOST_FDS}")))
}

/// sd_listen_fds(3): sockets that are meant for this process.
fn listen_fds(variable: impl Fn(&str) -> Option<String>, own_pid: u32) -> Option<ListenFds> {
    let number = |name| variable(name)?.parse::<u32>().ok();
    if number("LISTEN_PID")? != own_pid {
        return None;
    }
    let count = number("LISTEN_FDS").filter(|count| (1..=MOST_FDS).contains(count))?;
    Some(ListenFds { count, names: variable("LISTEN_FDNAMES") })
}

/// A descriptor of ours in the caller's range is one that the caller did not open: it must not reach the container.
pub(super) fn check_log_is_not_preserved(preserved: u32) -> Result<()> {
    match log::descriptor().map(i32::unsigned_abs) {
        Some(number) if number < 3 + preserved => {
            Err(invalid(format_args!("--preserve-fds: file descriptor {number}: nobody opened it")))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_descriptors() {
        for (text, expected) in [("0", Some(0)), ("3", Some(3)), ("-1", None), ("x", None), ("4294967295", None)] {
            assert_eq!(parse_preserve_fds(Some(OsStr::new(text))).ok(), expected, "{text}");
        }
        assert_eq!(parse_preserve_fds(None).unwrap(), 0);
    }

    #[test]
    fn listening_sockets_are_for_the_process_that_they_name() {
        for (pid, fds, expected) in [
            (Some("7"), Some("2"), Some(2)),
            (Some("1"), Some("2"), None),
            (None, Some("2"), None),
            (Some("7"), None, None),
            (Some("7"), Some("0"), None),
            (Some("7"), Some("-1"), None),
            (Some("7"), Some("9999999999"), None),
        ] {
            let variable = |name: &str| {
                let value = match name {
                    "LISTEN_PID" => pid,
                    "LISTEN_FDS" => fds,
                    _ => None,
                };
                value.map(str::to_owned)
            };
            assert_eq!(listen_fds(variable, 7).map(|sockets| sockets.count), expected, "{pid:?} {fds:?}");
        }
    }
}
