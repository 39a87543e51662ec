//! Resolving and creating below a root whose contents somebody else controls.
//!
//! CVE-2021-30465, CVE-2024-45310 and eight more are one mistake: a path string, resolved through symlinks that an image
//! or a neighbour put there, and resolved again for the next call. Here a path is resolved once, by the kernel, with the
//! root as `/` (openat2(2) with RESOLVE_IN_ROOT), and what comes back is the file itself.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, mkdirat};

use super::c_path;
use crate::error::{Error, Kind, OrCall, Result};
use crate::sys;

/// A directory that is the root of everything resolved through it.
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
}

/// What a missing last component becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Missing {
    Directory,
    File,
}

impl RootDir {
    /// Takes a directory as the root.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// A handle (O_PATH) of what `path` is; symlinks are followed as the container would, the last one too.
    ///
    /// `Ok(None)`: there is nothing of that name.
    pub fn find(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.resolve(path, OFlag::O_PATH) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(refused(path, errno)),
        }
    }

    /// The same without following a symlink in the last place: the handle may be one.
    pub fn find_itself(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.resolve(path, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(refused(path, errno)),
        }
    }

    /// Opens a file for reading or writing.
    pub fn open(&self, path: &Path, flags: OFlag) -> Result<OwnedFd> {
        self.resolve(path, flags).map_err(|errno| refused(path, errno))
    }

    /// A handle of `path`, which is made when it is missing, with its parent directories (mode 0755; a file 0644).
    pub fn find_or_make(&self, path: &Path, missing: Missing) -> Result<OwnedFd> {
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        let parent = self.make_directories(path.parent().unwrap_or(Path::new("/")))?;
        let Some(name) = path.file_name() else {
            return Err(refused(path, Errno::EINVAL));
        };
        match missing {
            Missing::Directory => make_directory(&parent, name, path),
            Missing::File => make_file(&parent, name, path),
        }
    }

    /// A handle of the directory `path`, made with its parents when missing.
    pub fn make_directories(&self, path: &Path) -> Result<OwnedFd> {
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        let mut walked = PathBuf::from("/");
        let mut current = self.resolve(&walked, OFlag::O_PATH).map_err(|errno| refused(&walked, errno))?;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            walked.push(name);
            // Through the root each time: an existing prefix may contain symlinks, which mean what they mean inside.
            current = match self.find(&walked)? {
                Some(found) => found,
                None => make_directory(&current, name, &walked)?,
            };
        }
        Ok(current)
    }

    /// What `path` is called when no symlink is in it: for programs that know only names. It may be another one by then.
    pub fn real_path(&self, path: &Path) -> Result<PathBuf> {
        // As many as the kernel follows.
        let mut links_left = 40;
        let mut real = PathBuf::from("/");
        let mut rest: Vec<OsString> = components(path);
        while let Some(name) = rest.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&name);
            let target = match self.find_itself(&next)? {
                Some(file) if file_type(&file)? == SFlag::S_IFLNK => {
                    readlinkat(&file, "").or_call(|| format!("readlinkat({next:?})"))?
                }
                Some(_) | None => {
                    real = next;
                    continue;
                }
            };
            links_left -= 1;
            if links_left == 0 {
                return Err(refused(path, Errno::ELOOP));
            }
            if Path::new(&target).is_absolute() {
                real = PathBuf::from("/");
            }
            rest.append(&mut components(Path::new(&target)));
        }
        Ok(real)
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = c_path(path).map_err(|_| Errno::EINVAL)?;
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        sys::fd::openat2(&self.fd, &path, flags, Mode::empty(), resolve)
    }
}

/// Names and `..`, the first one last.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    names.collect()
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kind of file a handle is.
pub fn file_type(file: impl AsFd) -> Result<SFlag> {
    let stat = nix::sys::stat::fstat(file.as_fd()).or_call(|| "fstat")?;
    Ok(SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()))
}

fn make_directory(parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        // Made by somebody else meanwhile: what counts is that it is a directory and not a symlink, which is checked next.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(Error::call(format!("mkdirat({path:?})"), errno)),
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOTDIR | Errno::ELOOP => {
            Error::new(Kind::Failed, "a symlink that leads nowhere, or not a directory").within(format!("{path:?}"))
        }
        errno => refused(path, errno),
    })
}

fn make_file(parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_WRONLY;
    match openat(parent, name, flags, Mode::from_bits_truncate(0o644)) {
        Ok(_) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(Error::call(format!("openat({path:?}, O_CREAT|O_EXCL)"), errno)),
    }
    let found = openat(parent, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| refused(path, errno))?;
    if file_type(&found)? == SFlag::S_IFLNK {
        return Err(Error::new(Kind::Failed, "a symlink that leads nowhere").within(format!("{path:?}")));
    }
    Ok(found)
}

fn refused(path: &Path, errno: Errno) -> Error {
    Error::call(format!("openat2({:?})", String::from_utf8_lossy(path.as_os_str().as_bytes())), errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, RootDir) {
        let outside = tempfile::tempdir().unwrap();
        let inside = outside.path().join("rootfs");
        std::fs::create_dir(&inside).unwrap();
        let fd = nix::fcntl::open(&inside, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        (outside, RootDir::new(fd))
    }

    #[test]
    fn symlinks_mean_what_they_mean_inside() {
        let (outside, root) = root();
        let rootfs = outside.path().join("rootfs");
        std::fs::create_dir(rootfs.join("real")).unwrap();
        symlink("/real", rootfs.join("absolute")).unwrap();
        symlink("../../../../real", rootfs.join("climbing")).unwrap();
        for link in ["absolute", "climbing"] {
            root.find_or_make(&Path::new("/").join(link).join("a/b"), Missing::Directory).unwrap();
            assert!(rootfs.join("real/a/b").is_dir(), "{link}");
            std::fs::remove_dir_all(rootfs.join("real/a")).unwrap();
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn real_paths() {
        let (outside, root) = root();
        let rootfs = outside.path().join("rootfs");
        std::fs::create_dir(rootfs.join("real")).unwrap();
        symlink("/real", rootfs.join("absolute")).unwrap();
        symlink("../../absolute/./below", rootfs.join("real/climbing")).unwrap();
        symlink("loop", rootfs.join("loop")).unwrap();
        for (path, expected) in [
            ("/real", "/real"),
            ("/absolute/new/file", "/real/new/file"),
            ("/absolute/climbing/x", "/real/below/x"),
            ("/missing/x", "/missing/x"),
            ("/", "/"),
        ] {
            assert_eq!(root.real_path(Path::new(path)).unwrap(), Path::new(expected), "{path}");
        }
        let error = root.real_path(Path::new("/loop")).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ELOOP), "{error}");
    }

    #[test]
    fn a_dangling_symlink_is_not_created_through() {
        let (outside, root) = root();
        symlink("/nowhere", outside.path().join("rootfs/link")).unwrap();
        for missing in [Missing::Directory, Missing::File] {
            let error = root.find_or_make(Path::new("/link"), missing).unwrap_err();
            assert!(error.to_string().contains("leads nowhere"), "{error}");
        }
        let error = root.find_or_make(Path::new("/link/below"), Missing::File).unwrap_err();
        assert!(error.to_string().contains("leads nowhere"), "{error}");
    }

    #[test]
    fn makes_a_file_with_its_parents_and_finds_it_again() {
        let (outside, root) = root();
        root.find_or_make(Path::new("/etc/deep/file"), Missing::File).unwrap();
        assert!(outside.path().join("rootfs/etc/deep/file").is_file());
        let again = root.find_or_make(Path::new("/etc/deep/file"), Missing::File).unwrap();
        assert_eq!(file_type(&again).unwrap(), SFlag::S_IFREG);
        assert!(root.find(Path::new("/etc/missing")).unwrap().is_none());
    }
}
