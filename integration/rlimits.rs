//! `process.rlimits`: all sixteen, soft and hard, exactly.

use serde_json::{Value, json};

use crate::support::Bundle;

/// Type, soft, hard, and the row of /proc/PID/limits. This machine cannot raise a limit.
const LIMITS: [(&str, u64, u64, &str); 16] = [
    ("RLIMIT_CPU", 1000, 2000, "Max cpu time"),
    ("RLIMIT_FSIZE", 1 << 30, 1 << 31, "Max file size"),
    ("RLIMIT_DATA", 1 << 33, 1 << 34, "Max data size"),
    ("RLIMIT_STACK", 8 << 20, 16 << 20, "Max stack size"),
    ("RLIMIT_CORE", 0, 1024, "Max core file size"),
    ("RLIMIT_RSS", 1 << 30, 1 << 31, "Max resident set"),
    ("RLIMIT_NPROC", 1000, 2000, "Max processes"),
    ("RLIMIT_NOFILE", 512, 1024, "Max open files"),
    ("RLIMIT_MEMLOCK", 4096, 8192, "Max locked memory"),
    ("RLIMIT_AS", 1 << 40, 1 << 41, "Max address space"),
    ("RLIMIT_LOCKS", 100, 200, "Max file locks"),
    ("RLIMIT_SIGPENDING", 300, 400, "Max pending signals"),
    ("RLIMIT_MSGQUEUE", 1000, 2000, "Max msgqueue size"),
    ("RLIMIT_NICE", 0, 0, "Max nice priority"),
    ("RLIMIT_RTPRIO", 0, 0, "Max realtime priority"),
    ("RLIMIT_RTTIME", 1_000_000, 2_000_000, "Max realtime timeout"),
];

fn rlimit(kind: &str, soft: u64, hard: u64) -> Value {
    json!({"type": kind, "soft": soft, "hard": hard})
}

/// Soft and hard of one row.
#[track_caller]
fn shown(table: &str, row: &str) -> (String, String) {
    let line = table.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row}: {table}"));
    let mut words = line[row.len()..].split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn each_is_exactly_as_configured() {
    let limits: Vec<_> = LIMITS.iter().map(|(kind, soft, hard, _)| rlimit(kind, *soft, *hard)).collect();
    let container = Bundle::sh(&format!("cat /proc/self/limits; {}", crate::support::bundle::IDLE))
        .set("/process/rlimits", limits)
        .start();
    container.says("Max realtime timeout");
    let tables = [container.stdout(), container.proc("limits")];
    for (kind, soft, hard, row) in LIMITS {
        for table in &tables {
            assert_eq!(shown(table, row), (soft.to_string(), hard.to_string()), "{kind}");
        }
    }
}

/// Two of them are 0 where nobody has raised them.
#[test]
fn those_that_are_0_can_be_raised() {
    crate::support::requires!(may_raise(), "CAP_SYS_RESOURCE");
    let limits = [rlimit("RLIMIT_NICE", 5, 6), rlimit("RLIMIT_RTPRIO", 7, 8)];
    let printed = Bundle::new().args(&["cat", "/proc/self/limits"]).set("/process/rlimits", limits.to_vec()).prints();
    assert_eq!(shown(&printed, "Max nice priority"), ("5".into(), "6".into()));
    assert_eq!(shown(&printed, "Max realtime priority"), ("7".into(), "8".into()));
}

#[test]
fn infinity_is_the_largest_number() {
    let bundle = Bundle::new().args(&["cat", "/proc/self/limits"]);
    let printed = bundle.push("/process/rlimits", rlimit("RLIMIT_CORE", u64::MAX, u64::MAX)).prints();
    assert_eq!(shown(&printed, "Max core file size"), ("unlimited".into(), "unlimited".into()));
}

/// Of a container with a user namespace the host sets them, and the program does not start before.
#[test]
fn in_a_user_namespace_the_program_starts_with_them() {
    let bundle = Bundle::new().args(&["cat", "/proc/self/limits"]).user_namespace(300_000);
    let printed = bundle.push("/process/rlimits", rlimit("RLIMIT_NOFILE", 100, 101)).prints();
    assert_eq!(shown(&printed, "Max open files"), ("100".into(), "101".into()));
}

#[test]
fn one_bites() {
    let script = "dd if=/dev/zero of=/tmp/file bs=1024 count=64 2>/dev/null; stat -c %s /tmp/file";
    let bundle = Bundle::sh(script).push("/process/rlimits", rlimit("RLIMIT_FSIZE", 4096, 4096));
    assert_eq!(bundle.prints(), "4096\n");
}

#[test]
fn others_are_inherited() {
    let bundle = Bundle::new().args(&["cat", "/proc/self/limits"]);
    let printed = bundle.through(["prlimit", "--sigpending=111:222", "--core=5:6", "--"]).prints();
    assert_eq!(shown(&printed, "Max pending signals"), ("111".into(), "222".into()));
    assert_eq!(shown(&printed, "Max core file size"), ("5".into(), "6".into()));
}

#[test]
fn an_unknown_type_is_refused() {
    for kind in ["RLIMIT_TEST", "NOFILE", "rlimit_nofile", ""] {
        let refusal = Bundle::new().push("/process/rlimits", rlimit(kind, 1, 1)).create_fails();
        refusal.names("process.rlimits[0].type");
    }
}

#[test]
fn a_type_given_twice_is_refused() {
    crate::support::differs!(Runc | Crun, "lets the last one win");
    let bundle = Bundle::new().push("/process/rlimits", rlimit("RLIMIT_CORE", 1, 1));
    bundle.push("/process/rlimits", rlimit("RLIMIT_CORE", 0, 0)).create_fails().names("process.rlimits[1]");
}

#[test]
fn soft_must_not_be_above_hard() {
    let refusal = Bundle::new().push("/process/rlimits", rlimit("RLIMIT_CORE", 2, 1)).create_fails();
    refusal.names("process.rlimits[0]");
}

fn may_raise() -> bool {
    let raise = "prlimit --core=1:1 sh -c 'prlimit --pid $$ --core=2:2'";
    crate::support::run::Run::host_sh(raise).output().status.success()
}

#[test]
fn a_limit_that_cannot_be_raised_is_refused() {
    crate::support::requires!(!may_raise(), "a machine without CAP_SYS_RESOURCE");
    let bundle = Bundle::new().push("/process/rlimits", rlimit("RLIMIT_CORE", 8, 8));
    let refusal = bundle.through(["prlimit", "--core=4:4", "--"]).create_fails();
    refusal.names("process.rlimits[0]").says("operation not permitted");
}
