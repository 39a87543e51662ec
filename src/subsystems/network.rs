//! The network of a new network namespace: its loopback interface works.

use nix::sched::{CloneFlags, setns};

use crate::config::NamespaceKind;
use crate::error::{Error, OrCall, Result};
use crate::subsystems::doors::Inside;
use crate::subsystems::namespaces::host::namespace_of;

/// Brings up `lo`, as runc and crun do; programs expect 127.0.0.1 to be there.
pub fn bring_up_loopback(_: &Inside) -> Result<()> {
    crate::sys::network::bring_up_loopback().or_call(|| "ioctl(SIOCSIFFLAGS, \"lo\")")
}

/// The same in the network namespace of another process, by a thread that goes there.
pub fn bring_up_loopback_of(pid: i32) -> Result<()> {
    let there = || -> Result<()> {
        let namespace = namespace_of(pid, NamespaceKind::Network)?;
        setns(&namespace, CloneFlags::CLONE_NEWNET).or_call(|| "setns(net)")?;
        crate::sys::network::bring_up_loopback().or_call(|| "ioctl(SIOCSIFFLAGS, \"lo\")")
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, there);
        let thread = thread.map_err(|error| Error::io("start a thread", &error))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
