//! `delete`.

use corten::error::Result;

use super::args::{Flag, FlagsEnd};
use super::{Command, Invocation};

pub(super) const COMMAND: Command = Command {
    name: "delete",
    about: "Remove a container",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &[Flag::switch("force", "Kill it first if it runs; one that does not exist is no error").or('f')],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    let runtime = invocation.runtime()?;
    let id = invocation.id()?;
    if invocation.has("force") {
        runtime.delete_forcibly(id)?
    } else {
        runtime.find(id)?.delete()?
    }
    Ok(0)
}
