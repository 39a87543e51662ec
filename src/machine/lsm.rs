//! Which Linux security modules are enabled.

use std::path::Path;

/// Asked only for containers that want one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the modules'")]
pub struct Lsms {
    pub apparmor: bool,
    pub selinux: bool,
}

/// Looks for their filesystems, as their own libraries do.
pub fn probe() -> Lsms {
    Lsms {
        apparmor: Path::new("/sys/kernel/security/apparmor").exists(),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
    }
}
