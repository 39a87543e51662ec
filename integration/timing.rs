//! `--timing`: where the time of a command went, host and inside.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Bundle, differs};

/// A complete event; times in microseconds.
#[derive(Debug)]
struct Event {
    name: String,
    process: u64,
    thread: u64,
    begin: f64,
    end: f64,
}

/// Of a file in Chrome's format.
fn events(file: &Path) -> Vec<Event> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let complete = all.iter().filter(|event| event["ph"] == "X");
    complete
        .map(|event| {
            let begin = event["ts"].as_f64().unwrap();
            Event {
                name: event["name"].as_str().unwrap().to_owned(),
                process: event["pid"].as_u64().unwrap(),
                thread: event["tid"].as_u64().unwrap(),
                begin,
                end: begin + event["dur"].as_f64().unwrap(),
            }
        })
        .collect()
}

fn find<'a>(events: &'a [Event], process: u64, name: &str) -> &'a Event {
    let found = events.iter().find(|event| event.process == process && event.name == name);
    found.unwrap_or_else(|| panic!("no {name:?} of process {process}: {events:#?}"))
}

const HOST: u64 = 1;
const INSIDE: u64 = 2;

/// What is written as a decimal fraction is not exact.
const ROUNDING: f64 = 0.01;

impl Event {
    fn is_within(&self, other: &Self) -> bool {
        self.begin >= other.begin - ROUNDING && self.end <= other.end + ROUNDING
    }

    fn is_apart_from(&self, other: &Self) -> bool {
        self.end <= other.begin + ROUNDING || other.end <= self.begin + ROUNDING
    }
}

#[test]
fn a_run_shows_the_phases_of_both_processes() {
    differs!(Runc | Crun, "the flag is ours");
    let bundle = Bundle::new().args(&["true"]);
    let file = bundle.path("trace");
    let bundle = bundle.global("--timing").global(file.to_str().unwrap());
    bundle.write();
    bundle.command("run").output().ok().silent();
    let events = events(&file);
    let whole = find(&events, HOST, "run");
    for name in ["parse and check", "plan", "clone", "conversation", "start", "the program runs", "clean up"] {
        assert!(find(&events, HOST, name).is_within(whole), "{name}: {events:#?}");
    }
    // One clock: inside is at work while the host waits for it.
    let conversation = find(&events, HOST, "conversation");
    for name in ["mounts", "devices", "change the root", "masks"] {
        let phase = find(&events, INSIDE, name);
        assert!(phase.is_within(whole) && phase.end <= conversation.end + ROUNDING, "{name}: {events:#?}");
    }
    for (index, one) in events.iter().enumerate() {
        let others = events[..index].iter().filter(|other| (other.process, other.thread) == (one.process, one.thread));
        for other in others {
            let nested = one.is_apart_from(other) || one.is_within(other) || other.is_within(one);
            assert!(nested, "{one:?} overlaps {other:?}");
        }
    }
}

#[test]
fn a_command_that_fails_shows_how_far_it_came() {
    differs!(Runc | Crun, "the flag is ours");
    let bundle = Bundle::new().set("/process/cwd", "relative");
    let file = bundle.path("trace");
    bundle.write();
    let output = bundle.command("create").env("CORTEN_TIMING", &file).output();
    assert!(!output.status.success(), "{output:#?}");
    let events = events(&file);
    assert!(find(&events, HOST, "parse and check").is_within(find(&events, HOST, "create")));
    assert!(events.iter().all(|event| event.name != "plan" && event.process == HOST), "{events:#?}");
}

#[test]
fn a_file_that_cannot_be_written_is_a_warning() {
    differs!(Runc | Crun, "the flag is ours");
    let bundle = Bundle::new().args(&["true"]);
    let file = bundle.path("not/there");
    let output = bundle.global("--timing").global(file.to_str().unwrap()).run().ok();
    assert!(output.stderr.contains("--timing: ") && output.stderr.contains("level=warning"), "{output:#?}");
}
