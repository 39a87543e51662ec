//! `state`.

use corten::error::Result;

use super::args::FlagsEnd;
use super::{Command, Invocation, invalid, output};

pub(super) const COMMAND: Command = Command {
    name: "state",
    about: "Print the state of a container",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &[],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    let state = invocation.runtime()?.find(invocation.id()?)?.state()?;
    // COMPAT(runc): two spaces, and no line break at the end.
    output::print(&serde_json::to_string_pretty(&state).map_err(invalid)?)?;
    Ok(0)
}
