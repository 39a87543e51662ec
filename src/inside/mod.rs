//! The container's side of the program: what the sealed copy of the executable does.
//!
//! One thread, in a process of its own, that carries out the plan and decides nothing. `init` is the first process of a
//! container, `intermediate` the one before it, where a namespace can be entered by children alone, and `exec` a further one.
//! `program` is what all of them do at the end.

mod exec;
mod init;
mod intermediate;
mod log;
mod program;

use std::ffi::OsString;

use crate::channel::{FromInside, InsideEnd, SEALED_NAME, TELL_PHASES};
use crate::error::{Error, OrCall, Result};
use crate::plan::Errand;
use crate::sys;

/// If this process is a sealed child, becomes the container and does not return; otherwise there is nothing to do.
pub fn run_if_sealed() {
    let mut arguments = std::env::args_os();
    if arguments.next().is_some_and(|name| name.as_encoded_bytes() == SEALED_NAME.to_bytes()) {
        let failed = main(arguments.next(), arguments.next()).is_err();
        leave(i32::from(failed))
    }
}

fn main(channel: Option<OsString>, phases: Option<OsString>) -> Result<()> {
    let number = channel.and_then(|number| number.to_str()?.parse::<u32>().ok());
    let Some(number) = number.filter(|number| *number > 2).and_then(|number| i32::try_from(number).ok()) else {
        return Err(Error::new(crate::error::Kind::InvalidConfig, "only the runtime itself starts this"));
    };
    let channel = InsideEnd::new(sys::fd::adopt(number));
    let tells_phases = phases.is_some_and(|word| word.as_encoded_bytes() == TELL_PHASES.to_bytes());
    let outcome = carry_out(&channel, tells_phases);
    if let Err(error) = &outcome {
        // If nobody listens any more there is nobody to tell.
        let _ = channel.send(&FromInside::Failed(error.clone()));
    }
    outcome
}

fn carry_out(channel: &InsideEnd, tells_phases: bool) -> Result<()> {
    // CVE-2016-9962: processes that are in the container already must not look into this one.
    nix::sys::prctl::set_dumpable(false).or_call(|| "prctl(PR_SET_DUMPABLE)")?;
    sys::fd::cloexec_from(3).or_call(|| "close_range(3, CLOEXEC)")?;
    // Directories that we make for mounts are not to depend on the caller.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    log::to_channel(channel, tells_phases);
    match Errand::from_bytes(&channel.receive_plan()?)? {
        Errand::Exec(plan) => exec::run(channel, &plan),
        Errand::Init(plan) => match &plan.namespaces.intermediate {
            Some(route) => intermediate::run(channel, &plan, route),
            None => init::run(channel, &plan).map(|never| match never {}),
        },
    }
}

/// The one place on this side that ends the process.
#[expect(clippy::exit, reason = "this process is ours alone")]
fn leave(status: i32) -> ! {
    std::process::exit(status)
}
