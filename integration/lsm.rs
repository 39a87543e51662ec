//! Security modules: AppArmor where the kernel has it, and what is said where it has not.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::bundle::IDLE;
use crate::support::refusal::Refusal;
use crate::support::run::Run;
use crate::support::{Bundle, differs, requires};

const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

pub fn has_apparmor() -> bool {
    fs::exists(PROFILES).unwrap() && Run::host_sh("command -v apparmor_parser").output().status.success()
}

/// A profile that the kernel has for as long as its test runs: everything may be done, but to write to `/tmp/forbidden`.
pub struct Profile {
    pub name: String,
}

impl Profile {
    fn load(bundle: &Bundle, name: &str) -> Self {
        // A name of its own for each test: they run side by side.
        Self::called(format!("corten-test {name} {}", std::process::id()), &bundle.path(name))
    }

    pub fn called(name: String, file: &Path) -> Self {
        let rules = "file, capability, network, mount, umount, signal, ptrace, unix, deny /tmp/forbidden w,";
        fs::write(file, format!("profile \"{name}\" flags=(attach_disconnected) {{ {rules} }}\n")).unwrap();
        Run::new("apparmor_parser").args(["--replace", "--skip-cache"]).arg(file).output().ok();
        Self { name }
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let removed = fs::write("/sys/kernel/security/apparmor/.remove", &self.name);
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

const SCRIPT: &str = "cat /proc/self/attr/apparmor/current; echo x > /tmp/allowed && echo x > /tmp/forbidden";

#[test]
fn the_program_is_in_its_profile() {
    requires!(has_apparmor(), "AppArmor");
    for no_new_privileges in [true, false] {
        let bundle = Bundle::sh(SCRIPT).set("/process/noNewPrivileges", no_new_privileges);
        let profile = Profile::load(&bundle, "program");
        let output = bundle.set("/process/apparmorProfile", profile.name.clone()).run().exits(1);
        assert_eq!(output.stdout, format!("{} (enforce)\n", profile.name));
        assert!(output.stderr.contains("can't create /tmp/forbidden: Permission denied"), "{output:#?}");
    }
}

#[test]
fn a_further_process_is_in_the_containers_or_in_another() {
    requires!(has_apparmor(), "AppArmor");
    let bundle = Bundle::sh(IDLE);
    let (own, other) = (Profile::load(&bundle, "own"), Profile::load(&bundle, "other"));
    let container = bundle.set("/process/apparmorProfile", own.name.clone()).start();
    let exec = |options: &[&str]| {
        let exec = container.runtime("exec").args(options).arg(&container.id);
        exec.args(["cat", "/proc/self/attr/apparmor/current"]).output()
    };
    assert_eq!(exec(&[]).ok().stdout, format!("{} (enforce)\n", own.name));
    assert_eq!(exec(&["--apparmor", &other.name]).ok().stdout, format!("{} (enforce)\n", other.name));
    assert_eq!(exec(&["--apparmor", "unconfined"]).ok().stdout, "unconfined\n");
    let refusal = Refusal::from_output("exec", exec(&["--apparmor", "corten-no-such-profile"]));
    refusal.names("process.apparmorProfile").because("\"corten-no-such-profile\" is not loaded");
}

#[test]
fn a_profile_that_is_not_loaded_is_refused_before_anything_is_made() {
    requires!(has_apparmor(), "AppArmor");
    let refusal = Bundle::new().set("/process/apparmorProfile", "corten-no-such-profile").create_fails();
    refusal.names("process.apparmorProfile").because("\"corten-no-such-profile\" is not loaded (");
    // Of which no list tells: the kernel says it.
    let refusal = Bundle::new().set("/process/apparmorProfile", "unconfined//&corten-no-such-profile").create_fails();
    refusal.names("process.apparmorProfile").because("no such file or directory (").because("apparmor_parser(8)");
}

#[test]
fn without_its_module_a_label_is_refused() {
    differs!(Crun, "takes some for granted");
    for (pointer, directory, module) in [
        ("/process/apparmorProfile", PROFILES, "AppArmor is not enabled on this machine"),
        ("/process/selinuxLabel", "/sys/fs/selinux/enforce", "SELinux is not enabled on this machine"),
    ] {
        if !fs::exists(directory).unwrap() {
            let refusal = Bundle::new().set(pointer, "some-label").create_fails();
            refusal.names(&pointer[1..].replace('/', ".")).ends(module);
            let container = Bundle::idle().start();
            let option = if pointer.ends_with("Label") { "--process-label" } else { "--apparmor" };
            let exec = container.runtime("exec").args([option, "some-label", &container.id, "true"]).output();
            Refusal::from_output("exec", exec).names(&pointer[1..].replace('/', ".")).ends(module);
        }
    }
}

/// SPEC(config-linux, "Mount Label"): a machine without SELinux has no use for it.
#[test]
fn without_selinux_a_mount_label_is_a_warning() {
    requires!(!fs::exists("/sys/fs/selinux/enforce").unwrap(), "a machine without SELinux");
    differs!(Runc | Crun, "says nothing");
    let label = Value::from("system_u:object_r:container_file_t:s0:c1,c2");
    let output = Bundle::sh("echo ok").set("/linux/mountLabel", label).run().ok();
    assert_eq!(output.stdout, "ok\n");
    assert!(output.stderr.contains("linux.mountLabel: ignored"), "{output:#?}");
}
