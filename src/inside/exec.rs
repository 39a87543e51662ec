//! A further process in a container that runs: joins what the first one made, and becomes its program.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::program::{self, Becoming};
use crate::channel::{FromInside, InsideEnd};
use crate::config::NamespaceKind;
use crate::error::{OrCall, Result};
use crate::fs::rootdir::RootDir;
use crate::plan::{ExecPlan, StartRoute};
use crate::subsystems::doors::{InRoot, Inside};
use crate::subsystems::lsm::{self, AtExec};
use crate::subsystems::namespaces::clone_flag;
use crate::subsystems::process::inside as process;
use crate::subsystems::terminal::{self, Console};
use crate::subsystems::{keyring, namespaces};
use crate::timing::phase;

/// Enters the container. In a pid namespace only our children are, so there a copy of us becomes the program, as a child of
/// our parent, and we end.
pub fn run(channel: &InsideEnd, plan: &ExecPlan) -> Result<Infallible> {
    let inside = Inside::first_step();
    if plan.waits {
        phase("wait for the host", || channel.wait_for_go())?;
    }
    // Through the host's procfs, while it can be seen.
    let lsm = lsm::open_at_exec(&inside, &plan.lsm)?;
    if plan.keyring.is_some() {
        lsm::label_keys(&inside, &plan.lsm)?;
    }
    let in_root = phase("enter the namespaces", || enter(inside, plan))?;
    become_program(in_root, channel, plan, lsm)
}

fn enter(inside: Inside, plan: &ExecPlan) -> Result<InRoot> {
    let container = plan.container.take().or_call(|| "fcntl(pidfd)")?;
    let root: Option<OwnedFd> = plan.root.map(|root| root.take()).transpose().or_call(|| "fcntl(root)")?;
    let in_root = namespaces::inside::enter(inside, &container, plan.namespaces, root.as_ref())?;
    if let Some(keyring) = &plan.keyring {
        keyring::join(&in_root, keyring)?;
    }
    // Changing ids sets this anew, to what fs.suid_dumpable says.
    nix::sys::prctl::set_dumpable(false).or_call(|| "prctl(PR_SET_DUMPABLE)")?;
    Ok(in_root)
}

fn become_program(in_root: InRoot, channel: &InsideEnd, plan: &ExecPlan, lsm: AtExec) -> Result<Infallible> {
    let wanted = &plan.process;
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let root = RootDir::new(root.or_call(|| "open(\"/\")")?);
    if let Some(size) = wanted.terminal {
        let pty = terminal::make(&in_root, &root, size, wanted.user.uid, Console::Left)?;
        channel.send_with(&FromInside::Terminal { name: pty.name }, pty.master.as_fd())?;
    } else {
        process::hand_over_stdio(&in_root, &root, wanted)?;
    }
    let becoming = Becoming {
        channel,
        wanted,
        lsm,
        seccomp: plan.seccomp.as_ref(),
        passes_listener: plan.passes_listener,
        by_copy: plan.namespaces & clone_flag(NamespaceKind::Pid) != 0,
        has_session: false,
        start: StartRoute::Channel,
        hooks: None,
        preserved_fds: plan.preserved_fds,
        husk: plan.husk,
    };
    program::become_program(in_root, &root, &becoming)
}
