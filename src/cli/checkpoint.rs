//! `checkpoint`, and the flags that `restore` shares with it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use corten::CheckpointRequest;
use corten::error::{OrCall, Result, Within};
use corten::host::CriuOptions;
use corten::machine::criu::messages::CgroupsMode;
use corten::sys::fd::{adopt, borrow};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::geteuid;

use super::args::{Flag, FlagsEnd};
use super::{Command, Invocation, invalid};

pub(super) const COMMAND: Command = Command {
    name: "checkpoint",
    about: "Write a running container to files, and delete it",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &[
        IMAGE_PATH,
        WORK_PATH,
        Flag::value(
            "parent-path",
            "PATH",
            "Earlier images, relative to --image-path: only what has changed is written",
        ),
        Flag::switch("leave-running", "Do not delete it: it goes on"),
        Flag::switch("pre-dump", "Only its memory, for a later checkpoint; it goes on"),
        TCP_ESTABLISHED,
        Flag::switch("tcp-skip-in-flight", "Leave out connections of TCP that are about to be made"),
        Flag::switch("link-remap", "Give open files without a name one meanwhile"),
        EXT_UNIX_SK,
        SHELL_JOB,
        LAZY_PAGES,
        Flag::value(
            "status-fd",
            "N",
            "Descriptor that gets a byte 0 when the pages can be fetched [default: -1, none]",
        ),
        Flag::value("page-server", "ADDRESS:PORT", "Send the memory there; with --lazy-pages, hand it out there"),
        FILE_LOCKS,
        MANAGE_CGROUPS_MODE,
        EMPTY_NS,
        AUTO_DEDUP,
    ],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

const IMAGE_PATH: Flag = Flag::value("image-path", "DIR", "Directory of the images [default: checkpoint]");
const WORK_PATH: Flag = Flag::value("work-path", "DIR", "Directory of CRIU's log [default: that of the images]");
const TCP_ESTABLISHED: Flag = Flag::switch("tcp-established", "Take along connections of TCP");
const EXT_UNIX_SK: Flag = Flag::switch("ext-unix-sk", "Take along Unix sockets that are connected to the outside");
const SHELL_JOB: Flag = Flag::switch("shell-job", "It has a session or a terminal from outside");
const LAZY_PAGES: Flag = Flag::switch("lazy-pages", "Fetch memory when it is used (userfaultfd)");
const FILE_LOCKS: Flag = Flag::switch("file-locks", "Take along file locks");
const MANAGE_CGROUPS_MODE: Flag = Flag::value(
    "manage-cgroups-mode",
    "MODE",
    "Cgroups taken along: soft, full, strict or ignore [default: soft, if it has any below its own]",
);
const EMPTY_NS: Flag = Flag::values("empty-ns", "network", "Leave out what is in the namespace; network always is");
const AUTO_DEDUP: Flag = Flag::switch("auto-dedup", "Punch out of earlier images what is in later ones");

/// The flags of both commands.
pub(super) const COMMON: [Flag; 10] = [
    IMAGE_PATH,
    WORK_PATH,
    TCP_ESTABLISHED,
    EXT_UNIX_SK,
    SHELL_JOB,
    LAZY_PAGES,
    FILE_LOCKS,
    MANAGE_CGROUPS_MODE,
    EMPTY_NS,
    AUTO_DEDUP,
];

fn run(invocation: &Invocation) -> Result<u8> {
    warn_without_privileges("checkpoint")?;
    let request = CheckpointRequest {
        criu: criu_options(invocation)?,
        parent: invocation.path("parent-path"),
        leave_running: invocation.has("leave-running"),
        pre_dump: invocation.has("pre-dump"),
        tcp_skip_in_flight: invocation.has("tcp-skip-in-flight"),
        link_remap: invocation.has("link-remap"),
        page_server: page_server(invocation).within(|| "--page-server")?,
        status_fd: status_fd(invocation).within(|| "--status-fd")?,
    };
    invocation.runtime()?.find(invocation.id()?)?.checkpoint(request)?;
    Ok(0)
}

/// COMPAT(runc)
pub(super) fn warn_without_privileges(command: &str) -> Result<()> {
    if !geteuid().is_root() || corten::machine::rootless::in_user_namespace()? {
        log::warn!("{command} is untested without privileges: CRIU needs them");
    }
    Ok(())
}

/// What both commands tell CRIU.
pub(super) fn criu_options(invocation: &Invocation) -> Result<CriuOptions> {
    if let Some(other) = invocation.values("empty-ns").find(|kind| *kind != "network") {
        return Err(invalid(format_args!("namespace {other:?} is not supported")).within("--empty-ns"));
    }
    Ok(CriuOptions {
        images: invocation.path("image-path").unwrap_or_else(|| PathBuf::from("checkpoint")),
        work: invocation.path("work-path"),
        tcp_established: invocation.has("tcp-established"),
        ext_unix_sk: invocation.has("ext-unix-sk"),
        shell_job: invocation.has("shell-job"),
        file_locks: invocation.has("file-locks"),
        auto_dedup: invocation.has("auto-dedup"),
        lazy_pages: invocation.has("lazy-pages"),
        cgroups: invocation
            .value("manage-cgroups-mode")
            .map(|mode| cgroups_mode(&mode.to_string_lossy()))
            .transpose()
            .within(|| "--manage-cgroups-mode")?,
    })
}

fn cgroups_mode(word: &str) -> Result<CgroupsMode> {
    match word {
        "soft" => Ok(CgroupsMode::Soft),
        "full" => Ok(CgroupsMode::Full),
        "strict" => Ok(CgroupsMode::Strict),
        "ignore" => Ok(CgroupsMode::Ignore),
        other => Err(invalid(format_args!("{other:?} is not soft, full, strict or ignore"))),
    }
}

fn page_server(invocation: &Invocation) -> Result<Option<(String, u16)>> {
    invocation.value("page-server").map(|place| parse_page_server(&place.to_string_lossy())).transpose()
}

/// COMPAT(runc): as Go writes them, so an address of IPv6 stands in brackets.
fn parse_page_server(place: &str) -> Result<(String, u16)> {
    let parse = |place: &str| {
        let (address, port) = place.rsplit_once(':')?;
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = bare.or_else(|| (!address.contains(':')).then_some(address)).filter(|it| !it.is_empty())?;
        Some((address.to_owned(), port.parse().ok().filter(|port| *port > 0)?))
    };
    parse(place).ok_or_else(|| invalid(format_args!("{place:?} is not ADDRESS:PORT")))
}

fn status_fd(invocation: &Invocation) -> Result<Option<OwnedFd>> {
    let Some(word) = invocation.value("status-fd").filter(|word| *word != "-1") else { return Ok(None) };
    let number = word.to_str().and_then(|word| word.parse::<i32>().ok()).filter(|number| *number > 2);
    let number = number.ok_or_else(|| invalid(format_args!("{word:?} is not the number of a descriptor from 3 on")))?;
    let flags = fcntl(borrow(number), FcntlArg::F_GETFL).or_call(|| format!("fcntl({number})"))?;
    if OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        return Err(invalid(format_args!("{number} is not open for writing")));
    }
    Ok(Some(adopt(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers() {
        for (text, expected) in [
            ("10.0.0.1:27277", Some(("10.0.0.1", 27277))),
            ("[::1]:1", Some(("::1", 1))),
            ("host:80", Some(("host", 80))),
            ("::1", None),
            (":80", None),
            ("host:", None),
            ("host:0", None),
            ("host:99999", None),
            ("host", None),
        ] {
            let expected = expected.map(|(address, port)| (address.to_owned(), port));
            assert_eq!(parse_page_server(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(cgroups_mode("ignore").unwrap(), CgroupsMode::Ignore);
        assert!(cgroups_mode("props").is_err());
    }
}
