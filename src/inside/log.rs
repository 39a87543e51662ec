//! What is logged inside is written by the host: messages over the channel. So are phases ([`crate::timing`]).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::channel::{FromInside, InsideEnd};

/// The logger of a program that may be copied: its own, and in the copy the channel's.
#[derive(Default)]
struct Switch {
    own: OnceLock<&'static dyn Log>,
    channel: OnceLock<InsideEnd>,
}

static LOGGER: Switch = Switch { own: OnceLock::new(), channel: OnceLock::new() };

/// Makes `logger` that of the whole program, as [`log::set_logger`] does; what a copy of the program logs reaches it through
/// the program ([`crate::Runtime::with_one_thread`]). `false`: there is one already.
pub fn set_logger(logger: &'static dyn Log) -> bool {
    LOGGER.own.set(logger).is_ok() && log::set_logger(&LOGGER).is_ok()
}

/// Sends warnings and debugging records through a copy of the channel from now on, until execve closes it.
pub fn to_channel(channel: &InsideEnd, phases: bool) {
    let copy: Option<OwnedFd> = channel.as_fd().try_clone_to_owned().ok();
    if let Some(copy) = copy
        && LOGGER.channel.set(InsideEnd::new(copy)).is_ok()
        // It is there already in a copy of the program, and knows what is wanted.
        && log::set_logger(&LOGGER).is_ok()
    {
        log::set_max_level(if phases { LevelFilter::Trace } else { LevelFilter::Debug });
    }
}

/// Nobody reads any more.
pub fn stop() {
    log::set_max_level(LevelFilter::Off);
}

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("corten")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(channel) = self.channel.get() {
            let text = record.args().to_string();
            let _ = channel.send(&match record.level() {
                Level::Trace => FromInside::Phase { text },
                level => FromInside::Log { warning: level <= Level::Warn, text },
            });
        } else if let Some(own) = self.own.get() {
            own.log(record);
        }
    }

    fn flush(&self) {}
}
