//! The network of a new network namespace: its loopback interface works.

use nix::sched::{CloneFlags, setns};

use crate::config::NamespaceKind;
use crate::error::{Error, OrCall, Result};
use crate::subsystems::doors::Inside;
use crate::subsystems::namespaces::host::namespace_of;
use crate::sys;

/// Brings up `lo`, as runc and crun do; programs expect 127.0.0.1 to be there.
pub fn bring_up_loopback(_: &Inside) -> Result<()> {
    bring_up()
}

fn bring_up() -> Result<()> {
    sys::network::bring_up_loopback().map_err(|(call, errno)| Error::call(call, errno))
}

/// The same in the network namespace of another process, by a thread that goes there.
pub fn bring_up_loopback_of(pid: i32) -> Result<()> {
    let there = || -> Result<()> {
        let namespace = namespace_of(pid, NamespaceKind::Network)?;
        setns(&namespace, CloneFlags::CLONE_NEWNET).or_call(|| "setns(net)")?;
        bring_up()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, there);
        let thread = thread.or_call(|| "pthread_create")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
