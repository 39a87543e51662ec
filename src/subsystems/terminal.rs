//! `process.terminal`: a pseudoterminal of the container's own devpts.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use crate::config::process::Terminal;
use crate::error::{Error, Kind, OrCall, Refusal, Result, Within};
use crate::fs::rootdir::{Missing, RootDir, file_type};
use crate::subsystems::doors::InRoot;
use crate::sys;
use crate::sys::mount::{Reach, attach, clone_tree};
use crate::sys::script::Script;
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

/// Makes a pseudoterminal and makes it standard input, output and error. It becomes the controlling one later
/// ([`make_controlling`]).
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

/// CVE-2025-52565: an image can put anything at `/dev/pts` and at `/dev/pts/ptmx`. The directory is held and is a devpts'
/// root, and in it nothing is followed or crossed: there is nothing of that name there but its multiplexer.
fn open_ptmx(root: &RootDir) -> Result<OwnedFd> {
    const PATH: &str = "/dev/pts/ptmx";
    const DEVPTS_MAGIC: i64 = 0x1cd1;
    const ROOT_INODE: u64 = 1;
    let directory = root.find(Path::new("/dev/pts"))?.ok_or_else(|| {
        Error::call("openat2(\"/dev/pts\")", Errno::ENOENT).hint("a devpts must be mounted at /dev/pts")
    })?;
    let magic = fstatfs(&directory).or_call(|| "fstatfs(\"/dev/pts\")")?.filesystem_type().0;
    let inode = fstat(&directory).or_call(|| "fstat(\"/dev/pts\")")?.st_ino;
    let foreign = || Error::new(Kind::Denied, format!("{PATH} is not the multiplexer of a devpts"));
    if magic != DEVPTS_MAGIC || inode != ROOT_INODE {
        return Err(foreign());
    }
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS;
    match sys::fd::openat2(&directory, c"ptmx", OFlag::O_RDWR | OFlag::O_NOCTTY, Mode::empty(), resolve) {
        // Something is mounted over it.
        Err(Errno::EXDEV) => Err(foreign()),
        opened => opened.or_call(|| format!("openat2({PATH:?})")),
    }
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

/// Writes how the terminal becomes that of the session, which only its leader can have done.
pub fn make_controlling(script: &mut Script) {
    let refused = script.frame(Refusal::of("ioctl(TIOCSCTTY)").within("process.terminal"));
    script.make_controlling(0, refused);
}

fn use_as_stdio(slave: &OwnedFd) -> Result<()> {
    dup2_stdin(slave.as_fd()).or_call(|| "dup2(pty, 0)")?;
    dup2_stdout(slave.as_fd()).or_call(|| "dup2(pty, 1)")?;
    dup2_stderr(slave.as_fd()).or_call(|| "dup2(pty, 2)")
}
