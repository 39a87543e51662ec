//! SELinux, for real: with a policy of our own, on a machine that was booted with the module and has no other.

use std::fs;
use std::sync::OnceLock;

use crate::support::run::Run;
use crate::support::{Bundle, requires};

/// What every policy must have, three domains, two kinds of files, and a filesystem whose files are labelled one by one. What it
/// does not define is allowed; of what it defines, containers may write to their own files only, and the other ones are only
/// watched.
const POLICY: &str = "
(handleunknown allow)
(mls false)
(policycap nnp_nosuid_transition)
(class process (transition dyntransition))
(class file (write append))
(class dir (add_name))
(classorder (process file dir))
(sid kernel) (sid security) (sid unlabeled)
(sidorder (kernel security unlabeled))
(sensitivity s0) (sensitivityorder (s0))
(user u) (role object_r) (role r)
(userrole u r) (userrole u object_r)
(userlevel u (s0)) (userrange u ((s0) (s0)))
(type kernel_t) (type container_t) (type other_container_t) (type unlabeled_t) (type container_file_t)
(typeattribute domain) (typeattributeset domain (kernel_t container_t other_container_t))
(typeattribute any) (typeattributeset any (kernel_t container_t other_container_t unlabeled_t container_file_t))
(roletype r domain) (roletype object_r any)
(typepermissive other_container_t)
(sidcontext kernel (u r kernel_t ((s0) (s0))))
(sidcontext security (u object_r unlabeled_t ((s0) (s0))))
(sidcontext unlabeled (u object_r unlabeled_t ((s0) (s0))))
(fsuse trans mqueue (u object_r unlabeled_t ((s0) (s0))))
(allow kernel_t any (file (write append)))
(allow container_t container_file_t (file (write append)))
(allow domain domain (process (transition dyntransition)))
(allow domain any (dir (add_name)))
";

pub fn has_selinux() -> bool {
    fs::exists("/sys/fs/selinux/enforce").unwrap() && Run::host_sh("command -v secilc").output().status.success()
}

/// Loads the policy, once, and lets the kernel insist on it.
pub fn enforce() {
    static LOADED: OnceLock<()> = OnceLock::new();
    LOADED.get_or_init(|| {
        // No sandbox: that remembers the host's mounts, some of which look different afterwards.
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        fs::write(file("policy.cil"), POLICY).unwrap();
        let (binary, contexts) = (file("policy"), file("file_contexts"));
        // 33: what kernels before 6.14 know, too.
        let compiler = Run::new("secilc").args(["-c", "33", "-o"]).arg(&binary).arg("-f").arg(&contexts);
        compiler.arg(file("policy.cil")).output().ok();
        fs::write("/sys/fs/selinux/load", fs::read(&binary).unwrap()).unwrap();
        fs::write("/sys/fs/selinux/enforce", "1").unwrap();
    });
}

const CONTAINER: &str = "u:r:container_t";
pub const OTHER_CONTAINER: &str = "u:r:other_container_t";
pub const FILES: &str = "u:object_r:container_file_t";

/// The label of the reader, with the NUL at its end.
const OWN_LABEL: &str = "tr -d '\\0' < /proc/self/attr/current; echo";

#[test]
fn the_program_is_confined() {
    requires!(has_selinux(), "SELinux, and secilc");
    enforce();
    let script = format!("{OWN_LABEL}; echo x > /dev/shm/own && echo x > /opt/unlabeled");
    for no_new_privileges in [true, false] {
        let bundle = Bundle::sh(&script).directory("opt").set("/process/noNewPrivileges", no_new_privileges);
        let bundle = bundle.set("/process/selinuxLabel", CONTAINER).set("/linux/mountLabel", FILES);
        let output = bundle.run().exits(1);
        assert_eq!(output.stdout, format!("{CONTAINER}\n"));
        assert!(output.stderr.contains("can't create /opt/unlabeled: Permission denied"), "{output:#?}");
    }
}

#[test]
fn its_mounts_have_the_label() {
    requires!(has_selinux(), "SELinux, and secilc");
    enforce();
    let container = Bundle::idle().set("/linux/mountLabel", FILES).start();
    let mounts = container.proc("mounts");
    for target in ["/dev", "/dev/shm", "/dev/pts"] {
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(target)).unwrap();
        assert!(line.contains(&format!("context={FILES}")), "{line}");
    }
    // A message queue filesystem has no label of its own, its files have.
    let mut label = [0; 64];
    let queues = format!("/proc/{}/root/dev/mqueue", container.pid);
    let length = rustix::fs::getxattr(&queues, "security.selinux", &mut label).unwrap();
    assert_eq!(String::from_utf8_lossy(&label[..length]).trim_end_matches('\0'), FILES);
}

#[test]
fn further_processes_are_in_the_containers_domain_or_in_another() {
    requires!(has_selinux(), "SELinux, and secilc");
    enforce();
    let bundle = Bundle::idle().set("/process/selinuxLabel", CONTAINER).set("/linux/mountLabel", FILES);
    let container = bundle.start();
    let exec = |options: &[&str]| {
        container.runtime("exec").args(options).arg(&container.id).args(["sh", "-c", OWN_LABEL]).output()
    };
    assert_eq!(exec(&[]).ok().stdout, format!("{CONTAINER}\n"));
    assert_eq!(exec(&["--process-label", OTHER_CONTAINER]).ok().stdout, format!("{OTHER_CONTAINER}\n"));
    let output = exec(&["--process-label", "u:r:no_such_t"]).exits(255);
    assert!(output.stderr.contains("process.selinuxLabel"), "{}", output.stderr);
}

#[test]
fn a_label_that_the_policy_lacks_is_refused() {
    requires!(has_selinux(), "SELinux, and secilc");
    enforce();
    let refusal = Bundle::new().set("/process/selinuxLabel", "u:r:no_such_t").create_fails();
    refusal.names("process.selinuxLabel").ends("invalid argument");
    Bundle::new().set("/linux/mountLabel", "u:object_r:no_such_t").create_fails().says("no_such_t");
}
