//! A procfs that is one: verified, and opened below without crossing into anything mounted over it.
//!
//! CVE-2019-16884, CVE-2025-52881: a write to "/proc/self/attr/exec" or "/proc/sys/…" by path goes wherever whoever
//! controls the mounts wants it to go. Every write of ours to procfs starts at a handle from here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, ResolveFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::c_path;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::sys;

/// A verified root of a procfs.
#[derive(Debug)]
pub struct Procfs(OwnedFd);

impl Procfs {
    /// The one at `/proc` of the calling process's root.
    pub fn mounted() -> Result<Self> {
        let root = open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .or_call(|| "open(\"/proc\")")?;
        Self::verify(root)
    }

    /// A fresh one that is mounted nowhere, so nothing can be mounted over its files (fsopen(2), since 5.2).
    pub fn private() -> Result<Self> {
        use sys::mount::{Context, attr};
        let context = Context::open(c"proc").or_call(|| "fsopen(\"proc\")")?;
        context.create().or_call(|| "fsconfig(\"proc\", CREATE)")?;
        let root = context.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC).or_call(|| "fsmount(\"proc\")")?;
        Self::verify(root)
    }

    fn verify(root: OwnedFd) -> Result<Self> {
        const ROOT_INODE: u64 = 1;
        let magic = fstatfs(&root).or_call(|| "fstatfs(\"/proc\")")?.filesystem_type();
        let inode = fstat(&root).or_call(|| "fstat(\"/proc\")")?.st_ino;
        if magic == PROC_SUPER_MAGIC && inode == ROOT_INODE {
            Ok(Self(root))
        } else {
            Err(Error::new(Kind::Denied, "/proc is not a procfs"))
        }
    }

    /// Opens `path`, relative to the root, through nothing but this procfs itself: no symlink, no other mount.
    pub fn open(&self, path: &Path, flags: OFlag) -> Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_XDEV
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_SYMLINKS;
        sys::fd::openat2(&self.0, &c_path(path)?, flags, Mode::empty(), resolve)
            .or_call(|| format!("openat2(\"/proc/{}\")", path.display()))
    }

    /// Writes a file in one write(2), as procfs wants it.
    pub fn write(&self, path: &Path, content: &str) -> Result<()> {
        let file = self.open(path, OFlag::O_WRONLY)?;
        let call = || format!("write(\"/proc/{}\", {content:?})", path.display());
        let written = nix::unistd::write(&file, content.as_bytes()).or_call(call)?;
        if written == content.len() {
            Ok(())
        } else {
            Err(Error::call(call(), Errno::EIO)).within(|| "only a part was taken")
        }
    }

    /// Reads a file.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let file = self.open(path, OFlag::O_RDONLY)?;
        sys::fd::read_all(&file).or_call(|| format!("read(\"/proc/{}\")", path.display()))
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// When process `pid` started, in clock ticks since boot: with the pid it names a process for ever, the pid alone does
/// not. `None`: there is no such process, or it is dead and only waits to be reaped.
pub fn start_time(pid: i32) -> Result<Option<u64>> {
    let stat = read_stat(pid)?;
    Ok(stat.filter(|stat| !matches!(stat.state, 'Z' | 'X' | 'x')).map(|stat| stat.start))
}

/// A thread that no signal reaches.
#[derive(Debug)]
pub struct Uninterruptible {
    /// Of the program, at most 15 bytes.
    pub name: String,
    /// The kernel's function; `0` when the kernel does not tell.
    pub place: String,
}

/// Whether a thread waits where no signal reaches it. `None`: it does not, or it is gone.
pub fn uninterruptible(thread: i32) -> Result<Option<Uninterruptible>> {
    let Some(Stat { name, state: 'D', .. }) = read_stat(thread)? else { return Ok(None) };
    let place = read_unless_gone(&format!("/proc/{thread}/wchan"))?;
    Ok(place.map(|place| Uninterruptible { name, place: String::from_utf8_lossy(&place).into_owned() }))
}

/// proc_pid_stat(5), as far as we use it.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    start: u64,
}

fn read_stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    let Some(content) = read_unless_gone(&path)? else { return Ok(None) };
    let stat = parse_stat(&content);
    stat.map(Some).ok_or_else(|| Error::new(Kind::Failed, format!("{path} is not as proc_pid_stat(5) says")))
}

/// `None`: there is no such process.
fn read_unless_gone(path: &str) -> Result<Option<Vec<u8>>> {
    match open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(file) => match sys::fd::read_all(&file) {
            Ok(content) => Ok(Some(content)),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(Error::call(format!("read({path:?})"), errno)),
        },
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(errno) => Err(Error::call(format!("open({path:?})"), errno)),
    }
}

/// Field 3 is the state and field 22 the start time; field 2, the name, may hold anything, also brackets and spaces.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let before_name = stat.iter().position(|byte| *byte == b'(')?;
    let behind_name = stat.iter().rposition(|byte| *byte == b')')?;
    let name = String::from_utf8_lossy(stat.get(before_name + 1..behind_name)?).into_owned();
    let text = std::str::from_utf8(stat.get(behind_name + 1..)?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some(Stat { name, state, start })
}

/// Reads a file of the runtime's own procfs, or sysfs, by its usual path: facts about ourselves and the machine.
pub fn read_own(path: &str) -> Result<String> {
    let file = nix::fcntl::openat(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .or_call(|| format!("open({path:?})"))?;
    let bytes = sys::fd::read_all(&file).or_call(|| format!("read({path:?})"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A path of proc_pid_mountinfo(5), where space, tab, newline and backslash are written as three octal digits.
pub fn unescaped(path: &str) -> String {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    codes.iter().fold(path.to_owned(), |path, (code, letter)| path.replace(code, letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let rest = "1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 8 9";
        for (name, state) in [("sh", 'S'), ("a) Z (b", 'R'), ("sh", 'Z'), ("", 'D')] {
            let expected = Some(Stat { name: name.to_owned(), state, start: 777 });
            assert_eq!(parse_stat(format!("12 ({name}) {state} {rest}").as_bytes()), expected, "{name} {state}");
        }
        assert_eq!(parse_stat(b"12 (sh"), None);
    }

    #[test]
    fn we_are_alive_and_nobody_has_pid_0() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(pid).unwrap().is_some());
        assert_eq!(start_time(i32::MAX).unwrap(), None);
    }

    #[test]
    fn only_a_procfs_is_taken_for_one() {
        let proc = Procfs::mounted().unwrap();
        assert!(!proc.read(Path::new("version")).unwrap().is_empty());
        // A magic link leads out of the filesystem.
        assert!(proc.open(Path::new("self/cwd"), OFlag::O_PATH).is_err());
        let directory = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(Procfs::verify(directory).unwrap_err().to_string(), "/proc is not a procfs");
    }
}
