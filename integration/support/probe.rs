//! A program that makes any system call: busybox makes only its own.

use std::path::PathBuf;
use std::sync::LazyLock;

use super::run::Run;
use super::{Bundle, rootfs};

const SOURCE: &str = include_str!("probe.c");

/// Compiled once for the whole run; `None`: there is no compiler.
static PROBE: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let finds = Run::host_sh("command -v gcc").output().status.success();
    finds.then(|| {
        let program = rootfs::shared("probe");
        let new = program.with_extension(std::process::id().to_string());
        let gcc = Run::new("gcc").args(["-static", "-O1", "-x", "c", "-", "-o"]).arg(&new);
        gcc.stdin(SOURCE).output().ok();
        std::fs::rename(&new, &program).unwrap();
        program
    })
});

/// Whether there is one.
pub fn exists() -> bool {
    PROBE.is_some()
}

/// As `/bin/probe`.
pub fn put_into(bundle: Bundle) -> Bundle {
    std::fs::copy(PROBE.as_ref().unwrap(), bundle.rootfs().join("bin/probe")).unwrap();
    bundle
}

/// What it says here, outside of any container.
pub fn says(words: &[&str]) -> String {
    Run::new(PROBE.as_ref().unwrap()).args(words).output().ok().line().to_owned()
}
