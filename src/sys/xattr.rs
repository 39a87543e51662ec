//! Extended attributes (xattr(7)).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;

/// Sets one on an open file, which must not be opened with O_PATH (fsetxattr(2)).
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> nix::Result<()> {
    set_with(file, name, value, 0)
}

/// The same, unless there is one (EEXIST).
pub fn create(file: impl AsFd, name: &CStr, value: &[u8]) -> nix::Result<()> {
    set_with(file, name, value, libc::XATTR_CREATE)
}

fn set_with(file: impl AsFd, name: &CStr, value: &[u8], flags: i32) -> nix::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the kernel copies the name, which ends with a zero, and as many bytes as the value has.
    let answer = unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), flags) };
    super::answer(answer.into()).map(drop)
}

/// One of an open file (fgetxattr(2)); ERANGE: it is longer than `LENGTH`.
pub fn get<const LENGTH: usize>(file: impl AsFd, name: &CStr) -> nix::Result<Vec<u8>> {
    let (fd, mut value) = (file.as_fd().as_raw_fd(), vec![0_u8; LENGTH]);
    // SAFETY: the kernel reads the name, which ends with a zero, and writes at most as many bytes as there is room for.
    let length = unsafe { libc::fgetxattr(fd, name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(super::answer(length as i64)?.try_into().unwrap_or(0));
    Ok(value)
}

/// Whether what is at this path has one, whatever it says (getxattr(2)); ENOENT: nothing is there.
pub fn is_set(path: &Path, name: &CStr) -> nix::Result<bool> {
    // SAFETY: the kernel reads path and name, which end with a zero, and writes nothing where there is room for nothing.
    let answer =
        path.with_nix_path(|path| unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) })?;
    match super::answer(answer as i64) {
        Ok(_) => Ok(true),
        Err(Errno::ENODATA) => Ok(false),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_without_attributes_says_so() {
        let file = std::fs::File::open("/proc/version").unwrap();
        assert_eq!(set(&file, c"user.corten", b"value"), Err(Errno::EOPNOTSUPP));
    }

    #[test]
    fn the_first_one_stays() {
        let (file, name) = (tempfile::tempfile_in(".").unwrap(), c"user.corten");
        assert_eq!(get::<9>(&file, name), Err(Errno::ENODATA));
        create(&file, name, b"first").unwrap();
        assert_eq!(create(&file, name, b"second"), Err(Errno::EEXIST));
        assert_eq!(get::<9>(&file, name).unwrap(), b"first");
        assert_eq!(get::<4>(&file, name), Err(Errno::ERANGE));
    }

    #[test]
    fn of_a_path() {
        let directory = tempfile::tempdir_in(".").unwrap();
        let (path, name) = (directory.path(), c"user.corten");
        assert_eq!(is_set(&path.join("missing"), name), Err(Errno::ENOENT));
        assert_eq!(is_set(path, name), Ok(false));
        set(std::fs::File::open(path).unwrap(), name, b"").unwrap();
        assert_eq!(is_set(path, name), Ok(true));
    }
}
