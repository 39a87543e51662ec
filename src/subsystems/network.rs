//! The network of a new network namespace: its loopback interface works.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{OrCall, Result};
use crate::subsystems::doors::Inside;
use crate::sys;

/// Brings up `lo`, as runc and crun do; programs expect 127.0.0.1 to be there.
pub fn bring_up_loopback(_: &Inside) -> Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
    let socket = socket.or_call(|| "socket(AF_INET)")?;
    sys::network::bring_up_loopback(&socket).or_call(|| "ioctl(SIOCSIFFLAGS, \"lo\")")
}
