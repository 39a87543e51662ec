//! `process`: the program, who it is, and what it may do.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use oci_spec::runtime;
use serde::{Deserialize, Serialize};

use super::document::Node;
use super::presence::require;
use super::property::{Property, absolute, unless_empty};
use super::scheduling::{ExecAffinity, IoPriority, Scheduler};
use crate::error::{Error, Result};

/// The checked chapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// `Some` when `terminal` is true; its size is ignored otherwise.
    pub terminal: Option<Terminal>,
    /// Absolute.
    pub cwd: PathBuf,
    /// argv; not empty.
    pub args: Vec<String>,
    /// `K=V`, the last of one key wins.
    pub env: Vec<String>,
    /// Numbers only: names are the engine's business.
    pub user: User,
    /// `None`: the sets are left as they are.
    pub capabilities: Option<Capabilities>,
    /// No type twice.
    pub rlimits: Vec<Rlimit>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// -1000..=1000; `None`: inherited, not touched.
    pub oom_score_adj: Option<i32>,
    /// An AppArmor profile to change to at execve.
    pub apparmor_profile: Option<String>,
    /// An SELinux label to change to at execve.
    pub selinux_label: Option<String>,
    /// `None`: inherited, not touched.
    pub scheduler: Option<Scheduler>,
    /// `None`: inherited, not touched.
    pub io_priority: Option<IoPriority>,
    /// `None`: a process of exec may run on all CPUs of the container.
    pub exec_affinity: Option<ExecAffinity>,
}

/// `terminal` and `consoleSize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Rows and columns, when given.
    pub size: Option<(u16, u16)>,
}

/// `user`, in ids of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// The additional groups are the caller's instead (see [`KEEP_GROUPS`]).
    pub keeps_groups: bool,
    /// Unset in config.json: 0022, what runc and crun give every container.
    pub umask: u32,
}

/// COMPAT(crun, Podman's `--group-add keep-groups`): with the value "1" the container's processes keep the additional groups of
/// who makes them. A user who may not map those groups can use what they own nevertheless.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// A set of capabilities as the kernel's bit mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapSet(pub u64);

/// The five sets (capabilities(7)); an omitted one is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub struct Capabilities {
    pub bounding: CapSet,
    pub effective: CapSet,
    pub inheritable: CapSet,
    pub permitted: CapSet,
    pub ambient: CapSet,
}

/// All capabilities, in the order of their numbers: the one table that the parser, `features` and the messages read.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// One entry of `rlimits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// The kernel's number (`RLIMIT_NOFILE` = 7).
    pub resource: u32,
    /// `u64::MAX` is no limit.
    pub soft: u64,
    /// `u64::MAX` is no limit.
    pub hard: u64,
}

/// All resource limits and their numbers on the architectures that we build for.
pub const RLIMITS: [(&str, u32); 16] = [
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
];

impl Process {
    /// Checks the chapter. `given` is the object as written, where oci-spec does not tell absent from 0.
    pub(super) fn check(spec: &runtime::Process, given: &Node<'_>, warnings: &mut Vec<String>) -> Result<Self> {
        Ok(Self {
            terminal: check_terminal(spec, given)?,
            cwd: absolute("process.cwd", spec.cwd())?,
            args: check_args(spec)?,
            env: check_env(spec)?,
            user: check_user(spec.user())?,
            capabilities: check_capabilities(given, warnings),
            rlimits: check_rlimits(spec)?,
            no_new_privileges: spec.no_new_privileges().unwrap_or(false),
            oom_score_adj: check_oom_score_adj(spec)?,
            apparmor_profile: unless_empty(spec.apparmor_profile().as_ref()),
            selinux_label: unless_empty(spec.selinux_label().as_ref()),
            scheduler: Scheduler::check(spec.scheduler().as_ref(), given)?,
            io_priority: IoPriority::check(spec.io_priority().as_ref(), given)?,
            exec_affinity: ExecAffinity::check(given)?,
        })
    }
}

/// SPEC(config, process.consoleSize): ignored without a terminal; height and width are required in it.
fn check_terminal(spec: &runtime::Process, given: &Node<'_>) -> Result<Option<Terminal>> {
    if !spec.terminal().unwrap_or(false) {
        return Ok(None);
    }
    let Some(size) = spec.console_size() else { return Ok(Some(Terminal { size: None })) };
    let at = Property::Document("process");
    for key in ["height", "width"] {
        require(&Property::Key(&at, "consoleSize"), given.get("consoleSize"), key)?;
    }
    let rows = terminal_size("process.consoleSize.height", size.height())?;
    let columns = terminal_size("process.consoleSize.width", size.width())?;
    Ok(Some(Terminal { size: Some((rows, columns)) }))
}

fn terminal_size(property: &str, value: u64) -> Result<u16> {
    u16::try_from(value)
        .map_err(|_| Error::invalid(property, format!("{value} is more than a terminal can have, 65535")))
}

/// SPEC(config, process.args): at least one entry on Linux.
fn check_args(spec: &runtime::Process) -> Result<Vec<String>> {
    match spec.args() {
        Some(args) if !args.is_empty() => Ok(args.clone()),
        Some(_) | None => Err(Error::invalid("process.args", "is empty: there is no program to run")),
    }
}

/// SPEC(config, process.env): `K=V`. The last of one key wins and keeps its place, as in runc.
fn check_env(spec: &runtime::Process) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    let mut env = Vec::new();
    for (index, entry) in spec.env().as_deref().unwrap_or_default().iter().enumerate().rev() {
        let key = check_env_entry(index, entry)?;
        if seen.insert(key) {
            env.push(entry.clone());
        }
    }
    env.reverse();
    Ok(env)
}

/// The key of an entry.
fn check_env_entry(index: usize, entry: &str) -> Result<&str> {
    match entry.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(key),
        Some(_) => Err(Error::invalid(format!("process.env[{index}]"), format!("{entry:?} has no name before \"=\""))),
        None => Err(Error::invalid(format!("process.env[{index}]"), format!("{entry:?} has no \"=\""))),
    }
}

fn check_user(spec: &runtime::User) -> Result<User> {
    let additional_gids = spec.additional_gids().clone().unwrap_or_default();
    check_id("process.user.uid", spec.uid())?;
    check_id("process.user.gid", spec.gid())?;
    for (index, gid) in additional_gids.iter().enumerate() {
        check_id(&format!("process.user.additionalGids[{index}]"), *gid)?;
    }
    Ok(User { uid: spec.uid(), gid: spec.gid(), additional_gids, keeps_groups: false, umask: check_umask(spec)? })
}

/// KERNEL: (uid_t) -1 means "leave it" in every call that sets one.
pub(super) fn check_id(property: &str, id: u32) -> Result<()> {
    if id == u32::MAX {
        return Err(Error::invalid(property, format!("{id} is not an id: the kernel reads it as -1")));
    }
    Ok(())
}

/// COMPAT(runc): 0022 when unset, what runc and crun give every container.
fn check_umask(spec: &runtime::User) -> Result<u32> {
    let umask = spec.umask().unwrap_or(0o022);
    if umask > 0o777 {
        return Err(Error::invalid(
            "process.user.umask",
            format!("{umask} (octal {umask:o}) is above 511 (octal 777)"),
        ));
    }
    Ok(umask)
}

/// SPEC(config, process.capabilities): an omitted set is empty; an unknown name is warned about, no error.
///
/// Read as written: oci-spec also takes `chown` for CAP_CHOWN, which would give what runc withholds.
fn check_capabilities(given: &Node<'_>, warnings: &mut Vec<String>) -> Option<Capabilities> {
    let sets = given.get("capabilities");
    if !sets.is_given() {
        return None;
    }
    let mut unknown = BTreeSet::new();
    let mut set = |key: &str| {
        let mut bits = 0;
        for name in sets.get(key).items().iter().filter_map(Node::text) {
            match CAPABILITIES.iter().position(|known| *known == name) {
                Some(number) => bits |= 1_u64 << number,
                None => _ = unknown.insert(name.to_owned()),
            }
        }
        CapSet(bits)
    };
    let capabilities = Capabilities {
        bounding: set("bounding"),
        effective: set("effective"),
        inheritable: set("inheritable"),
        permitted: set("permitted"),
        ambient: set("ambient"),
    };
    if !unknown.is_empty() {
        let names = Vec::from_iter(unknown).join(" ");
        warnings.push(format!("ignoring unknown or unavailable capabilities: [{names}]"));
    }
    Some(capabilities)
}

/// SPEC(config, process.rlimits): no type twice.
fn check_rlimits(spec: &runtime::Process) -> Result<Vec<Rlimit>> {
    let mut rlimits: Vec<Rlimit> = Vec::new();
    for (index, entry) in spec.rlimits().iter().flatten().enumerate() {
        let property = format!("process.rlimits[{index}]");
        let rlimit = check_rlimit(&property, entry)?;
        if rlimits.iter().any(|other| other.resource == rlimit.resource) {
            return Err(Error::invalid(format!("{property}.type"), format!("{} is given twice", entry.typ())));
        }
        rlimits.push(rlimit);
    }
    Ok(rlimits)
}

fn check_rlimit(property: &str, spec: &runtime::PosixRlimit) -> Result<Rlimit> {
    let (soft, hard) = (spec.soft(), spec.hard());
    if soft > hard {
        return Err(Error::invalid(format!("{property}.soft"), format!("{soft} is above the hard limit {hard}")));
    }
    let name = spec.typ().to_string();
    match RLIMITS.iter().find(|(known, _)| *known == name) {
        Some((_, resource)) => Ok(Rlimit { resource: *resource, soft, hard }),
        None => Err(Error::invalid(format!("{property}.type"), format!("{name:?} is not a limit of Linux"))),
    }
}

/// SPEC(config, process.oomScoreAdj): unset must not be touched; the range is proc(5)'s.
fn check_oom_score_adj(spec: &runtime::Process) -> Result<Option<i32>> {
    match spec.oom_score_adj() {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Error::invalid("process.oomScoreAdj", format!("{score} is out of range (-1000 to 1000)")))
        }
        score => Ok(score),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::testing::{accept, assert_refused};
    use crate::error::Kind;

    #[test]
    fn the_last_of_one_variable_wins() {
        let config = accept(&json!({"process": {"env": ["A=1", "B=", "A=2", "C==x"]}}));
        assert_eq!(config.process.unwrap().env, ["B=", "A=2", "C==x"]);
    }

    #[test]
    fn terminals() {
        let terminal = |patch| accept(&json!({"process": patch})).process.unwrap().terminal;
        assert_eq!(terminal(json!({"consoleSize": {"height": 70000, "width": 1}})), None);
        assert_eq!(terminal(json!({"terminal": false, "consoleSize": {}})), None);
        assert_eq!(terminal(json!({"terminal": true})), Some(Terminal { size: None }));
        let size = json!({"terminal": true, "consoleSize": {"height": 24, "width": 80}});
        assert_eq!(terminal(size), Some(Terminal { size: Some((24, 80)) }));
    }

    #[test]
    fn zero_is_a_value_and_unset_is_none() {
        let process = accept(&json!({"process": {"oomScoreAdj": 0, "user": {"umask": 0}, "apparmorProfile": ""}}));
        let process = process.process.unwrap();
        assert_eq!((process.oom_score_adj, process.user.umask, process.apparmor_profile), (Some(0), 0, None));
    }

    #[test]
    fn capabilities() {
        let config = accept(&json!({"process": {"capabilities": {
            "bounding": ["CAP_CHECKPOINT_RESTORE", "CAP_CHOWN"], "effective": ["CAP_Y", "CAP_X"], "ambient": ["CAP_X", "CAP_KILL"]
        }}}));
        assert_eq!(config.warnings, ["ignoring unknown or unavailable capabilities: [CAP_X CAP_Y]"]);
        let sets = config.process.unwrap().capabilities.unwrap();
        assert_eq!((sets.bounding, sets.effective, sets.ambient), (CapSet(1 << 40 | 1), CapSet(0), CapSet(1 << 5)));
        let none = accept(&json!({"process": {"capabilities": {}}})).process.unwrap().capabilities;
        assert_eq!(none, Some(Capabilities::default()));
    }

    #[test]
    fn rlimits() {
        let entry = |kind: &str| json!({"type": kind, "soft": 0, "hard": u64::MAX});
        let entries: Vec<_> = RLIMITS.iter().map(|(name, _)| entry(name)).collect();
        let rlimits = accept(&json!({"process": {"rlimits": entries}})).process.unwrap().rlimits;
        let numbers: Vec<_> = rlimits.iter().map(|rlimit| rlimit.resource).collect();
        assert_eq!(numbers, RLIMITS.map(|(_, number)| number));
        assert_eq!(rlimits[0].hard, u64::MAX);
    }

    #[test]
    fn refused() {
        let process = |patch| json!({"process": patch});
        let nofile = json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1});
        assert_refused(
            Kind::InvalidConfig,
            &[
                ("cwd", process(json!({"cwd": "tmp"})), "process.cwd: \"tmp\" is not an absolute path"),
                ("empty cwd", process(json!({"cwd": ""})), "process.cwd: \"\" is not an absolute path"),
                ("no args", process(json!({"args": null})), "process.args: is empty: there is no program to run"),
                ("empty args", process(json!({"args": []})), "process.args: is empty: there is no program to run"),
                ("env", process(json!({"env": ["A=1", "B"]})), "process.env[1]: \"B\" has no \"=\""),
                ("env key", process(json!({"env": ["=1"]})), "process.env[0]: \"=1\" has no name before \"=\""),
                (
                    "no height",
                    process(json!({"terminal": true, "consoleSize": {"width": 5}})),
                    "process.consoleSize.height: is required",
                ),
                (
                    "no width",
                    process(json!({"terminal": true, "consoleSize": {"height": 5}})),
                    "process.consoleSize.width: is required",
                ),
                (
                    "height",
                    process(json!({"terminal": true, "consoleSize": {"height": 65536, "width": 5}})),
                    "process.consoleSize.height: 65536 is more than a terminal can have, 65535",
                ),
                (
                    "umask",
                    process(json!({"user": {"umask": 512}})),
                    "process.user.umask: 512 (octal 1000) is above 511 (octal 777)",
                ),
                (
                    "uid",
                    process(json!({"user": {"uid": u32::MAX}})),
                    "process.user.uid: 4294967295 is not an id: the kernel reads it as -1",
                ),
                (
                    "gid",
                    process(json!({"user": {"gid": u32::MAX}})),
                    "process.user.gid: 4294967295 is not an id: the kernel reads it as -1",
                ),
                (
                    "additional gid",
                    process(json!({"user": {"additionalGids": [1, u32::MAX]}})),
                    "process.user.additionalGids[1]: 4294967295 is not an id: the kernel reads it as -1",
                ),
                (
                    "oom",
                    process(json!({"oomScoreAdj": 1001})),
                    "process.oomScoreAdj: 1001 is out of range (-1000 to 1000)",
                ),
                (
                    "oom",
                    process(json!({"oomScoreAdj": -1001})),
                    "process.oomScoreAdj: -1001 is out of range (-1000 to 1000)",
                ),
                (
                    "rlimit twice",
                    process(json!({"rlimits": [nofile, {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, nofile]})),
                    "process.rlimits[2].type: RLIMIT_NOFILE is given twice",
                ),
                (
                    "soft above hard",
                    process(json!({"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]})),
                    "process.rlimits[0].soft: 2 is above the hard limit 1",
                ),
                (
                    "capability",
                    process(json!({"capabilities": {"bounding": [5]}})),
                    "process.capabilities.bounding[0]: invalid type: integer 5, expected a string",
                ),
            ],
        );
    }
}
