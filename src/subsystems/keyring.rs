//! The session keyring: what the caller has there (tickets, passwords of disks) is not the container's, and what the
//! container keeps there ends with it.
//!
//! COMPAT(runc): one of the container's own, by the name `_ses.ID`, by which further processes find it.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, OrCall, Result, Within};
use crate::fs::c_string;
use crate::subsystems::doors::{InRoot, Inside};
use crate::sys::keyring::{Serial, join_session, set_permissions};

/// All for who possesses it; its user may view, read and link it, with which the kernel makes one, and search it: that is
/// what joining by name takes of who does not possess it yet. (runc gives that to all others in a user namespace, where it
/// does not help: further processes have a keyring each.)
const PERMISSIONS: u32 = 0x3f1b_0000;

/// A container's, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring(String);

impl Keyring {
    /// That of the container `id`.
    pub fn of(id: &str) -> Self {
        Self(format!("_ses.{id}"))
    }
}

/// Makes it, for this process and those after it.
///
/// ORDER: in the container's user namespace, as its root: a keyring is found by name in the namespace of its maker alone.
pub fn create(_: &Inside, keyring: &Keyring) -> Result<()> {
    make(keyring)
}

/// Makes it in our own user namespace, for this thread and what it starts: CRIU, and so what that restores. (Further processes
/// in a user namespace do not find it by name: they have a keyring each.)
pub fn create_outside(keyring: &Keyring) -> Result<()> {
    make(keyring)
}

fn make(keyring: &Keyring) -> Result<()> {
    let Some(serial) = join_by_name(keyring)? else { return Ok(()) };
    set_permissions(serial, PERMISSIONS)
        .or_call(|| format!("keyctl(SETPERM, {:?}, {PERMISSIONS:#x})", keyring.0))
        .within(|| "session keyring")
}

/// Joins it. What has gone meanwhile is made anew.
pub fn join(_: &InRoot, keyring: &Keyring) -> Result<()> {
    join_by_name(keyring).map(drop)
}

/// `None`: there are no keyrings here.
fn join_by_name(keyring: &Keyring) -> Result<Option<Serial>> {
    match join_session(&c_string(&keyring.0)?) {
        Ok(serial) => Ok(Some(serial)),
        // A kernel without keys has none to protect; in a container of an engine a filter forbids the call.
        Err(errno @ (Errno::ENOSYS | Errno::EPERM)) => {
            log::debug!("the session keyring stays the caller's: keyctl(JOIN_SESSION_KEYRING): {errno}");
            Ok(None)
        }
        Err(errno) => {
            let error = Error::call(format!("keyctl(JOIN_SESSION_KEYRING, {:?})", keyring.0), errno);
            Err(match errno {
                Errno::EDQUOT => error.hint("raise kernel.keys.maxkeys and maxbytes, or see --no-new-keyring"),
                _ => error,
            })
            .within(|| "session keyring")
        }
    }
}
