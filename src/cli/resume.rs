//! `resume`.

use corten::error::Result;

use super::args::FlagsEnd;
use super::{Command, Invocation};

pub(super) const COMMAND: Command = Command {
    name: "resume",
    about: "Let the processes of a paused container go on",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &[],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    invocation.runtime()?.find(invocation.id()?)?.resume()?;
    Ok(0)
}
