//! Resource limits (getrlimit(2)).

use crate::config::process::{RLIMITS, Rlimit};
use crate::error::{OrCall, Refusal, Result, Within};
use crate::sys;
use crate::sys::script::Script;

/// Sets them for process `pid`.
pub fn set_all(pid: i32, limits: &[Rlimit]) -> Result<()> {
    for (index, limit) in limits.iter().enumerate() {
        sys::limits::set_rlimit(pid, limit.resource, limit.soft, limit.hard)
            .or_call(|| call(limit))
            .within(|| property(index))?;
    }
    Ok(())
}

/// Writes the same for the process itself.
pub fn write_all(limits: &[Rlimit], script: &mut Script) {
    for (index, limit) in limits.iter().enumerate() {
        let refused = script.frame(Refusal::of(call(limit)).within(property(index)));
        script.set_rlimit(limit.resource, limit.soft, limit.hard, refused);
    }
}

fn call(limit: &Rlimit) -> String {
    let name = RLIMITS.iter().find(|(_, number)| *number == limit.resource).map_or("?", |(name, _)| name);
    format!("prlimit({name}, soft {}, hard {})", limit.soft, limit.hard)
}

fn property(index: usize) -> String {
    format!("process.rlimits[{index}]")
}
