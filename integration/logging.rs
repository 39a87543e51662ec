//! `--log`, `--log-format`, `--debug`, and what is said where.

use std::fs;

use serde_json::Value;

use crate::support::peer::{is_corten, program, program_name};
use crate::support::run::{Output, Run};
use crate::support::{Bundle, differs};

/// `corten --log LOG FLAGS --root STATE ARGS`, and the log.
fn logged(bundle: &Bundle, flags: &[&str], args: &[&str]) -> (Output, String) {
    let log = bundle.path("log");
    let run = Run::new(program()).arg("--log").arg(&log).args(flags).arg("--root").arg(bundle.state_root()).args(args);
    (run.output(), fs::read_to_string(log).unwrap())
}

fn records(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn an_error_is_one_json_record_and_one_line() {
    differs!(Crun, "has words of its own");
    let bundle = Bundle::new();
    let (output, log) = logged(&bundle, &["--log-format", "json"], &["state", "no-such-id"]);
    assert_eq!(output.status.code(), Some(1));
    let records = records(&log);
    assert_eq!(records.len(), 1, "{log}");
    assert_eq!(records[0]["level"], "error");
    assert!(records[0]["msg"].as_str().unwrap().contains("does not exist"), "{log}");
    let time = records[0]["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "containerd parses it as RFC 3339: {time}");
    assert!(output.stderr.contains("does not exist"), "CRI-O and conmon see only stderr: {output:#?}");
    if is_corten() {
        let prefix = format!("{} state failed: ", program_name());
        assert!(output.stderr.starts_with(&prefix) && output.stderr.lines().count() == 1, "{output:#?}");
    }
}

#[test]
fn equals_signs_and_text_work_too() {
    differs!(Crun, "has words of its own");
    let bundle = Bundle::new();
    let (_, log) = logged(&bundle, &["--log-format=text"], &["state", "no-such-id"]);
    assert_eq!(log.lines().count(), 1);
    assert!(log.contains("does not exist") && (log.contains("level=error") || !is_corten()), "{log}");
}

/// Without the file containerd reports that it cannot open it, and Docker makes exit status 127 of that.
#[test]
fn the_file_is_there_whatever_fails() {
    differs!(Crun, "opens it after it has parsed the command");
    for args in [
        ["create", "--bundle=/no/such/bundle", "x"].as_slice(),
        &["create", "--no-such-flag", "x"],
        &["create"],
        &["start", "no-such-id"],
        &["state", "../x"],
        &["delete", "no-such-id"],
    ] {
        let bundle = Bundle::new();
        let (output, log) = logged(&bundle, &["--log-format=json"], args);
        assert!(!output.status.success(), "{args:?}");
        if is_corten() {
            assert_eq!(records(&log).last().expect(&log)["level"], "error", "{args:?}");
        }
    }
}

#[test]
fn success_writes_no_error_and_says_nothing() {
    let bundle = Bundle::new();
    let log = bundle.path("log");
    let bundle = bundle.global("--log").global(log.to_str().unwrap()).global("--log-format=json");
    bundle.write();
    bundle.command("run").output().ok().silent();
    assert_eq!(fs::read_to_string(log).unwrap(), "");
}

#[test]
fn several_commands_append_to_one_log() {
    let bundle = Bundle::new();
    logged(&bundle, &["--log-format=json"], &["state", "first"]);
    let (_, log) = logged(&bundle, &["--log-format=json"], &["state", "second"]);
    assert_eq!(records(&log).len(), 2);
}

#[test]
fn debug_says_more() {
    let bundle = Bundle::new();
    let log = bundle.path("log");
    let bundle = bundle.global("--debug").global("--log").global(log.to_str().unwrap()).global("--log-format=json");
    bundle.write();
    bundle.command("run").output().ok().silent();
    let log = fs::read_to_string(log).unwrap();
    differs!(Crun, "has nothing to say");
    assert!(records(&log).iter().any(|record| record["level"] == "debug"), "{log}");
}

#[test]
fn without_a_log_the_error_is_on_stderr() {
    let bundle = Bundle::new();
    let output = bundle.runtime("state").arg("no-such-id").output().exits(1);
    assert_eq!((output.stdout.as_str(), output.stderr.lines().count()), ("", 1));
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let bundle = Bundle::new();
    let run = Run::new(program()).args(["--log", "/no/such/directory/log", "--root"]).arg(bundle.state_root());
    let output = run.args(["list"]).output();
    assert!(!output.status.success() && output.stderr.contains("/no/such/directory/log"), "{output:#?}");
}

#[test]
fn an_unknown_format_is_an_error() {
    let bundle = Bundle::new();
    let run = Run::new(program()).args(["--log-format=yaml", "--root"]).arg(bundle.state_root()).arg("list");
    let output = run.output();
    assert!(!output.status.success() && output.stderr.contains("yaml"), "{output:#?}");
}

#[test]
fn the_log_survives_a_configuration_with_line_breaks() {
    differs!(Crun, "takes the name");
    let refusal = Bundle::new().args(&["no\nsuch\n\"program\""]).create_fails();
    assert_eq!(refusal.text.lines().count(), 1, "{}", refusal.text);
}
