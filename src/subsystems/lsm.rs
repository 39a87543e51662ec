//! Linux security modules: the label or profile that the program gets at execve.

use std::path::Path;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::config::process::Process;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::procfs::Procfs;
use crate::machine::Machine;
use crate::machine::lsm::has_apparmor_profile;
use crate::subsystems::doors::Inside;

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

/// Said before anything is made; that a profile was unloaded meanwhile, the kernel says.
fn check_apparmor(profile: &str, machine: &Machine) -> Result<()> {
    if !machine.lsms().apparmor {
        return Err(Error::new(Kind::Unsupported, "AppArmor is not enabled on this machine"));
    }
    match has_apparmor_profile(profile) {
        Some(false) => Err(not_loaded(Error::new(Kind::Unsupported, format!("{profile:?} is not loaded")))),
        Some(true) | None => Ok(()),
    }
}

fn not_loaded(error: Error) -> Error {
    error.hint("/sys/kernel/security/apparmor/profiles lists the profiles that are, apparmor_parser(8) loads more")
}

/// Asks for them at the next execve. Through the host's verified procfs, while it can be seen (CVE-2019-16884).
///
/// ORDER: before `no_new_privs` and before capabilities are dropped: behind those a module may refuse the change.
pub fn set_at_exec(_: &Inside, plan: &LsmPlan) -> Result<()> {
    if let Some(profile) = &plan.apparmor {
        let written = write_own("apparmor/exec", &format!("exec {profile}"));
        written
            .map_err(|error| if error.errno() == Some(Errno::ENOENT) { not_loaded(error) } else { error })
            .within(|| "process.apparmorProfile")?;
    }
    if let Some(label) = &plan.selinux {
        write_own("exec", label).within(|| "process.selinuxLabel")?;
    }
    Ok(())
}

/// Gives the keys that are made until execve the process's label, so that it may use them.
pub fn label_keys(_: &Inside, plan: &LsmPlan) -> Result<()> {
    match &plan.selinux {
        Some(label) => write_own("keycreate", label).within(|| "process.selinuxLabel"),
        None => Ok(()),
    }
}

/// Writes an attribute of this process (proc_pid_attr(5)).
fn write_own(attribute: &str, value: &str) -> Result<()> {
    // A process sees itself by its id in the procfs' own pid namespace, which is not ours: thread-self knows.
    let own = nix::fcntl::readlink("/proc/thread-self").or_call(|| "readlink(\"/proc/thread-self\")")?;
    Procfs::mounted()?.write(&Path::new(&own).join("attr").join(attribute), value)
}
