//! What a container has used so far: the kernel's files in, one document out.
//!
//! ```text
//! files of v2 ─► v2 ─┐
//!                    ├─► document (`corten events`)
//! files of v1 ─► v1 ─┘
//! ```
//!
//! The document is the same for both interfaces, in runc's form: times are nanoseconds, "swap" is memory and swap together,
//! as v1 counts it. A file that is not there leaves its part of the document empty; one that is there and cannot be
//! understood is an error.

pub mod document;
mod format;
mod v1;
mod v2;

pub use document::Stats;

use super::plan::Version;
use crate::error::Result;

/// The files of one group, wherever they come from.
pub trait Files {
    /// What it holds; `None`: there is no such file, or the kernel has nothing to say in it.
    fn read(&self, name: &str) -> Result<Option<String>>;
    /// What files there are.
    fn names(&self) -> Result<Vec<String>>;
}

/// Adds what one group knows. `controllers` are those of a v1 hierarchy.
///
/// ORDER: on a hybrid host v2 first: it counts processor time and processes without a controller, v1 does it better.
pub fn add(stats: &mut Stats, version: Version, controllers: &[String], files: &dyn Files) -> Result<()> {
    match version {
        Version::V1 => v1::add(stats, controllers, files),
        Version::V2 => v2::add(stats, files),
    }
}

#[cfg(test)]
mod tests;
