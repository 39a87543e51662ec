//! What `checkpoint` and `restore` have in common: the directories, CRIU's options, and what its log says.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{AccessFlags, Gid, Uid, access, fchown, fchownat};
use prost::Message;

use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::{atomic, procfs};
use crate::machine::criu;
use crate::machine::criu::messages::{CgroupImage, CgroupsMode, Options};
use crate::subsystems::checkpoint::config_file;
use crate::subsystems::namespaces::clone_flag;
use crate::sys;

/// What both commands are told about CRIU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriuOptions {
    /// The directory with the images.
    pub images: PathBuf,
    /// Where CRIU writes its log and statistics, and has its files; `None`: beside the images.
    pub work: Option<PathBuf>,
    /// Connections of TCP that are established go along.
    pub tcp_established: bool,
    /// So do one's ends of Unix sockets whose other ends are outside.
    pub ext_unix_sk: bool,
    /// It has a session, or a terminal, from outside.
    pub shell_job: bool,
    /// File locks go along.
    pub file_locks: bool,
    /// What is in an image twice is punched out of the parent's.
    pub auto_dedup: bool,
    /// Memory is fetched when it is used.
    pub lazy_pages: bool,
    /// How much of the cgroups goes along; `None`: what is needed.
    pub cgroups: Option<CgroupsMode>,
}

impl CriuOptions {
    /// `has_groups` decides where nobody else does: CRIU need not look at the cgroups of who has none below his own, to do which
    /// it mounts the hierarchy, with what [`crate::subsystems::cgroups::host::HierarchyOptions`] tells.
    pub fn cgroups_mode(&self, has_groups: bool) -> CgroupsMode {
        self.cgroups.unwrap_or(if has_groups { CgroupsMode::Default } else { CgroupsMode::Ignore })
    }
}

/// The directories of a checkpoint, and the name of CRIU's log.
#[derive(Debug)]
pub struct Images {
    directory: OwnedFd,
    path: PathBuf,
    work: PathBuf,
    log: &'static str,
}

/// COMPAT(runc): a list of names, by the number of the stream.
const STREAMS: &str = "descriptors.json";
/// CRIU's; without it a directory has no checkpoint.
const INVENTORY: &str = "inventory.img";

impl Images {
    /// For a new checkpoint: makes what is missing.
    pub fn to_write(options: &CriuOptions) -> Result<Self> {
        Self::open(options, make_directories, "dump.log")
    }

    /// For one that is there.
    pub fn to_read(options: &CriuOptions) -> Result<Self> {
        let images = Self::open(options, |_| Ok(()), "restore.log")?;
        let path = options.images.join(INVENTORY);
        let missing = || Error::call(format!("access({path:?})"), Errno::ENOENT).within("--image-path");
        if !path.exists() { Err(missing()) } else { Ok(images) }
    }

    fn open(options: &CriuOptions, prepare: impl Fn(&Path) -> Result<()>, log: &'static str) -> Result<Self> {
        let path = options.images.clone();
        let opening = || prepare(&path).and_then(|()| open_directory(&path));
        let directory = opening().within(|| "--image-path")?;
        let (flag, work) = match &options.work {
            Some(work) => ("--work-path", work.clone()),
            None => ("--image-path", path.clone()),
        };
        // Before CRIU has a log it cannot say why it has none.
        let writable = || access(&work, AccessFlags::W_OK).or_call(|| format!("access({work:?})"));
        let opening = || make_directories(&work).and_then(|()| open_directory(&work));
        opening().and_then(|_| writable()).within(|| flag)?;
        Ok(Self { directory, path, work, log })
    }

    /// What CRIU opens: see [`Images::options`].
    pub fn directories(&self) -> [&Path; 2] {
        [&self.path, &self.work]
    }

    /// The options that both commands have; `directories` are ours, opened.
    pub fn options(
        &self,
        options: &CriuOptions,
        cgroups: CgroupsMode,
        annotations: &BTreeMap<String, String>,
        directories: &[OwnedFd],
    ) -> Options {
        let number = |index: usize| directories.get(index).map(AsRawFd::as_raw_fd);
        // COMPAT(runc): devices and addresses of a network namespace are the engine's.
        let empty_namespaces = u32::try_from(clone_flag(crate::config::NamespaceKind::Network)).ok();
        Options {
            images_dir_fd: number(0).unwrap_or(-1),
            work_dir_fd: number(1),
            log_level: Some(LOG_LEVEL),
            log_file: Some(self.log.to_owned()),
            notify_scripts: Some(true),
            tcp_established: Some(options.tcp_established),
            ext_unix_sk: Some(options.ext_unix_sk),
            shell_job: Some(options.shell_job),
            file_locks: Some(options.file_locks),
            auto_dedup: Some(options.auto_dedup),
            lazy_pages: Some(options.lazy_pages),
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(cgroups.into()),
            empty_namespaces,
            orphan_pts_master: Some(true),
            config_file: config_file(annotations),
            ..Options::default()
        }
    }

    /// Keeps the names of the standard streams.
    pub fn write_streams(&self, streams: &[String]) -> Result<()> {
        let content = serde_json::to_vec(streams).map_err(|error| Error::new(Kind::Failed, error.to_string()))?;
        atomic::write(&self.directory, STREAMS, &content, Mode::from_bits_truncate(0o600)).within(|| "--image-path")
    }

    /// Their names when they were dumped; none in an image that CRIU alone has made.
    pub fn read_streams(&self) -> Result<Vec<String>> {
        let Some(content) = self.read(STREAMS)? else { return Ok(Vec::new()) };
        serde_json::from_slice(&content)
            .map_err(|error| Error::new(Kind::InvalidConfig, format!("{STREAMS}: {error}")))
            .within(|| "--image-path")
    }

    /// Whose the images of the container with this first process are: what is restored reads them when it is in the user
    /// namespace. They hold its own memory.
    pub fn owner_of(&self, init: i32) -> Result<(Uid, Gid)> {
        let root = |file: &str| -> Result<u32> {
            let map = procfs::read_own(&format!("/proc/{init}/{file}"))?;
            let mut fields = map.split_ascii_whitespace();
            let is_root = fields.next() == Some("0");
            Ok(fields.next().filter(|_| is_root).and_then(|id| id.parse().ok()).unwrap_or(0))
        };
        Ok((Uid::from_raw(root("uid_map")?), Gid::from_raw(root("gid_map")?)))
    }

    /// Gives them to him, who may be ourselves.
    ///
    /// The directory keeps our group, which may look up names in it: CRIU's restored process opens its first image
    /// (`timens-0.img`) before or after it becomes him, as it happens (seen with CRIU 4.1.1: "Permission denied" in one restore of
    /// ten).
    pub fn give_to(&self, (user, group): (Uid, Gid)) -> Result<()> {
        let ours = Gid::effective();
        if user == Uid::effective() && group == ours {
            return Ok(());
        }
        let mut directory = Dir::openat(&self.directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())
            .or_call(|| format!("opendir({:?})", self.path))?;
        for entry in directory.iter() {
            let entry = entry.or_call(|| format!("readdir({:?})", self.path))?;
            if ![c".", c".."].contains(&entry.file_name()) {
                let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                fchownat(&self.directory, entry.file_name(), Some(user), Some(group), flags)
                    .or_call(|| format!("fchownat({:?})", entry.file_name()))?;
            }
        }
        fchown(&self.directory, Some(user), Some(ours)).or_call(|| format!("fchown({:?})", self.path))?;
        let mode =
            Mode::from_bits_truncate(fstat(&self.directory).or_call(|| format!("fstat({:?})", self.path))?.st_mode);
        fchmod(&self.directory, mode | Mode::S_IXGRP).or_call(|| format!("fchmod({:?})", self.path))
    }

    /// What was taken along of the cgroups.
    pub fn read_cgroups(&self) -> Result<CgroupImage> {
        let content = self.read("cgroup.img")?.unwrap_or_default();
        // CRIU's format: eight bytes that tell what it is, four with the size, a message. What it cannot read itself it refuses.
        Ok(CgroupImage::decode(content.get(12..).unwrap_or_default()).unwrap_or_default())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let reading = || -> Result<Option<Vec<u8>>> {
            let file = match openat(&self.directory, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
                Err(Errno::ENOENT) => return Ok(None),
                other => other.or_call(|| format!("openat({name:?})"))?,
            };
            sys::fd::read_all(&file).or_call(|| format!("read({name:?})")).map(Some)
        };
        reading().within(|| "--image-path")
    }

    /// What CRIU says in its log is why it failed, unless that is the log of an earlier attempt.
    pub fn explain(&self, error: Error, before: &Log) -> Error {
        let path = self.work.join(self.log);
        let content = if self.log() == *before { Vec::new() } else { std::fs::read(&path).unwrap_or_default() };
        match criu::log::decisive(&String::from_utf8_lossy(&content)) {
            Some(cause) => Error::new(error.kind(), cause).hint(format_args!("{path:?} has more")),
            None => error,
        }
        .within("criu")
    }

    /// Which log there is.
    pub fn log(&self) -> Log {
        let facts = std::fs::metadata(self.work.join(self.log)).ok();
        Log(facts.and_then(|facts| Some((facts.modified().ok()?, facts.len()))))
    }
}

/// A log that can be told from another one of that name.
#[derive(Debug, PartialEq, Eq)]
pub struct Log(Option<(SystemTime, u64)>);

/// Everything but the debugging of CRIU itself. COMPAT(runc)
const LOG_LEVEL: i32 = 4;

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).or_call(|| format!("open({path:?})"))
}

/// It has what was in somebody's memory.
fn make_directories(path: &Path) -> Result<()> {
    let mut walked = PathBuf::new();
    for component in path.components() {
        walked.push(component);
        match mkdirat(AT_FDCWD, &walked, Mode::from_bits_truncate(0o700)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            // Read-only, and yet it may be there.
            Err(Errno::EROFS) if walked.exists() => {}
            Err(errno) => return Err(Error::call(format!("mkdir({walked:?})"), errno)),
        }
    }
    Ok(())
}
