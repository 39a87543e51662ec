//! A command that fails as it should: one clear line, in the log too, and nothing left behind.

use std::fs::{self, File};

use serde_json::Value;

use super::peer::{is_corten, program_name};
use super::run::Output;
use super::{Bundle, Peer, peer};

/// The error line, to be asserted on.
pub struct Refusal {
    pub text: String,
}

impl Refusal {
    /// Runs `create` or `run`, expects it to fail, and looks at the machine afterwards.
    #[track_caller]
    pub fn of(bundle: &Bundle, command: &str) -> Self {
        let log = bundle.path("log");
        let log_flags = ["--log".into(), log.clone().into_os_string(), "--log-format".into(), "json".into()];
        // A detached process could hold a pipe open; a file cannot hang the test.
        let (out, err) = (bundle.path("refusal-out"), bundle.path("refusal-err"));
        let file = |path| {
            let _ = fs::remove_file(path);
            File::create_new(path).unwrap()
        };
        let _ = fs::remove_file(&log);
        let output = bundle.command_with(command, log_flags).stdout_to(file(&out)).stderr_to(file(&err)).output();
        let read = |path| fs::read_to_string(path).unwrap();
        let refusal = Self::from_output(command, Output { stdout: read(&out), stderr: read(&err), ..output });
        refusal.assert_logged(&read(&log));
        bundle.assert_nothing_left();
        refusal
    }

    /// Checks the form of the output of a command that has failed.
    #[track_caller]
    pub fn from_output(command: &str, output: Output) -> Self {
        let text = output.stderr.trim_end().to_owned();
        assert!(!output.status.success(), "should have failed: {output:#?}");
        assert!(!text.is_empty(), "failed without a word: {output:#?}");
        if is_corten() {
            // COMPAT(runc): exec's own failures are told from those of programs.
            let status = if command == "exec" { 255 } else { 1 };
            assert_eq!(output.status.code(), Some(status), "{output:#?}");
            assert_eq!(output.stdout, "", "{output:#?}");
            assert_eq!(text.lines().count(), 1, "one line: {output:#?}");
            let prefix = format!("{} {command} failed: ", program_name());
            assert!(text.starts_with(&prefix), "should start with {prefix:?}: {text}");
        }
        Self { text }
    }

    #[track_caller]
    fn assert_logged(&self, log: &str) {
        let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let last = records.last().expect("a record in the log");
        let message = last["msg"].as_str().unwrap().trim_end();
        assert_eq!(last["level"], "error", "{log}");
        if peer::peer() != Peer::Crun {
            assert!(self.text.contains(message), "{:?} is not {message:?}", self.text);
        }
        if is_corten() {
            assert_eq!(self.text, message);
            assert_eq!(records.iter().filter(|record| record["level"] == "error").count(), 1, "{log}");
        }
    }

    /// Holds these words, which are runc's too.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(peer::peer() == Peer::Crun || self.text.contains(words), "should say {words:?}: {}", self.text);
        self
    }

    /// Names this property; other runtimes do not.
    #[track_caller]
    pub fn names(self, property: &str) -> Self {
        assert!(!is_corten() || self.text.contains(property), "should name {property:?}: {}", self.text);
        self
    }

    /// Says why; other runtimes have other words.
    #[track_caller]
    pub fn because(self, cause: &str) -> Self {
        assert!(!is_corten() || self.text.contains(cause), "should say why, {cause:?}: {}", self.text);
        self
    }

    /// Ends in this cause, after which only a hint in brackets may follow.
    #[track_caller]
    pub fn ends(self, cause: &str) -> Self {
        let end =
            self.text.rsplit_once(" (").filter(|(_, hint)| hint.ends_with(')')).map_or(&*self.text, |(end, _)| end);
        assert!(!is_corten() || end.ends_with(cause), "should end with {cause:?}: {}", self.text);
        self
    }
}
