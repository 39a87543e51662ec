//! `run`: create, start, and stay until the end.

use corten::error::Result;
use corten::host::Running;
use corten::subsystems::namespaces::host::pid_of;

use super::args::{Flag, FlagsEnd};
use super::create::{BUNDLE, CONSOLE_SOCKET, NO_NEW_KEYRING, NO_PIVOT, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS, request};
use super::{Command, Invocation, foreground, relay};

pub(super) const COMMAND: Command = Command {
    name: "run",
    about: "Create and start a container, and stay until it ends",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &[
        BUNDLE,
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        PID_FILE,
        NO_PIVOT,
        NO_NEW_KEYRING,
        PRESERVE_FDS,
        Flag::switch("detach", "Come back when it is started").or('d'),
        Flag::switch("keep", "Do not delete the container when it ends"),
        Flag::switch("no-subreaper", "Do not adopt the container's orphans"),
    ],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    let detach = invocation.has("detach");
    let mut request = request(invocation, detach)?;
    let runtime = invocation.runtime()?;
    if detach {
        let Running { init, readiness, .. } = runtime.run(&request)?;
        if let Some(readiness) = readiness {
            readiness.wait(&init, pid_of(&init)?);
        }
        return Ok(0);
    }
    request.terminal_size = relay::own_size();
    let stay = foreground::Stay { keep: invocation.has("keep"), subreaper: !invocation.has("no-subreaper") };
    foreground::run(&runtime, &request.id, stay, || runtime.run(&request))
}
