//! The state root and a container's directory in it, through descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, fstatat, mkdirat, mode_t};
use nix::unistd::{UnlinkatFlags, mkfifoat, unlinkat};

use super::id;
use super::lock::{self, Lock};
use super::record::{Record, VERSION};
use crate::error::{Error, Kind, OrCall, Result, Within, phrases};
use crate::fs::atomic;
use crate::plan::Snapshot;
use crate::subsystems::readiness;
use crate::sys;

const RECORD: &str = "corten.json";
/// See the front page.
pub const START: &str = "start.fifo";
/// Its name while create works.
pub const START_PENDING: &str = ".start.fifo";
/// See the front page.
pub const REPORT: &str = "report.fifo";
/// What further processes need to know.
const SNAPSHOT: &str = "exec.plan";
/// Everything of ours that can be in a container's directory beside the record.
const OURS: [&str; 5] = [".corten.json.new", SNAPSHOT, START, START_PENDING, REPORT];

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// `--root`.
#[derive(Debug)]
pub struct StateRoot {
    fd: OwnedFd,
    path: PathBuf,
}

impl StateRoot {
    /// Opens it; `None`: it is not there.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        match open(path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path: path.to_owned() })),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::call(format!("open({path:?})"), errno)).within(|| "state root"),
        }
    }

    /// Opens it, and makes it when it is not there (0711, as runc, so that a mapped root can reach its own).
    pub fn find_or_make(path: &Path) -> Result<Self> {
        if let Some(found) = Self::find(path)? {
            return Ok(found);
        }
        let mut walked = PathBuf::new();
        for component in path.components() {
            walked.push(component);
            match mkdirat(AT_FDCWD, &walked, mode(0o711)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => {
                    return Err(Error::call(format!("mkdir({walked:?})"), errno)).within(|| "state root");
                }
            }
        }
        let missing = || Error::call(format!("open({path:?})"), Errno::ENOENT).within("state root");
        Self::find(path)?.ok_or_else(missing)
    }

    /// Its path, for messages and for programs that need one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reserves an id and locks it: of two that try, one gets it. Dropped without [`ContainerDir::keep`], the reservation
    /// is given back.
    pub fn claim(&self, id: &str) -> Result<(ContainerDir, Lock)> {
        id::check(id)?;
        let taken = || Error::new(Kind::AlreadyExists, phrases::ID_TAKEN).within(quoted(id));
        match mkdirat(&self.fd, id, mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Err(taken()),
            Err(errno) => {
                return Err(Error::call(format!("mkdirat({id:?})"), errno)).within(|| self.within());
            }
        }
        let claimed = self.lock_claimed(id).inspect_err(|_| {
            // Empty; or it is somebody else's by now, and is not.
            let _ = unlinkat(&self.fd, id, UnlinkatFlags::RemoveDir);
        });
        claimed?.ok_or_else(taken)
    }

    /// Between the reservation and the lock a delete --force may have taken it for something that was left behind, and another
    /// create may have made it anew: it is ours if it still has its name and nobody has written a record. `None`: it is not.
    fn lock_claimed(&self, id: &str) -> Result<Option<(ContainerDir, Lock)>> {
        let mut directory = self.open(id)?;
        let lock = lock::exclusive(&directory)?;
        if !directory.has_its_name()? || directory.read_record()?.is_some() {
            return Ok(None);
        }
        directory.given_back = true;
        Ok(Some((directory, lock)))
    }

    /// Opens a container's directory.
    pub fn open(&self, id: &str) -> Result<ContainerDir> {
        id::check(id)?;
        let fd = self.open_directory(id)?.ok_or_else(|| does_not_exist(id))?;
        let root = self.fd.try_clone().or_call(|| "dup").within(|| self.within())?;
        Ok(ContainerDir { fd, root, id: id.to_owned(), given_back: false })
    }

    /// The ids of all containers. What is not ours is not listed.
    pub fn ids(&self) -> Result<Vec<String>> {
        let mut entries = nix::dir::Dir::openat(&self.fd, ".", DIRECTORY, Mode::empty())
            .or_call(|| "opendir")
            .within(|| self.within())?;
        let mut ids = Vec::new();
        for entry in entries.iter() {
            let entry = entry.or_call(|| "readdir").within(|| self.within())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_ours =
                || fstatat(&self.fd, format!("{name}/{RECORD}").as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
            if id::check(&name).is_ok() && is_ours() {
                ids.push(name);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn open_directory(&self, id: &str) -> Result<Option<OwnedFd>> {
        match openat(&self.fd, id, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(errno) => Err(Error::call(format!("openat({id:?})"), errno)).within(|| self.within()),
        }
    }

    fn within(&self) -> String {
        format!("state root {:?}", self.path)
    }
}

fn mode(bits: mode_t) -> Mode {
    Mode::from_bits_truncate(bits)
}

fn quoted(id: &str) -> String {
    format!("container {id:?}")
}

/// The error that engines know for a container that is not there.
pub fn does_not_exist(id: &str) -> Error {
    Error::new(Kind::NotFound, phrases::DOES_NOT_EXIST).within(quoted(id))
}

/// A container's directory.
#[derive(Debug)]
pub struct ContainerDir {
    fd: OwnedFd,
    root: OwnedFd,
    id: String,
    /// The reservation of an incomplete container, which goes when this is dropped.
    given_back: bool,
}

impl Drop for ContainerDir {
    fn drop(&mut self) {
        if self.given_back
            && let Err(error) = self.remove()
        {
            log::warn!("state directory of {:?} stays: {error}", self.id);
        }
    }
}

impl ContainerDir {
    /// The container is complete: its directory stays.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.given_back = false;
        self
    }

    /// What create decided. `None`: no record, so this is not a container of ours, or one that was never made.
    pub fn read_record(&self) -> Result<Option<Record>> {
        let within = || self.within();
        let file = match openat(&self.fd, RECORD, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(Error::call(format!("openat({RECORD:?})"), errno)).within(within),
        };
        let content = sys::fd::read_all(&file).or_call(|| format!("read({RECORD:?})")).within(within)?;
        let record: Record = serde_json::from_slice(&content)
            .map_err(|error| Error::new(Kind::Failed, format!("{RECORD}: {error}")))
            .within(within)?;
        if record.version != VERSION {
            let why = format!("{RECORD} has format {}, this program knows {VERSION}", record.version);
            return Err(Error::new(Kind::Unsupported, why)).within(within);
        }
        Ok(Some(record))
    }

    /// Writes it, whole or not at all.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        let content = serde_json::to_vec(record).map_err(|error| Error::new(Kind::Failed, error.to_string()))?;
        atomic::write(&self.fd, RECORD, &content, mode(0o600)).within(|| self.within())
    }

    /// Writes what further processes need to know. Nobody looks for it before the container is complete.
    pub fn write_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        let writing = || -> Result<()> {
            let content = postcard::to_stdvec(snapshot).map_err(|error| Error::new(Kind::Failed, error.to_string()))?;
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let file = openat(&self.fd, SNAPSHOT, flags, mode(0o600)).or_call(|| format!("openat({SNAPSHOT:?})"))?;
            sys::fd::write_all(&file, &content).or_call(|| format!("write({SNAPSHOT:?})"))
        };
        writing().within(|| self.within())
    }

    /// What [`ContainerDir::write_snapshot`] wrote.
    pub fn read_snapshot(&self) -> Result<Snapshot> {
        let reading = || -> Result<Snapshot> {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file = openat(&self.fd, SNAPSHOT, flags, Mode::empty()).or_call(|| format!("openat({SNAPSHOT:?})"))?;
            let content = sys::fd::read_all(&file).or_call(|| format!("read({SNAPSHOT:?})"))?;
            postcard::from_bytes(&content).map_err(|error| Error::new(Kind::Failed, format!("{SNAPSHOT}: {error}")))
        };
        reading().within(|| self.within())
    }

    /// Makes the directory for the socket on which the program says that it is ready.
    pub fn make_notify_directory(&self) -> Result<()> {
        let making = || -> nix::Result<()> {
            mkdirat(&self.fd, readiness::DIRECTORY, mode(0o755))?;
            // Whatever our umask is: any user of the container must find the socket.
            fchmodat(&self.fd, readiness::DIRECTORY, mode(0o755), FchmodatFlags::NoFollowSymlink)
        };
        making().or_call(|| format!("mkdirat({:?})", readiness::DIRECTORY)).within(|| self.within())
    }

    /// Opens it. `None`: the container was not created for that.
    pub fn open_notify_directory(&self) -> Result<Option<OwnedFd>> {
        match openat(&self.fd, readiness::DIRECTORY, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => {
                Err(Error::call(format!("openat({:?})", readiness::DIRECTORY), errno)).within(|| self.within())
            }
        }
    }

    /// Makes a FIFO and opens it at both ends, so that neither opening nor reading it ever meets an end of file.
    pub fn make_fifo(&self, name: &str) -> Result<OwnedFd> {
        let making = || -> Result<OwnedFd> {
            mkfifoat(&self.fd, name, mode(0o600)).or_call(|| format!("mkfifoat({name:?})"))?;
            openat(&self.fd, name, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
                .or_call(|| format!("openat({name:?})"))
        };
        making().within(|| self.within())
    }

    /// Opens one end of a FIFO without waiting for the other.
    pub fn open_fifo(&self, name: &str, end: OFlag) -> nix::Result<OwnedFd> {
        openat(&self.fd, name, end | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// Whether there is a FIFO of that name.
    pub fn has_fifo(&self, name: &str) -> bool {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFIFO.bits())
    }

    /// Create is complete: the container can be started.
    pub fn publish_start(&self) -> Result<()> {
        renameat(&self.fd, START_PENDING, &self.fd, START)
            .or_call(|| format!("renameat({START_PENDING:?}, {START:?})"))
            .within(|| self.within())
    }

    /// The container was started: the FIFOs have done their work.
    pub fn remove_fifos(&self) {
        for name in [START, REPORT] {
            // What stays goes with the directory.
            let _ = unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Removes what is ours, and the directory when nothing else is in it. A directory of another runtime stays.
    pub fn remove(&self) -> Result<()> {
        let within = || self.within();
        // ORDER: we hold the lock, so nobody else takes our directory away; but it may be gone already, and the name be
        // somebody else's new reservation.
        if !self.has_its_name().within(within)? {
            return Ok(());
        }
        let mut is_ours = false;
        for name in OURS {
            is_ours |= self.remove_file(name).within(within)?;
        }
        if is_ours || self.has_record() {
            self.remove_notify_directory().within(within)?;
        }
        // ORDER: the last one: as long as something cannot be removed, everybody sees that there is a container.
        self.remove_file(RECORD).within(within)?;
        match unlinkat(&self.root, self.id.as_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY) => Ok(()),
            Err(errno) => Err(Error::call(format!("rmdir({:?})", self.id), errno)).within(within),
        }
    }

    /// Whether it was there.
    fn remove_file(&self, name: &str) -> Result<bool> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(Error::call(format!("unlinkat({name:?})"), errno)),
        }
    }

    fn has_record(&self) -> bool {
        fstatat(&self.fd, RECORD, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// With all that is in it: a privileged container can have made the mount writable.
    fn remove_notify_directory(&self) -> Result<()> {
        let path = format!("{}/{}", sys::fd::proc_path(&self.fd), readiness::DIRECTORY);
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
                Err(Error::call(format!("remove({:?})", readiness::DIRECTORY), errno))
            }
            _ => Ok(()),
        }
    }

    fn within(&self) -> String {
        format!("state of container {:?}", self.id)
    }

    fn has_its_name(&self) -> Result<bool> {
        let ours = fstat(&self.fd).or_call(|| "fstat")?;
        match fstatat(&self.root, self.id.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(Error::call(format!("fstatat({:?})", self.id), errno)),
        }
    }
}

impl AsFd for ContainerDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
