//! `linux.seccomp`: a profile of system calls, settled. Names are still names: numbers differ by architecture.

use std::path::PathBuf;

use oci_spec::runtime::Arch;

/// The checked profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Seccomp {
    /// For system calls that no rule names.
    pub default_action: Action,
    /// Beside the machine's own, which is always there.
    pub architectures: Vec<Arch>,
    /// `SECCOMP_FILTER_FLAG_*` bits of seccomp(2). Unset in config.json: SPEC_ALLOW, as runc; an empty list: none.
    pub flags: u64,
    /// In order.
    pub rules: Vec<Rule>,
    /// Who gets the listener of `Action::Notify`.
    pub listener: Option<Listener>,
}

/// What the kernel does with a call; the argument is the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are seccomp(2)'s")]
pub enum Action {
    KillProcess,
    KillThread,
    Trap,
    Errno(u16),
    Trace(u16),
    Notify,
    Log,
    Allow,
}

/// One entry of `syscalls`, its names all with the same action.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// `linux.seccomp.syscalls[3]`.
    pub property: String,
    /// At least one; a name that no architecture knows is skipped.
    pub names: Vec<String>,
    /// What happens when all conditions hold.
    pub action: Action,
    /// All must hold. Two on one index mean "either", as in runc: they are kept here as written.
    pub conditions: Vec<Condition>,
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// 0..=5.
    pub index: u8,
    /// How it is compared, with what.
    pub test: Test,
}

/// Comparisons of unsigned 64-bit arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Test {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    /// `argument & mask == value`.
    Masked { mask: u64, value: u64 },
}

/// `listenerPath` and `listenerMetadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// An AF_UNIX stream socket.
    pub path: PathBuf,
    /// Passed on as it is.
    pub metadata: Option<String>,
}
