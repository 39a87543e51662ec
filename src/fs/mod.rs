//! Files, safely: below a root that somebody else controls ([`rootdir`]), in a procfs that is really one ([`procfs`]), in
//! directories that are the kernel's groups ([`directory`]), written whole or not at all ([`atomic`]), and by one process at
//! a time ([`lock`]).

pub mod atomic;
pub mod directory;
pub mod lock;
pub mod procfs;
pub mod rootdir;
pub mod sockets;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};

/// A path for the kernel. A NUL byte cannot be passed on, and cutting the path there would name another file.
pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(Kind::InvalidConfig, format!("{path:?} contains a NUL byte")))
}

/// A string for the kernel.
pub fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(Kind::InvalidConfig, format!("{text:?} contains a NUL byte")))
}
