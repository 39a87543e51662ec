//! Extended attributes (xattr(7)).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

/// Sets one on an open file, which must not be opened with O_PATH (fsetxattr(2)).
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> nix::Result<()> {
    let (fd, flags) = (file.as_fd().as_raw_fd(), 0);
    // SAFETY: the kernel copies the name, which ends with a zero, and as many bytes as the value has.
    let answer = unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), flags) };
    super::answer(answer.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    #[test]
    fn a_filesystem_without_attributes_says_so() {
        let file = std::fs::File::open("/proc/version").unwrap();
        assert_eq!(super::set(&file, c"user.corten", b"value"), Err(Errno::EOPNOTSUPP));
    }
}
