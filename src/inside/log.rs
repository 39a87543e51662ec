//! What is logged inside is written by the host: messages over the channel. So are phases ([`crate::timing`]).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::channel::{FromInside, InsideEnd};

struct ToChannel(OnceLock<InsideEnd>);

static LOGGER: ToChannel = ToChannel(OnceLock::new());

/// Sends warnings and debugging records through a copy of the channel from now on, until execve closes it.
pub fn to_channel(channel: &InsideEnd, phases: bool) {
    let copy: Option<OwnedFd> = channel.as_fd().try_clone_to_owned().ok();
    if let Some(copy) = copy {
        let _ = LOGGER.0.set(InsideEnd::new(copy));
        let _ = log::set_logger(&LOGGER);
        log::set_max_level(if phases { LevelFilter::Trace } else { LevelFilter::Debug });
    }
}

/// Nobody reads any more.
pub fn stop() {
    log::set_max_level(LevelFilter::Off);
}

impl Log for ToChannel {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("corten")
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(channel) = self.0.get().filter(|_| self.enabled(record.metadata())) {
            let text = record.args().to_string();
            let _ = channel.send(&match record.level() {
                Level::Trace => FromInside::Phase { text },
                level => FromInside::Log { warning: level <= Level::Warn, text },
            });
        }
    }

    fn flush(&self) {}
}
