//! The program under test: corten, or a peer that the tests themselves are checked against.

use std::path::PathBuf;
use std::sync::LazyLock;

use super::run::Run;

/// Who is tested. Everything shared is asserted for all three, and a difference is a printed skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Corten,
    Runc,
    Crun,
}

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    // Cargo tells its name to the tests of its own package only: others need the variable.
    let built = option_env!("CARGO_BIN_EXE_corten").map(Into::into);
    std::env::var_os("CORTEN").or(built).expect("CORTEN names the program under test").into()
});

static PEER: LazyLock<Peer> = LazyLock::new(|| {
    let version = Run::new(program()).arg("--version").output().ok().stdout;
    match version.lines().next() {
        Some(line) if line.starts_with("crun ") => Peer::Crun,
        // corten takes the name runc when it is called so, but it is not written in Go.
        Some(line) if line.starts_with("runc ") && version.contains("\ngo:") => Peer::Runc,
        _ => Peer::Corten,
    }
});

/// The binary: the environment variable `CORTEN`, or what cargo has just built.
pub fn program() -> &'static PathBuf {
    &PROGRAM
}

/// The program's name in front of its error lines.
pub fn program_name() -> &'static str {
    program().file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Whose binary it is.
pub fn peer() -> Peer {
    *PEER
}

/// Whether known differences of peers are to be tried anyway.
pub fn run_all() -> bool {
    std::env::var_os("CORTEN_ALL").is_some()
}

/// For assertions that are about corten's own words.
pub fn is_corten() -> bool {
    peer() == Peer::Corten
}
