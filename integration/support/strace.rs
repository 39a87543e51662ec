//! strace(1), which changes what system calls of the runtime do.

use super::run::Run;

/// What stands before a command for that: see `inject` in strace(1).
pub fn injecting(what: &str) -> [String; 6] {
    ["strace", "--quiet=all", "-o", "/dev/null", "-e", &format!("inject={what}")].map(str::to_owned)
}

/// Whether there is one, new enough, that may trace.
pub fn can_poke() -> bool {
    let [strace, arguments @ ..] = injecting("fstatfs:poke_exit=@arg2=00");
    Run::new(strace).args(arguments).arg("true").output().status.success()
}
