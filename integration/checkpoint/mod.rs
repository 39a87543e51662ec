//! `checkpoint` and `restore`, with CRIU where it works.

mod everything;
mod flags;
mod groups;
mod images;
mod interrupted;
mod outside;
mod refusals;
mod selinux;
mod state;

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::run::{Output, Run};
use crate::support::wait::until;
use crate::support::{Bundle, Container};

macro_rules! requires_criu {
    () => {
        crate::support::requires!(crate::support::criu::is_here(), "CRIU, and a kernel and rights for it");
    };
}
use requires_criu;

/// A container that can be checkpointed: none of its files is of the host's, but for `/vol`.
struct Subject(Container);

impl Deref for Subject {
    type Target = Container;

    fn deref(&self) -> &Container {
        &self.0
    }
}

impl DerefMut for Subject {
    fn deref_mut(&mut self) -> &mut Container {
        &mut self.0
    }
}

/// Writes numbers to a file of a tmpfs, one after the other. Another file is open all the time.
const COUNTS: &str = "exec 6</vol/file; i=0; while :; do i=$((i+1)); echo $i >/tmp/n; sleep 0.2; done";

/// The volume is a bind mount.
fn with_volume(bundle: Bundle) -> Bundle {
    let volume = bundle.host_directory("volume");
    bundle.bind(volume, "/vol", &[]).tmpfs("/tmp", &["mode=1777"])
}

/// Counts, with all that an engine asks for by default.
fn counter() -> Bundle {
    with_volume(Bundle::sh(COUNTS))
}

impl Subject {
    /// `run --detach`.
    #[track_caller]
    fn run(bundle: Bundle) -> Self {
        bundle.write();
        in_silence(bundle.command("run").arg("--detach")).output().ok();
        Self(Container { made_from: bundle, pid: 0 }).found()
    }

    /// With the pid that `state` tells.
    #[track_caller]
    fn found(mut self) -> Self {
        self.0.pid = self.0.state()["pid"].as_i64().unwrap().try_into().unwrap();
        self
    }

    /// The last number, when there is one.
    #[track_caller]
    fn count(&self) -> u64 {
        self.number_in("/tmp/n")
    }

    /// The last whole line of a file of the container's, when there is one.
    #[track_caller]
    fn number_in(&self, file: &str) -> u64 {
        let file = format!("/proc/{}/root{file}", self.pid);
        until("a number", || std::fs::read_to_string(&file).ok()?.rsplit_once('\n')?.0.lines().last()?.parse().ok())
    }

    /// Counts on, from where it was.
    #[track_caller]
    fn counts_on(&self, from: u64) {
        let now = until("the next number", || Some(self.count()).filter(|count| *count > from));
        assert!(now < from + 100, "{now} is not what comes after {from}");
    }

    fn images(&self, name: &str) -> PathBuf {
        self.path(name)
    }

    /// `checkpoint`, with the images in `name`.
    fn checkpoint(&self, name: &str, flags: &[&str]) -> Output {
        let run = self.runtime("checkpoint").arg("--image-path").arg(self.images(name));
        run.args(["--work-path"]).arg(self.path("work")).args(flags).arg(&self.id).output()
    }

    /// The same, after which the container is gone.
    #[track_caller]
    fn is_taken_down(&self, name: &str, flags: &[&str]) {
        self.checkpoint(name, flags).ok().silent();
        assert_eq!(self.wait(), 128 + 9);
        self.assert_nothing_left();
    }

    fn restore_command(&self, name: &str, flags: &[&str]) -> Run {
        let run = self.made_from.command("restore").arg("--image-path").arg(self.images(name));
        run.arg("--work-path").arg(self.path("work")).args(flags)
    }

    /// `restore --detach`.
    #[track_caller]
    fn restore(self, name: &str, flags: &[&str]) -> Self {
        let log = self.path("restore-says");
        let file = std::fs::File::options().create(true).write(true).truncate(true).open(&log).unwrap();
        let run = in_silence(self.restore_command(name, flags).arg("--detach").arg("--no-subreaper")).stderr_to(file);
        let output = run.output();
        assert!(output.status.success(), "{}: {}", output.what, std::fs::read_to_string(&log).unwrap());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
        self.found()
    }

    /// A script of a further process.
    #[track_caller]
    fn exec(&self, script: &str) -> String {
        self.runtime("exec").args([&self.id, "sh", "-c", script]).output().ok().no_stderr().stdout.trim_end().to_owned()
    }

    fn config(&mut self) -> &mut Value {
        &mut self.0.made_from.config
    }

    /// Has another cgroup, which it tells, and this limit of processes, from its next restore on.
    fn moves(&mut self, limit: u64) -> String {
        let (id, before) = (self.id.clone(), self.cgroup.clone());
        let linux = &mut self.config()["linux"];
        let of_systemd = linux["cgroupsPath"].as_str().and_then(|path| Some(path.split_once(':')?.0.to_owned()));
        let (path, group) = match of_systemd {
            Some(slice) => {
                let parent = before.rsplit_once('/').unwrap().0;
                (format!("{slice}:corten-other:{id}"), format!("{parent}/corten-other-{id}.scope"))
            }
            None => (format!("{before}/other"), format!("{before}/other")),
        };
        linux["cgroupsPath"] = path.into();
        linux["resources"]["pids"] = json!({"limit": limit});
        self.made_from.write();
        group
    }
}

/// Those that all mounts of the cgroup hierarchy share. A CRIU, also another test's, takes them away while it runs.
fn cgroup_options() -> Vec<String> {
    let table = crate::support::mountinfo::Mountinfo::of_self();
    table.at("/sys/fs/cgroup").super_options.clone()
}

/// The program is not to have files of ours.
fn in_silence(run: Run) -> Run {
    run.stdin_from(Stdio::null()).stdout_to(Stdio::null()).stderr_to(Stdio::null())
}
