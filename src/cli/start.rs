//! `start`.

use corten::error::Result;

use super::args::FlagsEnd;
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
    invocation.runtime()?.find(invocation.id()?)?.start()?;
    Ok(0)
}
