//! `list`.

use super::container::Container;
use super::{Listed, Runtime};
use crate::error::Result;

/// See [`Runtime::list`].
pub(super) fn list(runtime: &Runtime) -> Result<Option<Vec<Listed>>> {
    let Some(root) = runtime.existing_root()? else { return Ok(None) };
    let found = |id: String| {
        let container = Container::find(runtime, &id);
        Listed { id, container }
    };
    Ok(Some(root.ids()?.into_iter().map(found).collect()))
}
