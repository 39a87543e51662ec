//! Docker: a dockerd of our own, with the containerd that it starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{UnmountFlags, unmount};
use serde_json::{Value, json};

use crate::support::case::{Case, clean_up};
use crate::support::daemon::Daemon;
use crate::support::engine::Engine;
use crate::support::image::{BOX, Layer};
use crate::support::place::{Place, states};
use crate::support::run::{Output, Run};
use crate::support::wait::until;
use crate::support::{cgroup, peer, snippet};

mod build;
mod exec;
mod isolation;
mod life;
mod look;
mod outage;
mod places;
pub mod remapped;
mod run;

/// Where the runtime keeps its state below the place, by containerd's namespaces.
const STATES: &str = "exec/runtime-runc";

/// A running dockerd whose default runtime is the program under test.
pub struct Docker {
    daemon: Daemon,
    place: Place,
    command: Command,
}

impl Engine for Docker {
    fn cases() -> Vec<Case<Self>> {
        let cases = [
            run::cases(),
            isolation::cases(),
            places::cases(),
            life::cases(),
            exec::cases(),
            look::cases(),
            build::cases(),
            outage::cases(),
        ];
        cases.concat()
    }

    fn start() -> Self {
        let program = std::path::absolute(peer::program()).unwrap();
        let runtimes = json!({ "corten-debug": { "path": program, "runtimeArgs": ["--debug"] } });
        Self::with(Command::new("dockerd"), &json!({ "runtimes": runtimes }))
    }

    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn stop(mut self) -> Vec<String> {
        let containers = self.command("ps --all --quiet --no-trunc").output().stdout;
        let mut left: Vec<_> = containers.lines().map(|it| format!("container {it}")).collect();
        if !self.daemon.stop() {
            left.push("dockerd, which does not listen to SIGTERM".to_owned());
        }
        left.extend(states(&self.place.path(STATES)));
        // Docker keeps the first, and buildkit's cgroup, for the next time; the second, if it crashed.
        for mount in ["exec/netns/default", "data"] {
            let _ = unmount(self.place.path(mount), UnmountFlags::DETACH);
        }
        left.extend(self.place.cgroups_left(&["buildkit"]));
        left
    }
}

impl Docker {
    /// `command` with further settings in its daemon.json.
    fn with(mut command: Command, settings: &Value) -> Self {
        let place = Place::new();
        // A symlink is all that makes a host's runc corten: what knows no setting finds it in the search path.
        let programs = place.path("bin");
        fs::create_dir(&programs).unwrap();
        std::os::unix::fs::symlink(std::path::absolute(peer::program()).unwrap(), programs.join("runc")).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());

        let mut file: Value = serde_json::from_str(&snippet::below("/etc/docker/daemon.json")).unwrap();
        let private = json!({
            "data-root": place.text("data"),
            "exec-root": place.text("exec"),
            "pidfile": place.text("pid"),
            "hosts": [format!("unix://{}", place.text("socket"))],
            "group": "root",
            "cgroup-parent": place.cgroup_parent(),
            "storage-driver": "overlay2",
            "log-level": "warn",
        });
        merge(&mut file, &private);
        merge(&mut file, settings);
        fs::write(place.path("daemon.json"), file.to_string()).unwrap();

        command.arg("--config-file").arg(place.path("daemon.json")).env("PATH", path);
        let docker = Self { daemon: serve(&mut command, &place), place, command };
        docker.load_image();
        docker
    }

    /// dockerd is killed, with its containerd, and started again.
    fn crash(&mut self) {
        self.daemon.kill();
        self.daemon = serve(&mut self.command, &self.place);
    }

    fn load_image(&self) {
        let directory = self.place.path("image");
        fs::create_dir(&directory).unwrap();
        let image = Layer::busybox(&directory).image(BOX);
        self.command("load --quiet --input").arg(image).output().ok();
    }

    /// `docker WORDS...`, to be continued.
    pub fn command(&self, words: &str) -> Run {
        docker(&self.place, words)
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

    /// `docker run --rm OPTIONS box sh -c SCRIPT`, to its end.
    pub fn sh(&self, options: &str, script: &str) -> Output {
        self.command(&format!("run --rm {options} {BOX} sh -c")).arg(script).output()
    }

    /// `docker run --detach OPTIONS box sh -c SCRIPT`.
    #[track_caller]
    pub fn detached(&self, options: &str, script: &str) -> Container<'_> {
        let container = self.container();
        let words = format!("run --detach --name {} {options} {BOX} sh -c", container.name);
        self.command(&words).arg(script).output().ok();
        container
    }

    /// `docker run --detach OPTIONS box sleep 600`: its program is that one from the beginning.
    #[track_caller]
    pub fn asleep(&self, options: &str) -> Container<'_> {
        let container = self.container();
        container.call(&format!("run --detach --name NAME {options} {BOX} sleep 600")).ok();
        container
    }

    /// One that is yet to be made, with this name.
    pub fn container(&self) -> Container<'_> {
        Container { docker: self, name: self.name() }
    }

    /// A file below its place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// A new directory, by its path.
    pub fn directory(&self, name: &str) -> String {
        let path = self.place.text(&format!("{}-{name}", self.name()));
        fs::create_dir(&path).unwrap();
        path
    }

    /// A new file that may be executed, by its path.
    pub fn script(&self, name: &str, text: &str) -> String {
        let path = format!("{}/{name}", self.directory("file"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The cgroup of a container.
    pub fn cgroup_path(&self, id: &str) -> String {
        self.place.cgroup_of("docker", id)
    }
}

/// Starts dockerd.
fn serve(command: &mut Command, place: &Place) -> Daemon {
    Daemon::start(command, &place.path("log"), || docker(place, "version").output().status.success())
}

/// Adds settings to settings.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn docker(place: &Place, words: &str) -> Run {
    // No settings of this machine's user.
    let run = Run::new("/usr/bin/docker").arg("--host").arg(format!("unix://{}", place.text("socket")));
    run.env("DOCKER_CONFIG", place.path("client")).args(words.split_whitespace())
}

/// A container that goes away with the case.
pub struct Container<'a> {
    docker: &'a Docker,
    pub name: String,
}

impl Container<'_> {
    /// `docker WORDS...`, with its name for the word NAME; to be continued.
    pub fn command(&self, words: &str) -> Run {
        self.docker.command(&words.replace("NAME", &self.name))
    }

    /// The same to its end.
    pub fn call(&self, words: &str) -> Output {
        self.command(words).output()
    }

    /// `docker exec NAME sh -c SCRIPT`: what it prints.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.command("exec NAME sh -c").arg(script).output().ok().stdout
    }

    /// A field of `docker inspect`, in the words of Go's templates.
    #[track_caller]
    pub fn inspect(&self, field: &str) -> String {
        self.call(&format!("inspect --format {{{{{field}}}}} NAME")).ok().line().to_owned()
    }

    /// Waits until its log holds this.
    #[track_caller]
    pub fn says(&self, needle: &str) {
        until(&format!("{needle:?} from the program"), || self.log().contains(needle).then_some(()));
    }

    /// What the program has written to stdout.
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
        clean_up(|| _ = self.call("rm --force --volumes NAME").ok());
    }
}
