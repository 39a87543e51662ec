//! The service manager that the runtime speaks with: that of the system for its root, a user's own for others.

use std::process::Command;
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard};

use rustix::process::geteuid;

use super::{Bundle, Sandbox};

/// Below which all units of the manager are, without a slash at the end: empty for that of the system. `None`: there is none.
static CONTROL_GROUP: LazyLock<Option<String>> = LazyLock::new(|| {
    if !std::fs::exists("/run/systemd/system").unwrap() {
        return None;
    }
    let answer = command().args(["show", "--value", "--property", "ControlGroup"]).output().unwrap();
    let text = String::from_utf8_lossy(&answer.stdout).trim().trim_end_matches('/').to_owned();
    answer.status.success().then_some(text)
});

pub fn is_here() -> bool {
    CONTROL_GROUP.is_some()
}

pub fn is_a_users() -> bool {
    is_here() && !geteuid().is_root()
}

/// Whether we are in none of the manager's own units, as in a session: then it alone may move a process into one.
pub fn is_beside() -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    is_a_users() && !own.contains(&format!(":{}/", cgroup("")))
}

/// Over the bus: in a pid namespace, which root's tests run in, it cannot speak with systemd itself.
fn command() -> Command {
    let mut command = Command::new("systemctl");
    command.env("SYSTEMCTL_FORCE_BUS", "1").args((!geteuid().is_root()).then_some("--user"));
    command
}

#[track_caller]
pub fn systemctl(arguments: &[&str]) -> String {
    let output = command().args(arguments).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

static RELOADS: RwLock<()> = RwLock::new(());

/// After it systemd writes all limits of all units as it knows them, at any moment, which is not always what they were.
#[track_caller]
pub fn daemon_reload() {
    let _alone = RELOADS.write().unwrap_or_else(PoisonError::into_inner);
    systemctl(&["daemon-reload"]);
}

/// For tests of limits that systemd does not know exactly: nobody else lets it reload as long as this is held.
pub fn undisturbed() -> RwLockReadGuard<'static, ()> {
    RELOADS.read().unwrap_or_else(PoisonError::into_inner)
}

pub fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", unit, "--value", "--property", name])
}

/// Everything that systemd knows by that name; nothing, when it has forgotten it.
pub fn units(name: &str) -> String {
    systemctl(&["list-units", "--all", "--plain", "--no-legend", name])
}

pub fn scope_of(sandbox: &Sandbox) -> String {
    format!("corten-{}.scope", sandbox.id)
}

/// Where units are by default.
pub fn default_slice() -> &'static str {
    if is_a_users() { "user.slice" } else { "system.slice" }
}

/// The cgroup of a unit that is at `path` below its manager's.
pub fn cgroup(path: &str) -> String {
    format!("{}{path}", CONTROL_GROUP.as_deref().expect("the test requires systemd"))
}

/// A container in a unit at `path` below the manager's cgroup.
pub fn in_unit(bundle: Bundle, cgroups_path: String, path: &str) -> Bundle {
    let bundle = if is_a_users() { bundle.without_privileges() } else { bundle };
    bundle.in_cgroup(&cgroup(path)).set("/linux/cgroupsPath", cgroups_path).global("--systemd-cgroup")
}

/// A container in a scope of `slice`, which is at `parent`.
pub fn in_scope(bundle: Bundle, slice: &str, parent: &str) -> Bundle {
    let (scope, path) = (scope_of(&bundle), format!("{slice}:corten:{}", bundle.id));
    in_unit(bundle, path, &format!("{parent}/{scope}"))
}

pub fn in_default_slice(bundle: Bundle) -> Bundle {
    in_scope(bundle, default_slice(), &format!("/{}", default_slice()))
}

/// A slice that is the container's own, below the default one.
pub fn slice_of(sandbox: &Sandbox) -> String {
    let default = default_slice().trim_end_matches(".slice");
    format!("{default}-t{}.slice", sandbox.id.replace('-', ""))
}

pub fn in_own_slice(bundle: Bundle) -> Bundle {
    let slice = slice_of(&bundle);
    let path = format!("/{}/{slice}", default_slice());
    in_unit(bundle, format!("{}:ignored:{slice}", default_slice()), &path)
}
