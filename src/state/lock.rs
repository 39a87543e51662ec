//! One process at a time changes a container.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::error::{Error, Kind, Result, Within};
use crate::fs::lock;

pub use crate::fs::lock::Lock;

/// How long somebody else may take: a create with slow hooks, a delete of a container that dies slowly.
const PATIENCE: Duration = Duration::from_secs(30);

/// Locks a container's directory.
pub fn exclusive(directory: impl AsFd) -> Result<Lock> {
    let busy = || {
        let why = format!("another process has worked on this container for {} s", PATIENCE.as_secs());
        Error::new(Kind::Busy, why)
    };
    lock::exclusive(directory, PATIENCE).within(|| "state directory")?.ok_or_else(busy)
}
