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

pub use log::set_logger;

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};

use crate::channel::{FromInside, InsideEnd, SEALED_NAME, TELL_PHASES, inside_end};
use crate::error::{Error, OrCall, Result};
use crate::plan::{Errand, ErrandRef};
use crate::sys;

/// If this process is a sealed child, becomes the container and does not return; otherwise there is nothing to do.
pub fn run_if_sealed() {
    let mut arguments = std::env::args_os();
    if arguments.next().is_some_and(|name| name.as_encoded_bytes() == SEALED_NAME.to_bytes()) {
        sealed(arguments.next(), arguments.next())
    }
}

fn sealed(channel: Option<OsString>, phases: Option<OsString>) -> ! {
    let number = channel.and_then(|number| number.to_str()?.parse::<u32>().ok());
    // Only the runtime itself starts this.
    let Some(number) = number.filter(|number| *number > 2).and_then(|number| i32::try_from(number).ok()) else {
        leave(1)
    };
    let channel = InsideEnd::new(sys::fd::adopt(number));
    let tells_phases = phases.is_some_and(|word| word.as_encoded_bytes() == TELL_PHASES.to_bytes());
    let prepared = prepare(&channel, tells_phases);
    let plan = prepared.and_then(|()| channel.receive_plan()).and_then(|plan| Errand::from_bytes(&plan));
    match plan {
        Ok(errand) => carry_out(&channel, errand.borrow()),
        Err(error) => fail(channel.as_fd(), error),
    }
}

/// The same in a copy of the runtime, which needs nobody to send it the plan. It must have had one thread only.
pub fn forked(channel: InsideEnd, errand: ErrandRef<'_>) -> ! {
    match prepare(&channel, crate::timing::is_wanted()) {
        Ok(()) => carry_out(&channel, errand),
        Err(error) => fail(channel.as_fd(), error),
    }
}

fn prepare(channel: &InsideEnd, tells_phases: bool) -> Result<()> {
    // CVE-2016-9962: processes that are in the container already must not look into this one.
    nix::sys::prctl::set_dumpable(false).or_call(|| "prctl(PR_SET_DUMPABLE)")?;
    sys::fd::cloexec_from(3).or_call(|| "close_range(3, CLOEXEC)")?;
    // Directories that we make for mounts are not to depend on the caller.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    log::to_channel(channel, tells_phases);
    Ok(())
}

fn carry_out(channel: &InsideEnd, errand: ErrandRef<'_>) -> ! {
    let outcome = match errand {
        ErrandRef::Exec(plan) => exec::run(channel, plan),
        ErrandRef::Init(plan) => match &plan.namespaces.intermediate {
            Some(route) => intermediate::run(channel, plan, route),
            None => init::run(channel, plan),
        },
    };
    match outcome {
        Err(error) => fail(channel.as_fd(), error),
    }
}

/// Says why, and ends.
fn fail(listener: BorrowedFd<'_>, error: Error) -> ! {
    // If nobody listens any more there is nobody to tell.
    let _ = inside_end::send(listener, &FromInside::Failed(error));
    leave(1)
}

/// The one place on this side that ends the process.
fn leave(status: i32) -> ! {
    sys::clone::end(status)
}
