//! `kill`.

use corten::error::Result;
use corten::host::Whom;
use corten::sys::signal;

use super::args::{Flag, FlagsEnd};
use super::{Command, Invocation, invalid};

pub(super) const COMMAND: Command = Command {
    name: "kill",
    about: "Send a signal to a container's first process",
    arguments: "<container-id> [signal]",
    counts: (1, 2),
    flags: &[Flag::switch("all", "Send it to all processes; a container that has stopped is no error").or('a')],
    flags_end: FlagsEnd::AtFirstArgument,
    failure: 1,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    let word = invocation.argument(1).map_or("SIGTERM".into(), |word| word.to_string_lossy());
    let signal = signal::parse(&word).ok_or_else(|| invalid(format_args!("unknown signal {word:?}")))?;
    let whom = if invocation.has("all") { Whom::Everybody } else { Whom::Init };
    invocation.runtime()?.find(invocation.id()?)?.kill(signal, whom)?;
    Ok(0)
}
