//! containerd: one of our own, with its CRI plugin. Here by its own client, `ctr`; what Kubernetes does with it is in `cri`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cri;
use crate::support::case::Case;
use crate::support::daemon::Daemon;
use crate::support::engine::Engine;
use crate::support::image::{BOX, Layer};
use crate::support::place::{Place, states};
use crate::support::pty::Pty;
use crate::support::run::{Output, Run};
use crate::support::wait::until;
use crate::support::{cgroup, peer, snippet};

mod checkpoint;
mod documented;
mod exec;
mod life;
mod run;

/// A running containerd whose default runtime for pods is the program under test.
pub struct Containerd {
    daemon: Daemon,
    place: Place,
}

/// What is in every pod beside its containers: a process that sleeps.
const PAUSE: &str = "localhost/pause:latest";

/// The bridge of pods. CNI keeps it for the next one.
const BRIDGE: &str = "corten0";

impl Engine for Containerd {
    fn cases() -> Vec<Case<Self>> {
        let cases =
            [run::cases(), life::cases(), exec::cases(), checkpoint::cases(), documented::cases(), cri::cases()];
        cases.concat()
    }

    fn start() -> Self {
        let place = Place::new();
        write_settings(&place);

        // `ctr` forgets the path of the runtime where it has an option of its own for the shim, which then executes `runc`.
        let programs = place.path("bin");
        fs::create_dir(&programs).unwrap();
        std::os::unix::fs::symlink(std::path::absolute(peer::program()).unwrap(), programs.join("runc")).unwrap();
        let mut command = Command::new("containerd");
        command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
        for (flag, name) in
            [("--config", "config.toml"), ("--root", "data"), ("--state", "state"), ("--address", "socket")]
        {
            command.arg(flag).arg(place.path(name));
        }
        let is_ready = || ctr(&place, "version").output().status.success();
        let daemon = Daemon::start(&mut command, &place.path("log"), is_ready);
        let containerd = Self { daemon, place };
        containerd.load_images();
        containerd
    }

    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn stop(mut self) -> Vec<String> {
        let mut left = Vec::new();
        for namespace in [self.namespace(), "k8s.io"] {
            for things in ["containers", "tasks", "snapshots"] {
                let listed = self.command(&format!("--namespace {namespace} {things} list")).output().ok().stdout;
                let is_left = |line: &&str| things != "snapshots" || line.contains("Active");
                left.extend(listed.lines().skip(1).filter(is_left).map(|it| format!("{namespace} {things}: {it}")));
            }
        }
        if !self.daemon.stop() {
            left.push("containerd, which does not listen to SIGTERM".to_owned());
        }
        left.extend(states(Path::new("/run/containerd/runc")));
        left.extend(self.place.cgroups_left(&[]));
        // Not there if no pod was.
        Run::new("ip").args(["link", "delete", BRIDGE]).output();
        left
    }
}

/// The documented settings, and what keeps this one apart from the machine.
fn write_settings(place: &Place) {
    let networks = place.path("networks");
    fs::create_dir(&networks).unwrap();
    let network = serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": "10.77.0.0/24" }]],
                "dataDir": place.path("addresses"),
            },
        }],
    });
    fs::write(networks.join("10-pods.conflist"), network.to_string()).unwrap();
    // Pods ask for oom_score_adj -998, which takes CAP_SYS_RESOURCE; containerd itself has the least that is allowed here.
    let private = format!(
        r#"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{}"
"#,
        networks.display()
    );
    let mut documented = snippet::below("/etc/containerd/config.toml");
    if cgroup::are_systemds() {
        documented = documented.replace("BinaryName", "SystemdCgroup = true\n  BinaryName");
    }
    fs::write(place.path("config.toml"), documented + &private).unwrap();
}

impl Containerd {
    fn load_images(&self) {
        let directory = self.place.path("image");
        fs::create_dir(&directory).unwrap();
        let layer = Layer::busybox(&directory);
        for (name, command) in [(BOX, "sh"), (PAUSE, "sleep 1000000")] {
            let image = layer.image_of(name, command);
            for namespace in [self.namespace(), "k8s.io"] {
                self.command(&format!("--namespace {namespace} images import")).arg(&image).output().ok();
            }
        }
    }

    /// containerd's own namespace for what `ctr` makes. It is the name of its cgroup, too.
    fn namespace(&self) -> &str {
        self.place.name()
    }

    /// The socket of its services.
    pub fn socket(&self) -> PathBuf {
        self.place.path("socket")
    }

    /// `ctr WORDS...`, to be continued.
    pub fn command(&self, words: &str) -> Run {
        ctr(&self.place, words)
    }

    /// A name for something that this case makes.
    pub fn name(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("case-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// A file below its place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// The cgroup that all containers of `ctr` are below.
    pub fn cgroup_parent(&self) -> String {
        self.place.cgroupfs_parent()
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// `ctr run --rm OPTIONS box ID sh -c SCRIPT`, to its end.
    pub fn sh(&self, options: &str, script: &str) -> Output {
        let id = self.name();
        self.command(&format!("run --rm {} {options} {BOX} {id} sh -c", runtime())).arg(unhurried(script)).output()
    }

    /// `ctr run --detach OPTIONS box ID sh -c SCRIPT`.
    #[track_caller]
    pub fn detached(&self, options: &str, script: &str) -> Container<'_> {
        let container = self.container();
        let words = format!("run --detach {} {options} {BOX} ID sh -c", runtime());
        container.command(&words).arg(script).output().ok().silent();
        container
    }

    /// `ctr run --detach OPTIONS box ID sleep 600`.
    #[track_caller]
    pub fn asleep(&self, options: &str) -> Container<'_> {
        let container = self.container();
        container.call(&format!("run --detach {} {options} {BOX} ID sleep 600", runtime())).ok().silent();
        container
    }

    /// One that is yet to be made, with this id.
    pub fn container(&self) -> Container<'_> {
        Container { containerd: self, id: self.name() }
    }
}

/// Gives `shell` a terminal of 33 rows and 99 columns, which `ctr` calls its own, sees that it finds it, and lets it exit.
#[track_caller]
fn talk_in_terminal(shell: Run, status: i32) {
    let (mut pty, terminal) = Pty::open();
    pty.resize(33, 99);
    let shell = shell.stdio(&terminal).spawn();
    drop(terminal);
    pty.write("echo $((6 * 7)); tty\n");
    pty.reads("42\r");
    pty.reads("/dev/pts/0\r");
    until("its size", || {
        pty.write("stty size\n");
        pty.reads_within("33 99\r", Duration::from_millis(500)).then_some(())
    });
    pty.write(&format!("exit {status}\n"));
    shell.wait().exits(status);
}

/// A script that gives `ctr` time. On a busy machine it gives up its pipes before it has them, with any runtime, if a program
/// ends at once: output is lost.
fn unhurried(script: &str) -> String {
    format!("({script}); status=$?; sleep 0.3; exit $status")
}

/// How `ctr` is told which runtime to take.
fn runtime() -> String {
    format!("--runc-binary {}", std::path::absolute(peer::program()).unwrap().display())
}

fn ctr(place: &Place, words: &str) -> Run {
    let run = Run::new("ctr").env("CONTAINERD_ADDRESS", place.path("socket"));
    run.env("CONTAINERD_NAMESPACE", place.name()).args(words.split_whitespace())
}

/// A container that goes away with the case, and its process (which containerd calls its task).
pub struct Container<'a> {
    containerd: &'a Containerd,
    pub id: String,
}

impl Container<'_> {
    /// `ctr WORDS...`, with its id for the word ID; to be continued.
    pub fn command(&self, words: &str) -> Run {
        self.containerd.command(&words.replace("ID", &self.id))
    }

    /// The same to its end.
    pub fn call(&self, words: &str) -> Output {
        self.command(words).output()
    }

    /// `ctr tasks exec ID sh -c SCRIPT`: what it prints.
    ///
    /// Into a file, which is not lost.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let name = self.containerd.name();
        let output = self.containerd.path(&name);
        let exec = format!("tasks exec --exec-id {name} --log-uri file://{} ID sh -c", output.display());
        self.command(&exec).arg(script).output().ok();
        fs::read_to_string(output).unwrap()
    }

    /// Its pid and status as `ctr tasks list` has them.
    pub fn task(&self) -> Option<(i32, String)> {
        let tasks = self.call("tasks list").ok().stdout;
        let mut words =
            tasks.lines().find(|line| line.starts_with(&format!("{} ", self.id)))?.split_whitespace().skip(1);
        Some((words.next().unwrap().parse().unwrap(), words.next().unwrap().to_owned()))
    }

    /// A file of its cgroup in the hierarchy of `controller`.
    #[track_caller]
    pub fn cgroup_file(&self, controller: &str, name: &str) -> String {
        cgroup::value(self.task().unwrap().0, controller, name)
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // Neither has to be there any more.
        self.call("tasks delete --force ID");
        self.call("containers delete ID");
    }
}
