//! Where the time of a command goes: its phases, for whoever asks.
//!
//! A phase that has ended is a record at the level `trace`, of the target [`HOST`], or of [`INSIDE`] when the container's process
//! says so over the channel. Who wants none, which is the usual case, pays for one comparison per phase.
//!
//! Both sides read CLOCK_MONOTONIC, so their phases lie on one line; but in a time namespace with an offset of that clock, the
//! container's ones are off by it.

use std::fmt;

use log::Level;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, gettid};

/// The target of the records about the process that logs.
pub const HOST: &str = "corten::timing";

/// The target of those about a container's process.
pub const INSIDE: &str = "corten::timing::inside";

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// When it began, in nanoseconds.
    pub begin: i64,
    /// When it ended.
    pub end: i64,
    /// The thread, as it knows itself.
    pub thread: i32,
    /// What was done.
    pub name: String,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {} {}", self.begin, self.end, self.thread, self.name)
    }
}

impl Phase {
    /// Reads what `Display` has written.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        Some(Self {
            begin: words.next()?.parse().ok()?,
            end: words.next()?.parse().ok()?,
            thread: words.next()?.parse().ok()?,
            name: words.next()?.to_owned(),
        })
    }
}

/// Whether anybody wants to know.
pub fn is_wanted() -> bool {
    log::log_enabled!(target: HOST, Level::Trace)
}

/// Does a phase's work.
pub fn phase<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let (result, span) = measured(work);
    tell(name, span);
    result
}

/// When a thread has done something.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    thread: Pid,
    begin: i64,
    end: i64,
}

/// Does some work, and says when if anybody wants to know.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, Option<Span>) {
    // It cannot fail: the clock is always there.
    let now = || clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.tv_sec() * 1_000_000_000 + now.tv_nsec());
    let begin = is_wanted().then(now);
    let result = work();
    (result, begin.map(|begin| Span { thread: gettid(), begin, end: now() }))
}

/// Tells of a phase, which may have been another thread's.
pub fn tell(name: &str, span: Option<Span>) {
    if let Some(Span { thread, begin, end }) = span {
        let phase = Phase { begin, end, thread: thread.as_raw(), name: name.to_owned() };
        log::trace!(target: HOST, "{phase}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_can_be_read() {
        let phase = Phase { begin: 1, end: 22, thread: 333, name: "two words".to_owned() };
        assert_eq!(Phase::parse(&phase.to_string()), Some(phase));
        assert_eq!(Phase::parse("1 2 3"), None);
        assert_eq!(Phase::parse("1 2 x name"), None);
    }
}
