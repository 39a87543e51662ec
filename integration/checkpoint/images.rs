//! Images: those of runc, and memory that comes over the network.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::Stdio;

use serde_json::json;

use super::{Subject, cgroup_options, counter, in_silence, requires_criu};
use crate::support::run::Run;
use crate::support::wait::until;
use crate::support::{Bundle, Container, Sandbox, differs, requires};

const RUNC: &str = "/usr/sbin/runc";

/// `runc COMMAND` with a state of its own.
fn runc(sandbox: &Sandbox, command: &str, flags: &[&str]) -> Run {
    Run::new(RUNC).arg("--root").arg(sandbox.path("runc")).arg(command).args(flags)
}

/// A counter that has what engines ask for.
fn masked() -> Bundle {
    counter().push("/linux/maskedPaths", "/proc/kcore").push("/linux/readonlyPaths", "/proc/sys")
}

/// Both have the same names for what is not in the images.
#[test]
fn of_ours_restored_by_runc() {
    requires_criu!();
    differs!(Runc | Crun, "it is about both");
    requires!(fs::exists(RUNC).unwrap(), "runc");
    let mut subject = Subject::run(masked());
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    let images = subject.images("images");
    let flags = ["--detach", "--image-path", images.to_str().unwrap(), "--manage-cgroups-mode", "ignore", "--bundle"];
    let restore = runc(&subject, "restore", &flags).arg(subject.bundle()).arg(&subject.id);
    let output = in_silence(restore).output();
    let log = fs::read_to_string(images.join("restore.log")).unwrap_or_default();
    assert!(output.status.success(), "{log}");
    subject.pid = pid_of_runcs(&subject);
    subject.counts_on(last);
    runc(&subject, "delete", &["--force"]).arg(&subject.id).output().ok();
    subject.wait();
}

/// With its cgroups, as runc does it when nobody tells it otherwise.
#[test]
fn of_runc_restored_by_ours() {
    requires_criu!();
    differs!(Runc | Crun, "it is about both");
    requires!(fs::exists(RUNC).unwrap(), "runc");
    let bundle = masked();
    bundle.write();
    in_silence(runc(&bundle, "run", &["--detach", "--bundle"]).arg(bundle.bundle()).arg(&bundle.id)).output().ok();
    let mut subject = Subject(Container { made_from: bundle, pid: 0 });
    subject.pid = pid_of_runcs(&subject);
    let last = subject.count();
    let (images, hierarchy) = (subject.images("images"), cgroup_options());
    let checkpoint = runc(&subject, "checkpoint", &["--image-path", images.to_str().unwrap(), &subject.id]).output();
    // Its CRIU takes them away from the machine, and nobody puts them back.
    let remount = format!("remount,{}", hierarchy.join(","));
    Run::new("mount").args(["-o", &remount, "/sys/fs/cgroup"]).output().ok();
    checkpoint.ok();
    assert_eq!(subject.wait(), 128 + 9);
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    assert_eq!(subject.exec("cat /proc/kcore | wc -c; cat /vol/file"), "0\nvolume");
}

fn pid_of_runcs(sandbox: &Sandbox) -> i32 {
    let state = runc(sandbox, "state", &[&sandbox.id]).output().ok().stdout;
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    state["pid"].as_i64().unwrap().try_into().unwrap()
}

/// The container's memory is handed out by the one and fetched by the other, at the same time.
#[test]
fn pages_that_are_fetched_when_they_are_used() {
    requires_criu!();
    let subject = Subject::run(counter());
    let last = subject.count();
    let (mut status, writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
    let number = writer.as_raw_fd().to_string();
    let flags = ["--lazy-pages", "--page-server", "127.0.0.1:27277", "--status-fd", &number];
    let run = subject.runtime("checkpoint").arg("--image-path").arg(subject.images("images")).args(flags);
    let checkpoint = run.arg("--work-path").arg(subject.path("work")).arg(&subject.id).spawn();
    drop(writer);
    let mut ready = Vec::new();
    status.read_to_end(&mut ready).unwrap();
    assert_eq!(ready, [0], "{:?}", checkpoint.wait());

    let images = subject.images("images");
    let pages = Run::new("criu")
        .args(["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", "27277", "--images-dir"])
        .arg(&images)
        .arg("--work-dir")
        .arg(&images)
        .spawn();
    until("the place to fetch pages", || images.join("lazy-pages.socket").exists().then_some(()));
    // The other one is still there, so it has another name and another cgroup, and their files are the same.
    let mut other = counter();
    other.config["mounts"] = subject.made_from.config["mounts"].clone();
    other.config["root"]["path"] = json!(subject.rootfs());
    other.write();
    let restore = other.command("restore").args(["--detach", "--lazy-pages", "--image-path"]).arg(&images);
    in_silence(restore.arg("--work-path").arg(&images)).stderr_to(Stdio::inherit()).output().ok();
    checkpoint.wait().ok().silent();
    pages.wait().ok();
    let other = Subject(Container { made_from: other, pid: 0 }).found();
    let log = fs::read_to_string(images.join("restore.log")).unwrap();
    let end = log.len().saturating_sub(3000);
    assert_eq!(other.status(), "running", "{}", &log[end..]);
    other.counts_on(last);
    subject.wait();
    assert!(subject.call("state").exits(1).stderr.contains("does not exist"));
}
