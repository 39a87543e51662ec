//! Tests that cannot run here, or that are not about the program under test.

use std::fs::File;
use std::io::Write;

/// Says that a test did not run and why: on the real stderr, which libtest does not capture, and in the file that
/// `CORTEN_REPORT` names, from which `integration/coverage` learns it.
pub fn skip(test: &str, why: &str) {
    let test = test.trim_end_matches("::here");
    // The name that the harness has for it is without the crate's.
    let test = test.split_once("::").map_or(test, |(_, name)| name);
    let line = format!("SKIP {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(report) = std::env::var_os("CORTEN_REPORT") {
        // In one write: tests run side by side.
        File::options().append(true).open(report).unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// Ends the test here, with a printed reason, unless the machine has what it needs.
macro_rules! requires {
    ($condition:expr, $missing:expr) => {
        if !$condition {
            fn here() {}
            $crate::support::skip::skip(std::any::type_name_of_val(&here), &format!("needs {}", $missing));
            return;
        }
    };
}
pub(crate) use requires;

/// Ends the test here, with a printed reason, if the program under test is a peer that behaves differently. With
/// `CORTEN_ALL=1` it runs nevertheless, to see whether the peer still does.
macro_rules! differs {
    ($($peer:ident)|+, $why:expr) => {
        if matches!($crate::support::peer::peer(), $($crate::support::Peer::$peer)|+) && !$crate::support::peer::run_all() {
            fn here() {}
            let why = format!("{:?} differs: {}", $crate::support::peer::peer(), $why);
            $crate::support::skip::skip(std::any::type_name_of_val(&here), &why);
            return;
        }
    };
}
pub(crate) use differs;
