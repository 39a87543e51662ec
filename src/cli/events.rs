//! `events`.

use std::time::Duration;

use corten::error::Result;
use corten::host::Event;
use corten::subsystems::cgroups::Stats;
use serde::Serialize;

use super::args::{Flag, FlagsEnd};
use super::{Command, Invocation, duration, invalid, output};

pub(super) const COMMAND: Command = Command {
    name: "events",
    about: "Print what a container uses, and each time that the kernel kills in it for lack of memory",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &[
        Flag::value("interval", "DURATION", "How often usage is printed, such as 100ms or 1m30s [default: 5s]"),
        Flag::switch("stats", "Print the usage once, at once"),
    ],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

const INTERVAL: Duration = Duration::from_secs(5);

fn run(invocation: &Invocation) -> Result<u8> {
    let interval = match invocation.value("interval") {
        Some(word) => interval(&word.to_string_lossy())?,
        None => INTERVAL,
    };
    let container = invocation.runtime()?.find(invocation.id()?)?;
    if invocation.has("stats") {
        let stats = Event::Stats(Box::new(container.stats()?));
        output::print(&line(container.id(), &stats)?)?;
        return Ok(0);
    }
    for event in container.events(interval)? {
        if output::stream(&line(container.id(), &event?)?)?.is_break() {
            break;
        }
    }
    Ok(0)
}

/// COMPAT(runc): its words.
fn interval(word: &str) -> Result<Duration> {
    match duration::parse(word) {
        Ok(Duration::ZERO) => Err(invalid("duration interval must be greater than 0")),
        Ok(interval) => Ok(interval),
        Err(why) => Err(invalid(format_args!("invalid value {word:?} for flag -interval: {why}"))),
    }
}

/// COMPAT(runc, go-runc): one line each, keys in this order.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Stats>,
}

fn line(id: &str, event: &Event) -> Result<String> {
    let line = match event {
        Event::Stats(stats) => Line { kind: "stats", id, data: Some(stats) },
        Event::OutOfMemory => Line { kind: "oom", id, data: None },
    };
    Ok(serde_json::to_string(&line).map_err(invalid)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_runcs() {
        assert_eq!(line("c1", &Event::OutOfMemory).unwrap(), "{\"type\":\"oom\",\"id\":\"c1\"}\n");
        let stats = line("c1", &Event::Stats(Box::default())).unwrap();
        assert!(stats.starts_with("{\"type\":\"stats\",\"id\":\"c1\",\"data\":{\"cpu\":{\"usage\":{"), "{stats}");
        assert!(stats.ends_with("\"network_interfaces\":null}}\n"), "{stats}");
    }

    #[test]
    fn intervals() {
        assert_eq!(interval("100ms").unwrap(), Duration::from_millis(100));
        for (word, expected) in [
            ("0s", "duration interval must be greater than 0"),
            ("-1s", "duration interval must be greater than 0"),
            ("5", "invalid value \"5\" for flag -interval: missing unit in duration \"5\""),
        ] {
            assert_eq!(interval(word).unwrap_err().to_string(), expected);
        }
    }
}
