//! CRIU, which `checkpoint` and `restore` need.

use std::sync::LazyLock;

use super::run::Run;

/// Whether there is CRIU, and a kernel and rights for it.
pub fn is_here() -> bool {
    static IS_HERE: LazyLock<bool> = LazyLock::new(|| {
        rustix::process::geteuid().is_root() && Run::new("sh").args(["-c", "criu check"]).output().status.success()
    });
    *IS_HERE
}
