//! `hooks`: programs that run at fixed points of a container's life (runtime-spec, config "POSIX-platform Hooks").

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The six lists. Where each runs and what its failure means is told in `subsystems::hooks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute.
    pub path: PathBuf,
    /// argv, including `argv[0]`. `None`: just the path, as runc and crun do.
    pub args: Option<Vec<String>>,
    /// `None`: decided by the kind of hook, see `subsystems::hooks`.
    pub env: Option<Vec<String>>,
    /// After that long the hook is killed and has failed.
    pub timeout: Option<Duration>,
}
