//! Podman, by its command line, and by the service that answers Docker's clients. Buildah, which shares its images.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{UnmountFlags, unmount};

use crate::support::case::{Case, clean_up};
use crate::support::daemon::Daemon;
use crate::support::engine::Engine;
use crate::support::image::{BOX, Layer};
use crate::support::mountinfo::Mountinfo;
use crate::support::peer::{Peer, peer};
use crate::support::place::Place;
use crate::support::run::{Output, Run};
use crate::support::wait::until;
use crate::support::{cgroup, snippet};

mod buildah;
mod checkpoint;
mod exec;
mod life;
mod pods;
mod run;

/// A Podman with images and containers of its own.
pub struct Podman {
    daemon: Daemon,
    place: Place,
}

impl Engine for Podman {
    fn cases() -> Vec<Case<Self>> {
        // A user's Buildah wants a network for each step, which guests have not got.
        let buildah = if is_a_users() { Vec::new() } else { buildah::cases() };
        [run::cases(), life::cases(), exec::cases(), pods::cases(), checkpoint::cases(), buildah].concat()
    }

    fn start() -> Self {
        let place = Place::new();
        let mut settings = snippet::below("/etc/containers/containers.conf");
        if is_a_users() {
            // His network would be a program that copies the machine's; guests have none.
            settings += "\n[containers]\nnetns = \"none\"\n";
        }
        fs::write(place.path("containers.conf"), settings).unwrap();
        let directory = place.path("image");
        fs::create_dir(&directory).unwrap();
        let image = Layer::busybox(&directory).image(BOX);
        podman(&place, "load --quiet --input").arg(image).output().ok();
        let mut command = Command::new("podman");
        command.args(globals(&place)).env("CONTAINERS_CONF", place.path("containers.conf"));
        command.args(["system", "service", "--time", "0"]).arg(format!("unix://{}", place.text("socket")));
        let is_ready = || place.path("socket").exists();
        let daemon = Daemon::start(&mut command, &place.path("log"), is_ready);
        Self { daemon, place }
    }

    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn stop(mut self) -> Vec<String> {
        let containers = self.call("ps --all --quiet --no-trunc").stdout;
        let mut left: Vec<_> = containers.lines().map(|it| format!("container {it}")).collect();
        let states =
            if is_a_users() { std::env::var("XDG_RUNTIME_DIR").unwrap() } else { "/run".to_owned() } + "/corten";
        left.extend(fs::read_dir(states).into_iter().flatten().map(|it| format!("state {:?}", it.unwrap().path())));
        self.daemon.stop();
        if is_a_users() {
            // The process that keeps his user namespace for the next time.
            self.call("system migrate").ok();
        }
        // Podman keeps them for the next time.
        let root = self.place.text("root");
        for mount in Mountinfo::of_self().lines {
            if mount.target == "/run/netns" || mount.target.starts_with(&root) {
                let _ = unmount(&mount.target, UnmountFlags::DETACH);
            }
        }
        left.extend(self.place.cgroups_left(&["conmon"]));
        // runc makes a pod's groups in hierarchies without controllers, too, where Podman does not look for them.
        let is_of_runc = |it: &String| it.contains("/unified/") || it.contains("/systemd/");
        left.retain(|it| peer() != Peer::Runc || !is_of_runc(it));
        left
    }
}

/// Whether he who runs this has no privileges.
pub fn is_a_users() -> bool {
    !rustix::process::geteuid().is_root()
}

impl Podman {
    /// `podman WORDS...`, to be continued.
    pub fn command(&self, words: &str) -> Run {
        podman(&self.place, words)
    }

    /// The same to its end.
    pub fn call(&self, words: &str) -> Output {
        self.command(words).output()
    }

    /// A name for something that this case makes.
    pub fn name(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("case-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// What every new container is given: nothing else puts its cgroup where we look.
    pub fn options(&self) -> String {
        format!("--cgroup-parent {}", self.place.cgroup_parent())
    }

    /// `podman run --rm OPTIONS box sh -c SCRIPT`, to its end.
    pub fn sh(&self, options: &str, script: &str) -> Output {
        self.command(&format!("run --rm {} {options} {BOX} sh -c", self.options())).arg(script).output()
    }

    /// `podman run --detach OPTIONS box sh -c SCRIPT`.
    #[track_caller]
    pub fn detached(&self, options: &str, script: &str) -> Container<'_> {
        let container = self.container();
        let words = format!("run --detach --name NAME {} {options} {BOX} sh -c", self.options());
        container.command(&words).arg(script).output().ok().no_stderr();
        container
    }

    /// `podman run --detach OPTIONS box sleep 600`: its program is that one from the beginning.
    #[track_caller]
    pub fn asleep(&self, options: &str) -> Container<'_> {
        let container = self.container();
        let words = format!("run --detach --name NAME {} {options} {BOX} sleep 600", self.options());
        container.call(&words).ok().no_stderr();
        container
    }

    /// One that is yet to be made, with this name.
    pub fn container(&self) -> Container<'_> {
        Container { podman: self, name: self.name() }
    }

    /// A new directory, by its path.
    pub fn directory(&self, name: &str) -> String {
        let path = self.place.text(&format!("{}-{name}", self.name()));
        fs::create_dir(&path).unwrap();
        path
    }
}

/// What keeps it apart from the machine's.
fn globals(place: &Place) -> Vec<String> {
    let words = format!(
        "--root {} --runroot {} --tmpdir {} --network-config-dir {} --storage-driver overlay --cgroup-manager {} \
         --events-backend file",
        place.text("root"),
        place.text("runroot"),
        place.text("tmp"),
        place.text("networks"),
        if cgroup::are_systemds() { "systemd" } else { "cgroupfs" },
    );
    words.split_whitespace().map(str::to_owned).collect()
}

fn podman(place: &Place, words: &str) -> Run {
    let run = Run::new("podman").env("CONTAINERS_CONF", place.path("containers.conf"));
    run.args(globals(place)).args(words.split_whitespace())
}

/// A container that goes away with the case.
pub struct Container<'a> {
    podman: &'a Podman,
    pub name: String,
}

impl Container<'_> {
    /// `podman WORDS...`, with its name for the word NAME; to be continued.
    pub fn command(&self, words: &str) -> Run {
        self.podman.command(&words.replace("NAME", &self.name))
    }

    /// The same to its end.
    pub fn call(&self, words: &str) -> Output {
        self.command(words).output()
    }

    /// `podman exec NAME sh -c SCRIPT`: what it prints.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.command("exec NAME sh -c").arg(script).output().ok().no_stderr().stdout
    }

    /// A field of `podman inspect`, in the words of Go's templates.
    #[track_caller]
    pub fn inspect(&self, field: &str) -> String {
        self.call(&format!("inspect --format {{{{{field}}}}} NAME")).ok().no_stderr().line().to_owned()
    }

    /// Waits until its log holds this.
    #[track_caller]
    pub fn says(&self, needle: &str) {
        until(&format!("{needle:?} from the program"), || self.log().contains(needle).then_some(()));
    }

    /// What the program has written.
    #[track_caller]
    pub fn log(&self) -> String {
        self.call("logs NAME").ok().stdout
    }

    /// Its first process.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.inspect(".State.Pid").parse().unwrap()
    }

    /// A file of its cgroup in the hierarchy of `controller`.
    #[track_caller]
    pub fn cgroup_file(&self, controller: &str, name: &str) -> String {
        cgroup::value(self.pid(), controller, name)
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        clean_up(|| _ = self.call("rm --force --ignore --time 0 --volumes NAME").ok().no_stderr());
    }
}
