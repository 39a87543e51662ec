//! Files that are whole or not there: written beside their place and renamed (rename(2)).

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, OrCall, Result};
use crate::sys;

/// Puts `content` at `name` in the directory `dir`, replacing what is there.
///
/// `name` has no slash. A reader sees the old file or the new one; a crash leaves the old one and perhaps `.name.new`.
pub fn write(dir: impl AsFd, name: &str, content: &[u8], mode: Mode) -> Result<()> {
    let temporary = format!(".{name}.new");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let create = || openat(dir.as_fd(), temporary.as_str(), flags, mode);
    let file = match create() {
        // Left by a process that was killed in the middle of this.
        Err(Errno::EEXIST) => {
            unlinkat(dir.as_fd(), temporary.as_str(), UnlinkatFlags::NoRemoveDir)
                .or_call(|| format!("unlinkat({temporary:?})"))?;
            create()
        }
        other => other,
    }
    .or_call(|| format!("openat({temporary:?}, O_CREAT|O_EXCL)"))?;
    let undo = |error: Error| {
        // The cause is what matters; a leftover is removed by the next writer.
        let _ = unlinkat(dir.as_fd(), temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        error
    };
    sys::fd::write_all(&file, content).or_call(|| format!("write({temporary:?})")).map_err(undo)?;
    renameat(dir.as_fd(), temporary.as_str(), dir.as_fd(), name)
        .or_call(|| format!("renameat({temporary:?}, {name:?})"))
        .map_err(undo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_survives_a_leftover() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        std::fs::write(dir.path().join(".pid.new"), "leftover").unwrap();
        write(&fd, "pid", b"1", Mode::from_bits_truncate(0o644)).unwrap();
        write(&fd, "pid", b"22", Mode::from_bits_truncate(0o644)).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("pid")).unwrap(), "22");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_symlink_is_replaced_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("victim"), "untouched").unwrap();
        std::os::unix::fs::symlink("victim", dir.path().join("pid")).unwrap();
        write(&fd, "pid", b"1", Mode::from_bits_truncate(0o644)).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("victim")).unwrap(), "untouched");
    }
}
