//! What cannot be: one clear line, and nothing is left half done.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::{Subject, counter, requires_criu};
use crate::support::refusal::Refusal;
use crate::support::run::{Output, Run};
use crate::support::{Bundle, Container, differs, requires};

/// A command that has to fail.
#[track_caller]
pub fn fails(command: &str, output: Output) -> Refusal {
    Refusal::from_output(command, output)
}

/// `checkpoint` of a container that goes on nevertheless.
#[track_caller]
pub fn checkpoint_of(container: &Container, run: Run) -> Refusal {
    let refusal = fails("checkpoint", run.output());
    assert_eq!(container.status(), "running");
    refusal
}

/// A program named `criu`, as a shell script, in front of all others.
fn with_criu(run: Run, container: &Container, script: &str) -> Run {
    let directory = container.path("bin");
    crate::support::rootfs::directory(&directory);
    let criu = directory.join("criu");
    fs::write(&criu, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(&criu, fs::Permissions::from_mode(0o755)).unwrap();
    run.env("PATH", format!("{}:/usr/bin:/bin", directory.display()))
}

/// The answer of a CRIU whose two numbers are these, in one packet.
fn says_version(numbers: &str) -> String {
    format!("printf '\\x08\\x0a\\x10\\x01\\x52\\x04\\x08{numbers}' | dd bs=64 iflag=fullblock status=none >&$2")
}

pub fn checkpoint(container: &Container, flags: &[&str]) -> Run {
    container.runtime("checkpoint").arg("--image-path").arg(container.path("images")).args(flags).arg(&container.id)
}

#[test]
fn no_criu_or_one_that_is_too_old_or_dies() {
    differs!(Crun | Runc, "the words are ours");
    requires!(rustix::process::geteuid().is_root(), "root, who is not warned");
    let container = Bundle::idle().start();
    let none = checkpoint(&container, &[]).env("PATH", "/nowhere");
    checkpoint_of(&container, none).because("criu: executable file not found in $PATH (CRIU 3.16 or newer is needed)");
    let old = with_criu(checkpoint(&container, &[]), &container, &says_version(r"\x03\x10\x0f"));
    checkpoint_of(&container, old).ends("criu: is version 3.15, 3.16 or newer is needed");
    let dies = with_criu(checkpoint(&container, &[]), &container, "exit 3");
    checkpoint_of(&container, dies).because("criu: ended without an answer (exit status: 3)");
    let babbles = with_criu(checkpoint(&container, &[]), &container, "printf 'what?' >&$2");
    checkpoint_of(&container, babbles).because("criu: its answer: ");
    // Says its version, and dies of the request.
    let later = format!("{}; dd bs=64k count=2 <&$2 >/dev/null 2>&1; kill -9 $$", says_version(r"\x04\x10\x01"));
    let later = with_criu(checkpoint(&container, &[]), &container, &later);
    checkpoint_of(&container, later).because("criu: ended without an answer (signal: 9 (SIGKILL))");
}

#[test]
fn flags_that_mean_nothing() {
    differs!(Crun | Runc, "the words are ours");
    requires!(rustix::process::geteuid().is_root(), "root, who is not warned");
    let container = Bundle::idle().start();
    for (flags, expected) in [
        (&["--parent-path", "/tmp"][..], "--parent-path: \"/tmp\": must be relative to the directory of --image-path"),
        (&["--parent-path", "../nothing"], "/nothing\"): no such file or directory"),
        (&["--parent-path", "../bundle/config.json"], "/bundle/config.json\"): not a directory"),
        (&["--manage-cgroups-mode", "hard"], "--manage-cgroups-mode: \"hard\" is not soft, full, strict or ignore"),
        (&["--page-server", "here"], "--page-server: \"here\" is not ADDRESS:PORT"),
        (&["--status-fd", "77"], "--status-fd: fcntl(77): bad file descriptor"),
        (&["--status-fd", "x"], "--status-fd: \"x\" is not the number of a descriptor from 3 on"),
        (&["--empty-ns", "pid"], "--empty-ns: namespace \"pid\" is not supported"),
    ] {
        checkpoint_of(&container, checkpoint(&container, flags)).because(expected);
    }
}

/// Said before anything is made: CRIU would wait for ever.
#[test]
fn a_profile_that_nobody_can_have() {
    differs!(Crun | Runc, "they let CRIU find out");
    requires!(rustix::process::geteuid().is_root(), "root, who is not warned");
    let bundle = Bundle::new();
    bundle.write();
    let restore = bundle.command("restore").args(["--lsm-profile", "apparmor:corten-no-such-profile"]);
    let has_apparmor = fs::exists("/sys/kernel/security/apparmor").unwrap();
    let expected = if has_apparmor { "is not loaded" } else { "AppArmor is not enabled on this machine" };
    fails("restore", restore.output()).because("--lsm-profile: ").because(expected);
    bundle.assert_nothing_left();
}

/// Whoever asks for it should know.
#[test]
fn descriptors_are_not_handed_on_again() {
    differs!(Crun | Runc, "do not take the flag");
    let bundle = Bundle::new();
    bundle.write();
    for (number, expected) in [("2", true), ("0", false)] {
        let output = bundle.command("restore").args(["--preserve-fds", number]).output().exits(1);
        assert_eq!(output.stderr.contains("--preserve-fds: ignored: "), expected, "{output:?}");
    }
}

/// COMPAT(Podman): what it looks at to find out whether it can restore into pods.
#[test]
fn probes_of_engines() {
    differs!(Crun, "its words are others");
    let sandbox = crate::support::Sandbox::new();
    let output = sandbox.program().args(["restore", "--lsm-mount-context"]).output();
    assert!(format!("{}{}", output.stdout, output.stderr).contains("flag needs an argument"), "{output:?}");
    let help = sandbox.program().args(["checkpoint", "--help"]).output().ok();
    assert!(help.stdout.contains("--leave-running"), "{help:?}");
}

#[test]
fn a_container_that_does_not_run() {
    requires!(rustix::process::geteuid().is_root(), "root, who is not warned");
    differs!(Crun, "its words are others");
    let container = Bundle::idle().create();
    let refused = |container: &Container| fails("checkpoint", checkpoint(container, &[]).output());
    refused(&container).says("cannot be checkpointed in").because("the created state");
    container.start();
    container.terminate();
    container.wait();
    refused(&container).because("the stopped state");
    container.delete();
    refused(&container).says("does not exist");
}

#[test]
fn directories_that_cannot_be_used() {
    requires!(rustix::process::geteuid().is_root(), "root, who is not warned");
    differs!(Crun | Runc, "the words are ours");
    let container = Bundle::idle().start();
    fs::write(container.path("file"), "").unwrap();
    let place = |name: &str| container.path(name).to_str().unwrap().to_owned();
    checkpoint_of(&container, checkpoint(&container, &["--work-path", &place("file")]))
        .because("--work-path: open(")
        .ends("not a directory");
    let images = |place: &str| container.runtime("checkpoint").args(["--image-path", place, &container.id]);
    checkpoint_of(&container, images(&place("file"))).because("--image-path: open(").ends("not a directory");
    let restore = |name: &str| {
        let run = container.made_from.command("restore").args(["--detach", "--image-path", &place(name)]);
        fails("restore", run.output())
    };
    restore("missing").because("--image-path: open(").ends("no such file or directory");
    fs::create_dir(container.path("empty")).unwrap();
    restore("empty").because("empty/inventory.img\")").ends("no such file or directory");
    // A filesystem that nobody can write to.
    let read_only = place("read-only");
    fs::create_dir(&read_only).unwrap();
    let script = "mount -t tmpfs -o ro none \"$1\"; shift; exec \"$@\"";
    let program = crate::support::peer::program().to_str().unwrap().to_owned();
    let root = container.state_root().to_str().unwrap().to_owned();
    let words =
        ["--mount", "--propagation", "private", "sh", "-ec", script, "_", &read_only, &program, "--root", &root];
    let run = Run::new("unshare").args(words).args(["checkpoint", "--work-path", &read_only, "--image-path"]);
    let run = run.arg(container.path("images")).arg(&container.id);
    checkpoint_of(&container, run).because("--work-path: access(").ends("read-only file system");
}

/// Whose images say that they cannot be made again.
#[test]
fn what_criu_cannot_make_again() {
    requires!(rustix::process::geteuid().is_root(), "root, who is not warned");
    differs!(Crun | Runc, "they let CRIU find out");
    let container = Bundle::idle().without_namespace("mount").without_namespace("pid").start();
    checkpoint_of(&container, checkpoint(&container, &[])).because("linux.namespaces: CRIU needs a mount namespace");
}

/// What CRIU says is in the error, and the container goes on.
#[test]
fn a_file_of_the_host() {
    requires_criu!();
    // Standard output is one.
    let container = counter().start();
    let refusal = checkpoint_of(&container, checkpoint(&container, &[]));
    refusal.because("criu: ").because("for fd=1 path=").because("images/dump.log\" has more)");
    let subject = Subject(container);
    subject.counts_on(subject.count());
}

#[test]
fn a_container_that_changed() {
    requires_criu!();
    let subject = Subject::run(counter());
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    let whole = subject.made_from.config.clone();
    let mut subject = subject;
    let mounts = subject.config()["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/vol");
    subject.made_from.write();
    let restored = |subject: &Subject| {
        let refusal = fails("restore", subject.restore_command("images", &["--detach"]).output());
        subject.assert_nothing_left();
        refusal
    };
    restored(&subject).because("criu: mnt: No mapping for ").because("restore.log\" has more)");
    *subject.config() = whole.clone();
    subject.config()["root"]["path"] = json!("elsewhere");
    subject.made_from.write();
    restored(&subject).names("root.path").because("no such file or directory");
    *subject.config() = whole;
    subject.made_from.write();
    fs::rename(subject.images("images").join("pages-1.img"), subject.path("pages")).unwrap();
    restored(&subject).because("criu: ").because("restore.log\" has more)");
    fs::rename(subject.path("pages"), subject.images("images").join("pages-1.img")).unwrap();
    subject.restore("images", &[]).counts_on(last);
}

#[test]
fn an_id_that_is_taken() {
    requires_criu!();
    let subject = Subject::run(counter());
    subject.count();
    subject.checkpoint("images", &["--leave-running"]).ok();
    fails("restore", subject.restore_command("images", &["--detach"]).output())
        .says("container with given ID already exists");
    assert_eq!(subject.status(), "running");
}
