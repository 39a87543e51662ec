//! The network of a new network namespace: its loopback interface works.

use crate::error::{OrCall, Result};
use crate::subsystems::doors::Inside;

/// Brings up `lo`, as runc and crun do; programs expect 127.0.0.1 to be there.
pub fn bring_up_loopback(_: &Inside) -> Result<()> {
    crate::sys::network::bring_up_loopback().or_call(|| "ioctl(SIOCSIFFLAGS, \"lo\")")
}
