//! Labels of SELinux's.

use super::refusals::fails;
use super::{Subject, counter, requires_criu};
use crate::selinux::{FILES, OTHER_CONTAINER, enforce, has_selinux};
use crate::support::run::Run;
use crate::support::{differs, requires};

/// `--lsm-mount-context`
#[test]
fn mounts_get_another_context() {
    requires!(has_selinux(), "SELinux, and secilc");
    requires_criu!();
    enforce();
    let subject = Subject::run(counter().set("/linux/mountLabel", FILES));
    let contexts = |subject: &Subject| {
        let mounts = subject.proc("mounts");
        let context = |line: &str| Some(line.split_once("context=")?.1.split([',', ' ']).next()?.to_owned());
        mounts.lines().filter_map(context).collect::<Vec<_>>()
    };
    let before = contexts(&subject);
    assert!(before.len() > 2 && before.iter().all(|context| context == FILES), "{before:?}");
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    let other = "u:object_r:unlabeled_t";
    let subject = subject.restore("images", &["--lsm-mount-context", other]);
    subject.counts_on(last);
    assert_eq!(contexts(&subject), vec![other; before.len()]);
}

/// A process is in its own domain again, or does not run. (CRIU cannot make one of what may not write to its memory.)
#[test]
fn a_process_that_was_confined() {
    requires!(has_selinux(), "SELinux, and secilc");
    requires_criu!();
    differs!(Runc | Crun, "lets it run");
    enforce();
    let subject = Subject::run(counter().set("/process/selinuxLabel", OTHER_CONTAINER).set("/linux/mountLabel", FILES));
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    if Run::host_sh("ldd $(command -v criu) | grep selinux").output().status.success() {
        let subject = subject.restore("images", &[]);
        assert_eq!(subject.proc("attr/current").trim_end_matches('\0'), OTHER_CONTAINER);
        subject.counts_on(last);
    } else {
        let refusal = fails("restore", subject.restore_command("images", &["--detach"]).output());
        refusal.names("process.selinuxLabel").because("it was built without SELinux");
        subject.assert_nothing_left();
    }
}
