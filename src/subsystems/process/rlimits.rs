//! Resource limits (getrlimit(2)).

use crate::config::process::{RLIMITS, Rlimit};
use crate::error::{OrCall, Result, Within};
use crate::sys;

/// Sets them for process `pid`; 0 is the caller.
pub fn set_all(pid: i32, limits: &[Rlimit]) -> Result<()> {
    for (index, limit) in limits.iter().enumerate() {
        sys::limits::set_rlimit(pid, limit.resource, limit.soft, limit.hard)
            .or_call(|| {
                let name = RLIMITS.iter().find(|(_, number)| *number == limit.resource).map_or("?", |(name, _)| name);
                format!("prlimit({name}, soft {}, hard {})", limit.soft, limit.hard)
            })
            .within(|| format!("process.rlimits[{index}]"))?;
    }
    Ok(())
}
