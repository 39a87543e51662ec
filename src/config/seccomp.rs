//! `linux.seccomp`: a profile of system calls, settled. Names are still names: numbers differ by architecture.

use std::path::PathBuf;

use oci_spec::runtime::{self, Arch};
use serde::{Deserialize, Serialize};

use super::property::unless_empty;
use crate::error::{Error, Result};

/// The checked profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Seccomp {
    /// For system calls that no rule names.
    pub default_action: Action,
    /// Beside the machine's own, which is always there.
    pub architectures: Vec<Arch>,
    /// `SECCOMP_FILTER_FLAG_*` bits of seccomp(2). Unset in config.json: SPEC_ALLOW, as runc; an empty list: none.
    /// Never TSYNC, which says nothing to a process of one thread and is refused together with a listener.
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
    Masked {
        mask: u64,
        value: u64,
    },
}

/// `listenerPath` and `listenerMetadata`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// An AF_UNIX stream socket.
    pub path: PathBuf,
    /// Passed on as it is.
    pub metadata: Option<String>,
}

impl Seccomp {
    /// Checks the chapter.
    pub(super) fn check(spec: &runtime::LinuxSeccomp) -> Result<Self> {
        let rules = spec.syscalls().iter().flatten().enumerate();
        let rules: Vec<Rule> = rules.map(|(index, rule)| check_rule(index, rule)).collect::<Result<_>>()?;
        let notifies = rules.iter().any(|rule| rule.action == Action::Notify);
        Ok(Self {
            default_action: check_default_action(spec)?,
            architectures: check_architectures(spec)?,
            flags: check_flags(spec, notifies),
            listener: check_listener(spec, notifies)?,
            rules,
        })
    }
}

fn check_default_action(spec: &runtime::LinuxSeccomp) -> Result<Action> {
    let property = "linux.seccomp.defaultAction";
    let action = check_action(spec.default_action(), "linux.seccomp.defaultErrnoRet", spec.default_errno_ret())?;
    if action == Action::Notify {
        // ORDER: with it nobody could be told about the listener.
        return Err(Error::unsupported(property, "SCMP_ACT_NOTIFY cannot be used as default action"));
    }
    Ok(action)
}

/// SPEC(config, linux.seccomp): an errno for an action that takes none is an error. Unset: EPERM.
fn check_action(spec: runtime::LinuxSeccompAction, errno_property: &str, errno: Option<u32>) -> Result<Action> {
    use runtime::LinuxSeccompAction as Spec;
    let action = match spec {
        Spec::ScmpActErrno => return Ok(Action::Errno(check_errno(errno_property, errno, 4095)?)),
        Spec::ScmpActTrace => return Ok(Action::Trace(check_errno(errno_property, errno, u16::MAX)?)),
        // libseccomp's SCMP_ACT_KILL is the thread.
        Spec::ScmpActKill | Spec::ScmpActKillThread => Action::KillThread,
        Spec::ScmpActKillProcess => Action::KillProcess,
        Spec::ScmpActTrap => Action::Trap,
        Spec::ScmpActNotify => Action::Notify,
        Spec::ScmpActLog => Action::Log,
        Spec::ScmpActAllow => Action::Allow,
    };
    match errno {
        None => Ok(action),
        Some(errno) => Err(Error::invalid(errno_property, format!("{errno} is given, but {spec} takes no errno"))),
    }
}

/// KERNEL: MAX_ERRNO is 4095; a tracer gets 16 bits.
fn check_errno(property: &str, errno: Option<u32>, last: u16) -> Result<u16> {
    let errno = errno.unwrap_or(libc::EPERM.unsigned_abs());
    match u16::try_from(errno) {
        Ok(number) if number <= last => Ok(number),
        Ok(_) | Err(_) => Err(Error::invalid(property, format!("{errno} is out of range (0 to {last})"))),
    }
}

/// SPEC(config, linux.seccomp.architectures): libseccomp's NATIVE is none of the list.
fn check_architectures(spec: &runtime::LinuxSeccomp) -> Result<Vec<Arch>> {
    let architectures = spec.architectures().clone().unwrap_or_default();
    match architectures.iter().position(|arch| *arch == Arch::ScmpArchNative) {
        None => Ok(architectures),
        Some(index) => Err(Error::invalid(
            format!("linux.seccomp.architectures[{index}]"),
            "unknown value \"SCMP_ARCH_NATIVE\": this machine's own architecture is always there",
        )),
    }
}

/// COMPAT(runc): SPEC_ALLOW when there is no list.
fn check_flags(spec: &runtime::LinuxSeccomp, notifies: bool) -> u64 {
    use runtime::LinuxSeccompFilterFlag as Flag;
    let Some(flags) = spec.flags() else { return libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW };
    let bits = |flag: &Flag| match flag {
        Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        Flag::SeccompFilterFlagTsync => 0,
        // KERNEL(5.19): refused without a listener.
        Flag::SeccompFilterFlagWaitKillableRecv if !notifies => 0,
        Flag::SeccompFilterFlagWaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    };
    flags.iter().map(bits).fold(0, |all, bit| all | bit)
}

/// SPEC(config, linux.seccomp.listenerPath): used with NOTIFY alone; metadata must not stand without it.
fn check_listener(spec: &runtime::LinuxSeccomp, notifies: bool) -> Result<Option<Listener>> {
    let path = spec.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
    let metadata = unless_empty(spec.listener_metadata().as_ref());
    match (path, notifies) {
        (None, _) if metadata.is_some() => {
            Err(Error::invalid("linux.seccomp.listenerMetadata", "is given without listenerPath"))
        }
        (None, true) => Err(Error::invalid("linux.seccomp.listenerPath", "is required by the action SCMP_ACT_NOTIFY")),
        (None, false) | (Some(_), false) => Ok(None),
        (Some(path), true) => Ok(Some(Listener { path, metadata })),
    }
}

fn check_rule(index: usize, spec: &runtime::LinuxSyscall) -> Result<Rule> {
    let property = format!("linux.seccomp.syscalls[{index}]");
    let action = check_action(spec.action(), &format!("{property}.errnoRet"), spec.errno_ret())?;
    let conditions = spec.args().iter().flatten().enumerate();
    let conditions = conditions.map(|(index, arg)| check_condition(&format!("{property}.args[{index}]"), arg));
    Ok(Rule {
        names: check_names(&property, spec.names(), action)?,
        action,
        conditions: conditions.collect::<Result<_>>()?,
        property,
    })
}

/// SPEC(config, linux.seccomp.syscalls): at least one name.
fn check_names(property: &str, names: &[String], action: Action) -> Result<Vec<String>> {
    if names.is_empty() {
        return Err(Error::invalid(format!("{property}.names"), "is empty"));
    }
    if let Some(index) = names.iter().position(String::is_empty) {
        return Err(Error::invalid(format!("{property}.names[{index}]"), "is empty"));
    }
    if action == Action::Notify && names.iter().any(|name| name == "write") {
        // ORDER: init must write about the listener before anybody listens.
        return Err(Error::unsupported(property, "SCMP_ACT_NOTIFY cannot be used for the write syscall"));
    }
    Ok(names.to_vec())
}

/// KERNEL: a system call has six arguments.
fn check_condition(property: &str, spec: &runtime::LinuxSeccompArg) -> Result<Condition> {
    use runtime::LinuxSeccompOperator as Operator;
    let index = match u8::try_from(spec.index()) {
        Ok(index) if index <= 5 => index,
        Ok(_) | Err(_) => {
            let why = format!("{} is out of range (0 to 5)", spec.index());
            return Err(Error::invalid(format!("{property}.index"), why));
        }
    };
    let value = spec.value();
    let test = match spec.op() {
        Operator::ScmpCmpNe => Test::NotEqual(value),
        Operator::ScmpCmpLt => Test::Less(value),
        Operator::ScmpCmpLe => Test::LessOrEqual(value),
        Operator::ScmpCmpEq => Test::Equal(value),
        Operator::ScmpCmpGe => Test::GreaterOrEqual(value),
        Operator::ScmpCmpGt => Test::Greater(value),
        Operator::ScmpCmpMaskedEq => Test::Masked { mask: value, value: spec.value_two().unwrap_or(0) },
    };
    Ok(Condition { index, test })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::testing::{accept, assert_refused};
    use crate::error::Kind;

    fn profile(patch: Value) -> Value {
        let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        crate::config::testing::merge(&mut profile, &patch);
        json!({"linux": {"seccomp": profile}})
    }

    fn rule(patch: Value) -> Value {
        let mut rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"});
        crate::config::testing::merge(&mut rule, &patch);
        profile(json!({"syscalls": [rule]}))
    }

    fn settled(patch: Value) -> Seccomp {
        accept(&patch).linux.seccomp.unwrap()
    }

    #[test]
    fn actions() {
        let rows = [
            ("SCMP_ACT_KILL", Action::KillThread),
            ("SCMP_ACT_KILL_THREAD", Action::KillThread),
            ("SCMP_ACT_KILL_PROCESS", Action::KillProcess),
            ("SCMP_ACT_TRAP", Action::Trap),
            ("SCMP_ACT_ERRNO", Action::Errno(1)),
            ("SCMP_ACT_TRACE", Action::Trace(1)),
            ("SCMP_ACT_LOG", Action::Log),
            ("SCMP_ACT_ALLOW", Action::Allow),
        ];
        for (name, action) in rows {
            assert_eq!(settled(rule(json!({"action": name}))).rules[0].action, action, "{name}");
            assert_eq!(settled(profile(json!({"defaultAction": name}))).default_action, action, "{name}");
        }
        assert_eq!(settled(rule(json!({"errnoRet": 4095}))).rules[0].action, Action::Errno(4095));
        assert_eq!(settled(rule(json!({"errnoRet": 0}))).rules[0].action, Action::Errno(0));
        let trace = settled(rule(json!({"action": "SCMP_ACT_TRACE", "errnoRet": 65535})));
        assert_eq!(trace.rules[0].action, Action::Trace(65535));
    }

    #[test]
    fn architectures() {
        // SPEC(config, linux.seccomp.architectures): the whole list.
        let names = [
            "X86",
            "X86_64",
            "X32",
            "ARM",
            "AARCH64",
            "MIPS",
            "MIPS64",
            "MIPS64N32",
            "MIPSEL",
            "MIPSEL64",
            "MIPSEL64N32",
            "PPC",
            "PPC64",
            "PPC64LE",
            "S390",
            "S390X",
            "PARISC",
            "PARISC64",
            "RISCV64",
            "LOONGARCH64",
            "M68K",
            "SH",
            "SHEB",
        ]
        .map(|name| format!("SCMP_ARCH_{name}"));
        let parsed = settled(profile(json!({"architectures": names}))).architectures;
        assert_eq!(parsed.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
    }

    #[test]
    fn flags() {
        let flags = |patch| settled(patch).flags;
        let all = json!([
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
        ]);
        assert_eq!(flags(profile(json!({}))), 4);
        assert_eq!(flags(profile(json!({"flags": []}))), 0);
        assert_eq!(flags(profile(json!({"flags": all}))), 2 | 4);
        let notify = json!({"flags": all, "listenerPath": "/run/agent.sock",
                            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
        assert_eq!(flags(profile(notify)), 2 | 4 | 32);
    }

    #[test]
    fn listeners() {
        let rules = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
        let used = settled(profile(json!({"listenerPath": "/a", "listenerMetadata": "m", "syscalls": rules})));
        assert_eq!(used.listener, Some(Listener { path: "/a".into(), metadata: Some("m".to_owned()) }));
        assert_eq!(settled(profile(json!({"listenerPath": "/a", "listenerMetadata": "m"}))).listener, None);
        assert_eq!(settled(profile(json!({"listenerPath": "", "listenerMetadata": ""}))).listener, None);
    }

    #[test]
    fn conditions() {
        let rows = [
            ("NE", Test::NotEqual(7)),
            ("LT", Test::Less(7)),
            ("LE", Test::LessOrEqual(7)),
            ("EQ", Test::Equal(7)),
            ("GE", Test::GreaterOrEqual(7)),
            ("GT", Test::Greater(7)),
            ("MASKED_EQ", Test::Masked { mask: 7, value: 3 }),
        ];
        for (name, test) in rows {
            let arg = json!({"index": 5, "value": 7, "valueTwo": 3, "op": format!("SCMP_CMP_{name}")});
            let conditions = settled(rule(json!({"args": [arg, arg]}))).rules.remove(0).conditions;
            assert_eq!(conditions, [Condition { index: 5, test }; 2], "{name}");
        }
        let arg = json!({"index": 0, "value": u64::MAX, "op": "SCMP_CMP_MASKED_EQ"});
        let masked = settled(rule(json!({"args": [arg]}))).rules.remove(0);
        assert_eq!(masked.conditions[0].test, Test::Masked { mask: u64::MAX, value: 0 });
        assert_eq!(masked.property, "linux.seccomp.syscalls[0]");
    }

    #[test]
    fn refused() {
        assert_refused(
            Kind::InvalidConfig,
            &[
                ("names", rule(json!({"names": []})), "linux.seccomp.syscalls[0].names: is empty"),
                ("name", rule(json!({"names": ["a", ""]})), "linux.seccomp.syscalls[0].names[1]: is empty"),
                (
                    "errno",
                    rule(json!({"errnoRet": 4096})),
                    "linux.seccomp.syscalls[0].errnoRet: 4096 is out of range (0 to 4095)",
                ),
                (
                    "trace",
                    rule(json!({"action": "SCMP_ACT_TRACE", "errnoRet": 65536})),
                    "linux.seccomp.syscalls[0].errnoRet: 65536 is out of range (0 to 65535)",
                ),
                (
                    "errno of allow",
                    rule(json!({"action": "SCMP_ACT_ALLOW", "errnoRet": 0})),
                    "linux.seccomp.syscalls[0].errnoRet: 0 is given, but SCMP_ACT_ALLOW takes no errno",
                ),
                (
                    "default errno",
                    profile(json!({"defaultErrnoRet": 1})),
                    "linux.seccomp.defaultErrnoRet: 1 is given, but SCMP_ACT_ALLOW takes no errno",
                ),
                (
                    "index",
                    rule(json!({"args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]})),
                    "linux.seccomp.syscalls[0].args[0].index: 6 is out of range (0 to 5)",
                ),
                (
                    "operator",
                    rule(json!({"args": [{"index": 0, "value": 0, "op": "EQ"}]})),
                    "linux.seccomp.syscalls[0].args[0].op: unknown value \"EQ\", expected one of \"SCMP_CMP_NE\", \
                     \"SCMP_CMP_LT\", \"SCMP_CMP_LE\", \"SCMP_CMP_EQ\", \"SCMP_CMP_GE\", \"SCMP_CMP_GT\", \"SCMP_CMP_MASKED_EQ\"",
                ),
                (
                    "flag",
                    profile(json!({"flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]})),
                    "linux.seccomp.flags[0]: unknown value \"SECCOMP_FILTER_FLAG_NEW_LISTENER\", expected one of \
                     \"SECCOMP_FILTER_FLAG_LOG\", \"SECCOMP_FILTER_FLAG_TSYNC\", \"SECCOMP_FILTER_FLAG_SPEC_ALLOW\", \
                     \"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\"",
                ),
                (
                    "native",
                    profile(json!({"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_NATIVE"]})),
                    "linux.seccomp.architectures[1]: unknown value \"SCMP_ARCH_NATIVE\": this machine's own architecture is always there",
                ),
                (
                    "no listener",
                    rule(json!({"action": "SCMP_ACT_NOTIFY"})),
                    "linux.seccomp.listenerPath: is required by the action SCMP_ACT_NOTIFY",
                ),
                (
                    "metadata",
                    profile(json!({"listenerMetadata": "m"})),
                    "linux.seccomp.listenerMetadata: is given without listenerPath",
                ),
                (
                    "empty action, but rules",
                    profile(json!({"defaultAction": "", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG"}]})),
                    "linux.seccomp.defaultAction: unknown value \"\", expected one of \"SCMP_ACT_KILL\", \
                     \"SCMP_ACT_KILL_THREAD\", \"SCMP_ACT_KILL_PROCESS\", \"SCMP_ACT_TRAP\", \"SCMP_ACT_ERRNO\", \
                     \"SCMP_ACT_NOTIFY\", \"SCMP_ACT_TRACE\", \"SCMP_ACT_LOG\", \"SCMP_ACT_ALLOW\"",
                ),
            ],
        );
        assert_refused(
            Kind::Unsupported,
            &[
                (
                    "default",
                    profile(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/a"})),
                    "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
                ),
                (
                    "write",
                    rule(json!({"names": ["mkdir", "write"], "action": "SCMP_ACT_NOTIFY"})),
                    "linux.seccomp.syscalls[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
                ),
            ],
        );
    }
}
