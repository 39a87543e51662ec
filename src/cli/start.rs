//! `start`.

use corten::error::Result;

use super::args::FlagsEnd;
use super::create::notify_socket;
use super::{Command, Invocation};

pub(super) const COMMAND: Command = Command {
    name: "start",
    about: "Run the program of a container that was created",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &[],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    let mut container = invocation.runtime()?.find(invocation.id()?)?;
    match notify_socket() {
        Some(manager) => container.start_until_ready(&manager)?,
        None => container.start()?,
    }
    Ok(0)
}
