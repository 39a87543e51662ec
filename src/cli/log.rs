//! The logger: records for engines in the file of `--log`, or for people on standard error.
//!
//! COMPAT(containerd, Podman): a record is one write(2) to a file opened with O_APPEND, as invocations share the file; its
//! last `error` record is what the engine shows. Records look as logrus writes them, whose output engines parse.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use corten::error::{OrCall, Result, Within};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;

use super::output;
use super::timing::Trace;

/// How records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="..." level=warning msg="..."`
    #[default]
    Text,
    /// `{"level":"warning","msg":"...","time":"..."}`
    Json,
}

#[derive(Debug)]
struct Logger {
    file: Option<File>,
    format: Format,
    /// The last level that is written.
    level: LevelFilter,
    /// Gets the phases, which are not written.
    trace: Option<Trace>,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Opens the log.
///
/// COMPAT(containerd): before anything else can fail: without the file the error message is lost.
pub fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
        .or_call(|| format!("open({path:?})"))
        .within(|| "--log")
}

/// Everything that is logged from now on is written there, or to standard error.
pub fn install(file: Option<File>, format: Format, debug: bool, trace: Option<Trace>) {
    let level = if debug { LevelFilter::Debug } else { LevelFilter::Warn };
    let logger = LOGGER.get_or_init(|| Logger { file, format, level, trace });
    if corten::set_logger(logger) {
        log::set_max_level(if logger.trace.is_some() { LevelFilter::Trace } else { level });
    }
}

/// What was collected is written now.
pub fn finish() {
    if let Some(trace) = LOGGER.get().and_then(|logger| logger.trace.as_ref()) {
        trace.write();
    }
}

/// The descriptor of the log's file: one that nobody handed to us.
pub fn descriptor() -> Option<RawFd> {
    LOGGER.get()?.file.as_ref().map(AsRawFd::as_raw_fd)
}

/// Why the program fails. COMPAT(containerd, CRI-O): on standard error *and* as the last record of the log.
pub fn last_words(line: &str) {
    if let Some(logger) = LOGGER.get().filter(|logger| logger.file.is_some()) {
        logger.write(Level::Error, line);
    }
    output::complain(line);
}

impl Logger {
    fn write(&self, level: Level, message: &str) {
        let now = SystemTime::now();
        let Some(mut file) = self.file.as_ref() else {
            return output::complain(&as_text(level, message, now));
        };
        let mut line = match self.format {
            Format::Text => as_text(level, message, now),
            Format::Json => as_json(level, message, now),
        };
        line.push('\n');
        // A full disk must not keep a container from being deleted.
        let _ = file.write_all(line.as_bytes());
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("corten")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match &self.trace {
            Some(trace) if record.level() == Level::Trace => trace.add(record.target(), &record.args().to_string()),
            _ if record.level() <= self.level => self.write(record.level(), &record.args().to_string()),
            _ => {}
        }
    }

    fn flush(&self) {}
}

/// logrus' names.
fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn as_json(level: Level, message: &str, now: SystemTime) -> String {
    /// In runc's order.
    #[derive(Serialize)]
    struct Line<'a> {
        level: &'a str,
        msg: &'a str,
        time: String,
    }
    let time = humantime::format_rfc3339_seconds(now).to_string();
    // Three strings always have a JSON form.
    serde_json::to_string(&Line { level: name(level), msg: message, time }).unwrap_or_default()
}

fn as_text(level: Level, message: &str, now: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(now);
    format!("time=\"{time}\" level={} msg={}", name(level), quoted(message))
}

/// As logrus and Go's strconv.Quote do it.
fn quoted(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._/@^+".contains(letter);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// 2001-09-09 01:46:40 UTC.
    fn then() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_999)
    }

    #[test]
    fn records_for_engines() {
        assert_eq!(
            as_json(Level::Error, "corten create failed: \"x\"\n", then()),
            r#"{"level":"error","msg":"corten create failed: \"x\"\n","time":"2001-09-09T01:46:40Z"}"#
        );
        assert!(as_json(Level::Warn, "", then()).starts_with(r#"{"level":"warning","msg":"","#));
    }

    #[test]
    fn records_for_people() {
        for (message, expected) in [
            ("done", "done"),
            ("/a/b-c_d", "/a/b-c_d"),
            ("two words", "\"two words\""),
            ("a \"b\" \\ \n\t\u{1}ä", r#""a \"b\" \\ \n\t\u0001ä""#),
        ] {
            let line = as_text(Level::Warn, message, then());
            assert_eq!(line, format!("time=\"2001-09-09T01:46:40Z\" level=warning msg={expected}"), "{message:?}");
        }
    }

    #[test]
    fn records_go_behind_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        std::fs::write(&path, "{\"level\":\"error\"}\n").unwrap();
        let logger =
            Logger { file: Some(open(&path).unwrap()), format: Format::Json, level: LevelFilter::Warn, trace: None };
        logger.write(Level::Warn, "one");
        logger.write(Level::Error, "two");
        let content = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[2]["level"], &lines[2]["msg"]), (&"error".into(), &"two".into()));
    }
}
