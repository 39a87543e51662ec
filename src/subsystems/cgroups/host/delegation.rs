//! Giving a v2 group to the container's user (Documentation/admin-guide/cgroup-v2.rst, "Delegation").

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchown, fchownat};

use super::directory::Directory;
use crate::error::{Error, OrCall, Result};

/// Which files may be given away, says the kernel (since 4.15).
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// SPEC(config-linux, "Cgroup ownership"): when it does not.
const WITHOUT_LIST: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Makes `user`, as the host knows him, the owner of the group and of those of its files with which he can make groups in
/// it and move processes between them. The limits stay ours.
pub fn give(group: &Directory, user: u32) -> Result<()> {
    let owner = Some(Uid::from_raw(user));
    fchown(group, owner, None).or_call(|| format!("fchown({user})"))?;
    for name in list()?.lines() {
        match fchownat(group, name, owner, None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // Of a controller that is not enabled.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Error::call(format!("fchownat({name:?}, {user})"), errno)),
        }
    }
    Ok(())
}

fn list() -> Result<String> {
    match std::fs::read_to_string(LIST) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(WITHOUT_LIST.to_owned()),
        other => other.or_call(|| format!("read({LIST:?})")),
    }
}
