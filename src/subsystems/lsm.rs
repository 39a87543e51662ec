//! Linux security modules: the label or profile that the program gets at execve.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use crate::config::process::Process;
use crate::error::{Error, Kind, OrCall, Refusal, Result, Within};
use crate::fs::procfs::{self, Procfs};
use crate::machine::Machine;
use crate::machine::lsm::has_apparmor_profile;
use crate::subsystems::doors::Inside;
use crate::sys::script::Script;

/// What is to be written where, when the process executes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LsmPlan {
    /// `process.apparmorProfile`.
    pub apparmor: Option<String>,
    /// `process.selinuxLabel`.
    pub selinux: Option<String>,
}

impl LsmPlan {
    /// Takes it from the configuration, and refuses what the machine cannot do.
    ///
    /// SPEC(config, "process"): a property that cannot be applied is an error, so a label on a machine without that
    /// security module is one too.
    pub fn new(process: &Process, machine: &Machine) -> Result<Self> {
        let plan = Self { apparmor: process.apparmor_profile.clone(), selinux: process.selinux_label.clone() };
        if let Some(profile) = &plan.apparmor {
            check_apparmor(profile, machine).within(|| "process.apparmorProfile")?;
        }
        if plan.selinux.is_some() && !machine.lsms().selinux {
            return Err(Error::unsupported("process.selinuxLabel", "SELinux is not enabled on this machine"));
        }
        Ok(plan)
    }
}

/// Another label for what is restored, TYPE:NAME, as CRIU takes it.
///
/// CRIU waits for ever for a process that cannot have its profile.
pub fn check_label(label: &str, machine: &Machine) -> Result<()> {
    label.strip_prefix("apparmor:").map_or(Ok(()), |profile| check_apparmor(profile, machine))
}

/// Said before anything is made; that a profile was unloaded meanwhile, the kernel says.
fn check_apparmor(profile: &str, machine: &Machine) -> Result<()> {
    if !machine.lsms().apparmor {
        return Err(Error::new(Kind::Unsupported, "AppArmor is not enabled on this machine"));
    }
    match has_apparmor_profile(profile) {
        Some(false) => Err(Error::new(Kind::Unsupported, format!("{profile:?} is not loaded")).hint(NOT_LOADED)),
        Some(true) | None => Ok(()),
    }
}

const NOT_LOADED: &str =
    "/sys/kernel/security/apparmor/profiles lists the profiles that are, apparmor_parser(8) loads more";

/// CRIU may have been built without SELinux, and says nothing of it: what it restores is in our own domain then.
pub fn check_restored(plan: &LsmPlan, pid: i32) -> Result<()> {
    let Some(label) = &plan.selinux else { return Ok(()) };
    let of = |process: &str| -> Result<String> {
        let label = procfs::read_own(&format!("/proc/{process}/attr/current"))?;
        Ok(label.trim_end_matches(['\0', '\n']).to_owned())
    };
    let restoring = || -> Result<()> {
        let (theirs, ours) = (of(&pid.to_string())?, of("self")?);
        if theirs == ours && theirs != *label {
            let why = format!("criu: has restored it as {theirs:?}, which is ours: it was built without SELinux");
            return Err(Error::new(Kind::Unsupported, why));
        }
        Ok(())
    };
    restoring().within(|| "process.selinuxLabel")
}

/// What is to be written at last, and where.
#[derive(Debug, Default)]
pub struct AtExec(Vec<Attribute>);

#[derive(Debug)]
struct Attribute {
    directory: OwnedFd,
    content: String,
    property: &'static str,
}

/// Opens where they are asked for. Through the host's verified procfs, while it can be seen (CVE-2019-16884).
pub fn open_at_exec(_: &Inside, plan: &LsmPlan) -> Result<AtExec> {
    let apparmor =
        plan.apparmor.as_ref().map(|profile| ("apparmor", format!("exec {profile}"), "process.apparmorProfile"));
    let selinux = plan.selinux.as_ref().map(|label| ("", label.clone(), "process.selinuxLabel"));
    let open = |(below, content, property)| -> Result<Attribute> {
        let path = own_attributes()?.join(below);
        let directory = Procfs::mounted()?.open(&path, OFlag::O_PATH | OFlag::O_DIRECTORY).within(|| property)?;
        Ok(Attribute { directory, content, property })
    };
    apparmor.into_iter().chain(selinux).map(open).collect::<Result<_>>().map(AtExec)
}

impl AtExec {
    /// What must stay open until then.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().map(|attribute| attribute.directory.as_raw_fd())
    }

    /// Writes how they are asked for at the next execve.
    ///
    /// ORDER: before `no_new_privs` and before capabilities are dropped: behind those a module may refuse the change.
    pub fn write(&self, script: &mut Script) {
        for Attribute { directory, content, property } in &self.0 {
            let opening = script.frame(Refusal::of("openat(\"/proc/self/attr\", \"exec\")").within(*property));
            let refusal = Refusal::of(format!("write(\"/proc/self/attr/exec\", {content:?})")).within(*property);
            let writing = script.frame(refusal.hint(Errno::ENOENT, None, NOT_LOADED));
            script.write_file(directory.as_raw_fd(), c"exec", content.as_bytes(), opening, writing);
        }
    }
}

/// Gives the keys that are made until execve the process's label, so that it may use them.
pub fn label_keys(_: &Inside, plan: &LsmPlan) -> Result<()> {
    label(plan)
}

/// The same for a process that is not in the container, and makes keys for one that will be.
pub fn label_keys_outside(plan: &LsmPlan) -> Result<()> {
    label(plan)
}

fn label(plan: &LsmPlan) -> Result<()> {
    match &plan.selinux {
        Some(label) => write_own("keycreate", label).within(|| "process.selinuxLabel"),
        None => Ok(()),
    }
}

/// Writes an attribute of this process (proc_pid_attr(5)).
fn write_own(attribute: &str, value: &str) -> Result<()> {
    Procfs::mounted()?.write(&own_attributes()?.join(attribute), value)
}

/// A process sees itself by its id in the procfs' own pid namespace, which is not ours: thread-self knows.
fn own_attributes() -> Result<PathBuf> {
    let own = nix::fcntl::readlink("/proc/thread-self").or_call(|| "readlink(\"/proc/thread-self\")")?;
    Ok(Path::new(&own).join("attr"))
}
