//! Every wait has an end: this test finds the calls that may wait, and fails on one that is not in the table.

use std::collections::BTreeMap;

use crate::layers::lines;

/// What may wait. Reading may, too: on the container's side, of the channel and of FIFOs, whose end of file is the runtime's
/// death. A thread's end is waited for by who made it.
const CALLS: [&str; 17] = [
    "until_ready(",
    "until_any(",
    "poll(",
    "recv_timeout(",
    ".recv()",
    "waitid(",
    "waitpid(",
    ".wait()",
    ".output()",
    "thread::Builder",
    "thread::park(",
    "pthread_join(",
    "LOCK_EX",
    "connect(",
    "SYS_rt_sigsuspend",
    "sched_yield(",
    "sleep(",
];

/// How it comes to its end.
enum End {
    /// By a point in time.
    Deadline,
    /// At once: what is waited for has been seen already, or is not to be waited for.
    AtOnce,
    /// With what the caller has to decide on: its own program, its terminal, its readers, its hooks without a timeout.
    Callers,
}
use End::{AtOnce, Callers, Deadline};

/// File, call, how often it stands there, end.
const WAITS: [(&str, &str, usize, End); 44] = [
    ("channel/host_end.rs", "until_any(", 1, Deadline),
    ("channel/host_end.rs", "until_ready(", 1, AtOnce),
    ("cli/foreground.rs", "poll(", 1, Callers),
    ("cli/foreground.rs", "waitpid(", 1, AtOnce),
    ("cli/output.rs", "until_any(", 1, Callers),
    ("cli/ps.rs", ".output()", 1, Callers),
    ("cli/relay.rs", "poll(", 1, Callers),
    // flock(2) itself, and that of the thread, whose answer is waited for with a deadline.
    ("fs/lock.rs", "LOCK_EX", 2, Deadline),
    ("fs/lock.rs", "recv_timeout(", 1, Deadline),
    ("fs/lock.rs", "thread::Builder", 1, Deadline),
    // SO_SNDTIMEO.
    ("fs/sockets.rs", "connect(", 1, Deadline),
    ("host/container.rs", "until_ready(", 1, Deadline),
    ("host/events.rs", ".wait()", 1, Callers),
    ("host/handover.rs", "connect(", 2, Deadline),
    ("host/spawn.rs", "until_ready(", 1, Deadline),
    // CRIU, as long as it writes memory or reads it; or it has been killed, or its socket has come to its end.
    ("machine/criu/session.rs", ".wait()", 3, Callers),
    ("machine/criu/session.rs", "thread::Builder", 1, AtOnce),
    // It opens a socket.
    ("machine/rtnetlink.rs", "thread::Builder", 1, AtOnce),
    ("machine/systemd/connection.rs", "connect(", 1, Deadline),
    ("machine/systemd/connection.rs", "until_ready(", 1, Deadline),
    ("subsystems/cgroups/host/directory.rs", "until_ready(", 1, Deadline),
    ("subsystems/cgroups/host/freezer.rs", "until_any(", 1, Deadline),
    ("subsystems/cgroups/host/kill.rs", "until_ready(", 1, Deadline),
    ("subsystems/cgroups/host/remove.rs", "until_any(", 1, Deadline),
    ("subsystems/cgroups/host/remove.rs", "until_ready(", 1, Deadline),
    ("subsystems/cgroups/host/watch.rs", "until_any(", 1, Callers),
    ("subsystems/hooks.rs", ".wait()", 2, AtOnce),
    ("subsystems/hooks.rs", "until_any(", 1, Callers),
    // It opens a file.
    ("subsystems/namespaces/host.rs", "thread::Builder", 1, AtOnce),
    ("subsystems/namespaces/id_maps.rs", ".wait()", 2, AtOnce),
    ("subsystems/namespaces/id_maps.rs", "until_ready(", 1, Deadline),
    ("subsystems/network.rs", "thread::Builder", 1, AtOnce),
    ("subsystems/readiness.rs", "connect(", 1, Deadline),
    ("subsystems/readiness.rs", "until_any(", 1, Callers),
    ("subsystems/readiness.rs", "until_ready(", 1, Deadline),
    // The placeholder, which dies with who made it.
    ("sys/clone.rs", "SYS_rt_sigsuspend", 1, Callers),
    ("sys/fd.rs", "poll(", 1, AtOnce),
    ("sys/pidfd.rs", "until_any(", 1, Deadline),
    ("sys/pidfd.rs", "until_ready(", 2, Deadline),
    ("sys/pidfd.rs", "waitid(", 2, AtOnce),
    // It makes a namespace.
    ("sys/thread.rs", "pthread_join(", 1, AtOnce),
    // For who made the thread, which does nothing between that and what is waited for but a call that does not wait.
    ("sys/thread.rs", "sched_yield(", 1, AtOnce),
    ("sys/wait.rs", "poll(", 1, Deadline),
    ("sys/wait.rs", "until_any(", 1, Deadline),
];

/// How often a call stands in a line of code: not where it is declared, nor in text.
fn count(line: &str, call: &str) -> usize {
    let code: String = line.split('"').step_by(2).collect();
    let code = code.split("//").next().unwrap_or_default();
    let code = code.trim_start();
    if code.starts_with("use ") || code.starts_with("pub use ") {
        return 0;
    }
    let part_of_name = |before: &str| before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    code.match_indices(call)
        .filter(|(at, _)| {
            let before = &code[..*at];
            call.starts_with('.') || (!part_of_name(before) && !before.ends_with("fn "))
        })
        .count()
}

#[test]
fn every_wait_is_in_the_table() {
    let mut found: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let mut tests_of = None;
    for (_, path, _, line) in lines() {
        if line.starts_with("#[cfg(test)]") && path.file_name().is_some_and(|name| name != "lib.rs") {
            tests_of = Some(path.clone());
        }
        if tests_of.as_ref() == Some(&path) || path.ends_with("waits.rs") || path.ends_with("tests.rs") {
            continue;
        }
        for call in CALLS {
            let times = count(&line, call);
            if times > 0 {
                *found.entry((path.to_string_lossy().into_owned(), call)).or_default() += times;
            }
        }
    }
    let known: BTreeMap<(String, &str), usize> =
        WAITS.iter().map(|(path, call, times, _)| (((*path).to_owned(), *call), *times)).collect();
    assert_eq!(
        found, known,
        "a call that may wait has come or gone: see that it comes to an end, and put it into the table"
    );
}

#[test]
fn calls_are_found_in_lines() {
    assert_eq!(count("    match poll(&mut polled, timeout) {", "poll("), 1);
    assert_eq!(count("    fn wait_for_poll(fds) { epoll(x) } // poll(2)", "poll("), 0);
    assert_eq!(count("let x = child.wait().or_call(|| \".wait()\")?;", ".wait()"), 1);
}
