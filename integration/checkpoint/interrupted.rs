//! corten, or its CRIU, is killed while it works: the container goes on, or goes away, and nothing is in the way of either.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;

use super::refusals::fails;
use super::{Subject, counter, in_silence, requires_criu};
use crate::support::run::{Run, Running};
use crate::support::wait::{has_ended, until};
use crate::support::{differs, requires};

impl Subject {
    fn checkpoint_until(&self, words: &str) -> Running {
        let run = self.runtime("checkpoint").args(["--leave-running", "--image-path"]).arg(self.images("unfinished"));
        self.runs_until(run.arg("--work-path").arg(self.path("work")).arg(&self.id), "dump.log", words)
    }

    /// Until CRIU's log has these words.
    fn runs_until(&self, run: Run, log: &str, words: &str) -> Running {
        let log = self.path("work").join(log);
        let _ = fs::remove_file(&log);
        let running = run.spawn();
        until(words, || fs::read_to_string(&log).is_ok_and(|text| text.contains(words)).then_some(()));
        running
    }
}

/// Its number.
fn criu_of(running: &Running) -> String {
    let pid = running.pid().as_raw_nonzero().to_string();
    Run::new("pgrep").args(["-P", &pid, "criu"]).output().ok().line().to_owned()
}

/// CRIU gives up when nobody answers it any more.
#[test]
fn a_checkpoint_whose_corten_is_killed() {
    requires_criu!();
    let subject = Subject::run(counter());
    for words in ["freezing cgroup", "Collecting ", "Dumping task ", "Dumping pages"] {
        let running = subject.checkpoint_until(words);
        let criu = criu_of(&running);
        running.signal(Signal::KILL);
        running.wait();
        // It may freeze the container yet, before it asks corten something.
        until("the end of CRIU", || has_ended(&criu).then_some(()));
        subject.counts_on(subject.count());
        assert_eq!(subject.status(), "running", "{words}");
    }
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    subject.restore("images", &[]).counts_on(last);
}

/// Before it has done anything to the processes, they go on.
#[test]
fn a_checkpoint_whose_criu_is_killed() {
    requires_criu!();
    differs!(Runc | Crun, "leaves it frozen");
    let subject = Subject::run(counter());
    let running = subject.checkpoint_until("freezing cgroup");
    Run::new("kill").args(["-KILL", &criu_of(&running)]).output().ok();
    fails("checkpoint", running.wait()).because("criu: ended without an answer");
    subject.counts_on(subject.count());
    assert_eq!(subject.status(), "running");
}

/// What is half there goes with `delete`.
#[test]
fn a_restore_whose_corten_is_killed() {
    requires_criu!();
    requires!(rustix::process::geteuid().is_root(), "root");
    let subject = Subject::run(counter());
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    for words in ["Forking task", "Restoring namespaces", "Restore finished successfully"] {
        let run = in_silence(subject.restore_command("images", &["--detach"]));
        let running = subject.runs_until(run.stdout_to(Stdio::null()), "restore.log", words);
        running.signal(Signal::KILL);
        running.wait();
        subject.runtime("delete").args(["--force", &subject.id]).output().ok();
        until("the end of it all", || {
            subject.reap_orphans();
            subject.leftovers().is_empty().then_some(())
        });
    }
    subject.restore("images", &[]).counts_on(last);
}
