//! A `run` that stays.

use corten::error::{OrCall, Result};
use corten::{CreateRequest, Runtime};

/// How it stays.
#[derive(Clone, Copy, Debug)]
pub struct Stay {
    pub keep: bool,
    pub subreaper: bool,
}

pub fn run(runtime: &Runtime, request: &CreateRequest, stay: Stay) -> Result<u8> {
    let _ = stay.subreaper;
    let running = runtime.run(request)?;
    let ended = corten::sys::pidfd::reap(&running.init).or_call(|| "waitid(init)")?;
    if !stay.keep {
        running.container.delete()?;
    }
    Ok(u8::try_from(ended.status()).unwrap_or(u8::MAX))
}
