//! `process.terminal`: a pseudoterminal of the container's own devpts.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::sys::statfs::fstatfs;
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use crate::config::process::Terminal;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::rootdir::{Missing, RootDir, file_type};
use crate::subsystems::doors::InRoot;
use crate::sys::mount::{Reach, attach, clone_tree};
use crate::sys::tty;

/// A new pseudoterminal.
#[derive(Debug)]
pub struct Pty {
    /// For the engine, or for the relay of a foreground `run`.
    pub master: OwnedFd,
    /// `/dev/pts/N`, as the container sees it.
    pub name: String,
}

/// What becomes of `/dev/console`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// The terminal is bound there: the container's own.
    Bound,
    /// It stays as it is: the terminal is a further process's.
    Left,
}

/// Makes a pseudoterminal and makes it standard input, output and error.
pub fn make(in_root: &InRoot, root: &RootDir, terminal: Terminal, uid: u32, console: Console) -> Result<Pty> {
    let making = || -> Result<Pty> {
        let master = open_ptmx(root)?;
        tty::unlock(&master).or_call(|| "ioctl(TIOCSPTLCK)")?;
        let slave = tty::peer(&master).or_call(|| "ioctl(TIOCGPTPEER)")?;
        let number = tty::number(&master).or_call(|| "ioctl(TIOCGPTN)")?;
        if let Some(size) = terminal.size {
            tty::set_size(&master, size).or_call(|| "ioctl(TIOCSWINSZ)").within(|| "process.consoleSize")?;
        }
        match console {
            Console::Bound => bind_console(in_root, root, &slave)?,
            Console::Left => {}
        }
        // The group is devpts' `gid=` option's.
        fchown(&slave, Some(Uid::from_raw(uid)), None).or_call(|| format!("fchown(pty, {uid})"))?;
        use_as_stdio(&slave)?;
        Ok(Pty { master, name: format!("/dev/pts/{number}") })
    };
    making().within(|| "process.terminal")
}

/// CVE-2025-52565: what an image put at this path is only taken when it is the multiplexer of a devpts.
fn open_ptmx(root: &RootDir) -> Result<OwnedFd> {
    const PATH: &str = "/dev/pts/ptmx";
    let handle = root.find_itself(Path::new(PATH))?.ok_or_else(|| {
        Error::call(format!("openat2({PATH:?})"), Errno::ENOENT).hint("a devpts must be mounted at /dev/pts")
    })?;
    let refused = || Error::new(Kind::Denied, format!("{PATH} is not the multiplexer of a devpts"));
    if !is_multiplexer(&handle)? {
        return Err(refused());
    }
    // ORDER: verified before it is opened, because opening some devices has effects, and afterwards, because it may have
    // been exchanged meanwhile.
    let opened = root.open(Path::new(PATH), OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW)?;
    if is_multiplexer(&opened)? { Ok(opened) } else { Err(refused()) }
}

fn is_multiplexer(file: &OwnedFd) -> Result<bool> {
    const DEVPTS_MAGIC: i64 = 0x1cd1;
    let magic = fstatfs(file).or_call(|| "fstatfs")?.filesystem_type().0;
    let stat = fstat(file).or_call(|| "fstat")?;
    Ok(magic == DEVPTS_MAGIC && stat.st_rdev == makedev(5, 2) && file_type(file)? == SFlag::S_IFCHR)
}

fn bind_console(_: &InRoot, root: &RootDir, slave: &OwnedFd) -> Result<()> {
    const PATH: &str = "/dev/console";
    let target = match root.find_itself(Path::new(PATH))? {
        Some(existing) if file_type(&existing)? == SFlag::S_IFLNK => {
            return Err(Error::new(Kind::Denied, format!("{PATH} is a symlink")));
        }
        Some(existing) => existing,
        None => root.find_or_make(Path::new(PATH), Missing::File)?,
    };
    let copy = clone_tree(slave, c"", Reach::Mount).or_call(|| "open_tree(pty, CLONE)")?;
    attach(copy, target).or_call(|| format!("move_mount({PATH:?})"))
}

fn use_as_stdio(slave: &OwnedFd) -> Result<()> {
    // We lead a session since the first step, so it can have a controlling terminal.
    tty::make_controlling(slave).or_call(|| "ioctl(TIOCSCTTY)")?;
    dup2_stdin(slave.as_fd()).or_call(|| "dup2(pty, 0)")?;
    dup2_stdout(slave.as_fd()).or_call(|| "dup2(pty, 1)")?;
    dup2_stderr(slave.as_fd()).or_call(|| "dup2(pty, 2)")
}
