//! `restore`.

use std::path::PathBuf;

use corten::RestoreRequest;
use corten::error::Result;

use super::args::{Flag, FlagsEnd};
use super::checkpoint::{COMMON, criu_options, warn_without_privileges};
use super::create::{BUNDLE, CONSOLE_SOCKET, NO_NEW_KEYRING, PID_FILE};
use super::{Command, Invocation, foreground};

pub(super) const COMMAND: Command = Command {
    name: "restore",
    about: "Make a container from what checkpoint has written",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &FLAGS,
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

const OWN: [Flag; 11] = [
    BUNDLE,
    CONSOLE_SOCKET,
    PID_FILE,
    Flag::switch("detach", "Come back when it runs").or('d'),
    Flag::switch("no-subreaper", "Do not adopt the container's orphans"),
    Flag::switch("tcp-close", "Close the connections of TCP that it had"),
    Flag::value("lsm-profile", "TYPE:NAME", "Another security label, selinux:NAME or apparmor:NAME, than it had"),
    Flag::value("lsm-mount-context", "CONTEXT", "Another security context than its mounts had"),
    NO_NEW_KEYRING,
    // COMPAT(runc): takes it as well, and it means nothing to CRIU either.
    Flag::switch("no-pivot", "Accepted, and without meaning: the images have the root as it was"),
    // COMPAT(conmon): what create is told, restore is told.
    Flag::value("preserve-fds", "N", "Accepted, with a warning: descriptors of ours are not handed on again"),
];

const FLAGS: [Flag; OWN.len() + COMMON.len()] = {
    let mut flags = [BUNDLE; OWN.len() + COMMON.len()];
    let mut index = 0;
    while index < flags.len() {
        flags[index] = if index < OWN.len() { OWN[index] } else { COMMON[index - OWN.len()] };
        index += 1;
    }
    flags
};

fn run(invocation: &Invocation) -> Result<u8> {
    warn_without_privileges("restore")?;
    if invocation.value("preserve-fds").is_some_and(|number| number != "0") {
        log::warn!("--preserve-fds: ignored: only standard streams take the place of what the images have");
    }
    let detach = invocation.has("detach");
    let text = |flag| invocation.value(flag).map(|value| value.to_string_lossy().into_owned());
    let request = RestoreRequest {
        id: invocation.id()?.to_owned(),
        bundle: invocation.path("bundle").unwrap_or_else(|| PathBuf::from(".")),
        cgroup_driver: invocation.cgroup_driver()?,
        rootless: invocation.rootless(),
        criu: criu_options(invocation)?,
        tcp_close: invocation.has("tcp-close"),
        lsm_profile: text("lsm-profile"),
        lsm_mount_context: text("lsm-mount-context"),
        console_socket: invocation.path("console-socket"),
        pid_file: invocation.path("pid-file"),
        no_new_keyring: invocation.has("no-new-keyring"),
        detach,
    };
    let runtime = invocation.runtime()?;
    if detach {
        runtime.restore(&request)?;
        return Ok(0);
    }
    let stay = foreground::Stay { keep: false, subreaper: !invocation.has("no-subreaper") };
    foreground::run(&runtime, &request.id, stay, || runtime.restore(&request))
}
