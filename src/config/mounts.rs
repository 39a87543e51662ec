//! `mounts[]`: what is mounted where. The meaning of the options is in `subsystems::mounts::options`.

use std::path::PathBuf;

use super::linux::IdMappings;

/// One entry of `mounts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// The JSON path of the entry, such as `mounts[3]`, for messages of later layers.
    pub property: String,
    /// Absolute. SPEC(config, mounts): a relative destination is taken below `/`.
    pub destination: PathBuf,
    /// As in `/proc/filesystems`; empty for a bind mount, whose options decide.
    pub kind: String,
    /// A device, a file or directory of a bind mount, or a dummy.
    pub source: Option<PathBuf>,
    /// Words, in the order given: the last of contradicting ones wins.
    pub options: Vec<String>,
    /// An id-mapped mount's own mapping: both halves or none.
    pub id_mappings: Option<IdMappings>,
}
