//! `--timing`: the phases of a command as a trace that Perfetto and Chrome show.
//!
//! The format is Chrome's ("Trace Event Format", JSON array): a complete event (`ph: "X"`) for each phase, with times in
//! microseconds of CLOCK_MONOTONIC, and the names of the two processes.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use corten::timing::{HOST, Phase};
use serde_json::{Value, json};

/// Not their real ids: that of the container's process is another one for itself.
const PROCESSES: [(u8, &str); 2] = [(1, "corten"), (2, "the container's process")];

/// A trace that is being made.
#[derive(Debug)]
pub struct Trace {
    file: PathBuf,
    events: Mutex<Vec<Value>>,
}

impl Trace {
    pub fn new(file: &Path) -> Self {
        let name = |(pid, name)| json!({"name": "process_name", "ph": "M", "pid": pid, "args": {"name": name}});
        Self { file: file.to_owned(), events: Mutex::new(PROCESSES.map(name).to_vec()) }
    }

    /// Takes a record.
    pub fn add(&self, target: &str, text: &str) {
        let process = if target == HOST { PROCESSES[0] } else { PROCESSES[1] };
        if let (Some(phase), Ok(mut events)) = (Phase::parse(text), self.events.lock()) {
            events.push(event(process.0, &phase));
        }
    }

    /// Writes the file. It is no reason to fail when it cannot.
    pub fn write(&self) {
        let Ok(events) = self.events.lock() else { return };
        let text = Value::Array(events.clone()).to_string();
        if let Err(error) = std::fs::write(&self.file, text) {
            ::log::warn!("--timing: {:?}: {error}", self.file);
        }
    }
}

fn event(process: u8, phase: &Phase) -> Value {
    json!({
        "name": phase.name,
        "ph": "X",
        "ts": microseconds(phase.begin),
        "dur": microseconds(phase.end - phase.begin),
        "pid": process,
        "tid": phase.thread,
    })
}

fn microseconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten::timing::INSIDE;

    #[test]
    fn phases_become_events() {
        let directory = tempfile::tempdir().unwrap();
        let trace = Trace::new(&directory.path().join("trace.json"));
        trace.add(HOST, "1500 4000 7 plan");
        trace.add(INSIDE, "2000 2001 1 mounts");
        trace.add(INSIDE, "not a phase");
        trace.write();
        let events: Vec<Value> = serde_json::from_slice(&std::fs::read(&trace.file).unwrap()).unwrap();
        let expected = [
            json!({"name": "plan", "ph": "X", "ts": 1.5, "dur": 2.5, "pid": 1, "tid": 7}),
            json!({"name": "mounts", "ph": "X", "ts": 2.0, "dur": 0.001, "pid": 2, "tid": 1}),
        ];
        assert_eq!(events[PROCESSES.len()..], expected);
    }
}
