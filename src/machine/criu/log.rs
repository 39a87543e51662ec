//! What CRIU's log says about a failure.

/// How many lines go into an error.
const MOST: usize = 3;

/// The first errors, which are the cause of the others, on one line. `None`: there is none.
pub fn decisive(log: &str) -> Option<String> {
    let is_error = |line: &&str| {
        line.split_once(')').is_some_and(|(_, rest)| {
            rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ':' || letter == ' ')
                .starts_with("Error (")
        })
    };
    let errors = log.lines().filter(is_error).map(without_stamp).take_while(|error| !error.ends_with(" FAILED."));
    let errors: Vec<_> = errors.take(MOST).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// A line without its time, its process and the place in CRIU's source: `(00.001234)   1: Error (criu/x.c:7): Can't` is `Can't`.
pub fn without_stamp(line: &str) -> &str {
    let message = line.split_once("Error (").and_then(|(_, rest)| rest.split_once("): "));
    message.map_or(line, |(_, message)| message).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_errors_are_the_cause() {
        let log = "(00.000001) Version: 4.1\n\
            (00.050000) Warn  (criu/kerndat.c:1): no Error (yet)\n\
            (00.100000)      7: Error (criu/files-reg.c:1815): Can't lookup mount=1 for fd=3\n\
            (00.100001) ----------------------------------------\n\
            (00.100002) Error (criu/cr-dump.c:1550): Dump files (pid: 7) failed with -1\n\
            (00.100003) Error (criu/a.c:1): third\n(00.100004) Error (criu/a.c:2): fourth\n";
        let expected = "Can't lookup mount=1 for fd=3; Dump files (pid: 7) failed with -1; third";
        assert_eq!(decisive(log).as_deref(), Some(expected));
        let alone = "(00.1) Error (criu/a.c:1): why\n(00.2) Error (criu/b.c:1): Restoring FAILED.\n(00.3) Error (criu/c.c:1): x\n";
        assert_eq!(decisive(alone).as_deref(), Some("why"));
        assert_eq!(decisive("(00.000001) Version: 4.1\n"), None);
    }
}
