//! Builds a bundle: a config.json of which a test names only what it is about, and a busybox root filesystem.

use std::ffi::OsStr;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::container::Container;
use super::refusal::Refusal;
use super::run::{Output, Run};
use super::{Sandbox, cgroup, peer, rootfs};

/// A bundle under construction, together with the command line that will use it.
pub struct Bundle {
    sandbox: Sandbox,
    pub config: Value,
    /// In front of the runtime: `taskset -c 0`, `sh -c ... _`.
    wrapper: Vec<String>,
    globals: Vec<String>,
    options: Vec<String>,
}

impl Deref for Bundle {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Bundle {
    /// A container as engines make it by default, running `true`. Of a user without privileges, it is one that he can have:
    /// with a user namespace, and in a cgroup of its own where he may make some.
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        rootfs::directory(&sandbox.bundle());
        rootfs::directory(&sandbox.state_root());
        rootfs::make(&sandbox.rootfs());
        let config = default_config(&sandbox);
        let bundle = Self { sandbox, config, wrapper: Vec::new(), globals: Vec::new(), options: Vec::new() };
        if rustix::process::geteuid().is_root() {
            return bundle;
        }
        let cgroups_path = cgroup::home().map(|_| bundle.cgroup.clone());
        bundle.without_privileges().set("/linux/cgroupsPath", cgroups_path)
    }

    /// Runs a script of the container's shell.
    pub fn sh(script: &str) -> Self {
        Self::new().args(&["sh", "-c", script])
    }

    /// Waits until it is killed; its shell answers SIGTERM with exit status 0, though it is process 1.
    pub fn idle() -> Self {
        Self::sh(IDLE)
    }

    // ---- config.json ----

    /// Sets a value by JSON pointer, making the objects on the way.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *self.place(pointer) = value.into();
        self
    }

    /// Appends to an array by JSON pointer, making it.
    pub fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let place = self.place(pointer);
        if place.is_null() {
            *place = json!([]);
        }
        place.as_array_mut().unwrap().push(value.into());
        self
    }

    /// Takes a value out by JSON pointer.
    pub fn remove(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = self.config.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().remove(key).unwrap_or_else(|| panic!("no {pointer} to remove"));
        self
    }

    fn place(&mut self, pointer: &str) -> &mut Value {
        let mut place = &mut self.config;
        for key in pointer.split('/').skip(1) {
            place = match (place.is_array(), key.parse::<usize>()) {
                (true, Ok(index)) => &mut place[index],
                _ => &mut place[key],
            };
        }
        place
    }

    pub fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", json!(args))
    }

    pub fn mount(self, destination: &str, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> Self {
        let mount = json!({"destination": destination, "type": kind, "source": source.into(), "options": options});
        self.push("/mounts", mount)
    }

    /// A tmpfs.
    pub fn tmpfs(self, destination: &str, options: &[&str]) -> Self {
        self.mount(destination, "tmpfs", "tmpfs", options)
    }

    /// `bind` in front of the options.
    pub fn bind(self, source: impl Into<PathBuf>, destination: &str, options: &[&str]) -> Self {
        let options = [&["bind"], options].concat();
        self.mount(destination, "none", source, &options)
    }

    /// Lists a kind of namespace; with a path it is joined.
    pub fn namespace(self, kind: &str, path: Option<PathBuf>) -> Self {
        let bundle = self.without_namespace(kind);
        match path {
            Some(path) => bundle.push("/linux/namespaces", json!({"type": kind, "path": path})),
            None => bundle.push("/linux/namespaces", json!({"type": kind})),
        }
    }

    /// Inherits a kind of namespace.
    pub fn without_namespace(mut self, kind: &str) -> Self {
        self.place("/linux/namespaces").as_array_mut().unwrap().retain(|it| it["type"] != kind);
        self
    }

    /// A user namespace in which container ids 0.. are host ids `first`.., and a root filesystem that fits.
    pub fn user_namespace(self, first: u32) -> Self {
        let map = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
        let bundle = self.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        // The temporary directory is 0700: its parents must let the mapped root through.
        let (temp, rootfs) = (bundle.path(""), bundle.rootfs());
        Run::host_sh("chmod 0711 \"$1\" && chown -hR \"$2:$2\" \"$3\"")
            .arg("_")
            .arg(temp)
            .arg(first.to_string())
            .arg(rootfs)
            .output()
            .ok();
        bundle
    }

    pub fn hook(self, kind: &str, hook: Value) -> Self {
        self.push(&format!("/hooks/{kind}"), hook)
    }

    // ---- the root filesystem ----

    /// A path in the root filesystem. An absolute one would be the machine's.
    #[track_caller]
    fn inside(&self, path: &str) -> PathBuf {
        assert!(!path.starts_with('/'), "{path:?} is not relative to the root filesystem");
        self.rootfs().join(path)
    }

    /// A file in the root filesystem, with its directories.
    pub fn file(self, path: &str, content: &str) -> Self {
        let path = self.inside(path);
        rootfs::directory(path.parent().unwrap());
        fs::write(path, content).unwrap();
        self
    }

    pub fn directory(self, path: &str) -> Self {
        rootfs::directory(&self.inside(path));
        self
    }

    /// A symlink in the root filesystem; replaces an empty directory.
    pub fn link(self, path: &str, target: &str) -> Self {
        let path = self.inside(path);
        let _ = fs::remove_dir(&path);
        symlink(target, path).unwrap();
        self
    }

    /// A directory of the host to mount, with a file that says so.
    pub fn host_directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        rootfs::directory(&path);
        fs::write(path.join("file"), name).unwrap();
        path
    }

    // ---- the command line ----

    /// Another id than the default one.
    pub fn called(mut self, id: &str) -> Self {
        self.sandbox.id = id.to_owned();
        self
    }

    /// Another cgroup than the default one; `linux.cgroupsPath` says how the runtime comes to it.
    pub fn in_cgroup(mut self, path: &str) -> Self {
        self.sandbox.cgroup = path.to_owned();
        self
    }

    /// A flag of `create` and `run`.
    pub fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    /// A flag in front of the command.
    pub fn global(mut self, option: impl Into<String>) -> Self {
        self.globals.push(option.into());
        self
    }

    /// Runs `create` or `run` through this command.
    pub fn through<S: Into<String>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper.extend(wrapper.into_iter().map(Into::into));
        self
    }

    /// Runs all commands through this one, also those for what exists.
    pub fn all_through(mut self, wrapper: impl IntoIterator<Item = String>) -> Self {
        self.sandbox.caller.extend(wrapper);
        self
    }

    /// All commands are a user's without privileges, whose is the whole sandbox, and whose own id is root inside. Whoever
    /// runs the tests is that user, unless it is root.
    pub fn without_privileges(mut self) -> Self {
        let mut user = rustix::process::geteuid().as_raw();
        if user == 0 {
            user = USER;
            let id = user.to_string();
            Run::new("chown").args(["-hR", &format!("{id}:{id}")]).arg(self.path("")).output().ok();
            self.sandbox.caller =
                ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"].map(str::to_owned).into();
        }
        let map = json!([{"containerID": 0, "hostID": user, "size": 1}]);
        let bundle = self.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        bundle.set("/linux/cgroupsPath", Value::Null)
    }

    /// Runs `create` or `run` from a shell of the host that does this first; the script sees `$1` and the rest as the
    /// command that follows.
    pub fn after_host_sh(self, script: &str) -> Self {
        self.through(["sh".to_owned(), "-ec".to_owned(), format!("{script}\nexec \"$@\""), "_".to_owned()])
    }

    /// As `after_host_sh`, in a private mount namespace in which `$T` is the sandbox's directory.
    pub fn after_host_mounts(self, script: &str) -> Self {
        let script = format!("T={}\n{script}", self.path("").display());
        self.through(["unshare", "--mount", "--propagation", "private", "--"]).after_host_sh(&script)
    }

    /// Writes config.json.
    pub fn write(&self) {
        fs::write(self.bundle().join("config.json"), self.config.to_string()).unwrap();
    }

    /// `corten --root STATE COMMAND --bundle BUNDLE ID` with everything said above.
    pub fn command(&self, command: &str) -> Run {
        self.command_with::<&str>(command, [])
    }

    /// The same with more flags in front of the command.
    pub fn command_with<S: AsRef<OsStr>>(&self, command: &str, globals: impl IntoIterator<Item = S>) -> Run {
        let program = peer::program().to_str().unwrap().to_owned();
        let mut words = self.caller.iter().chain(&self.wrapper).cloned().chain([program]);
        Run::new(words.next().unwrap())
            .args(words)
            .args(&self.globals)
            .args(globals)
            .arg("--root")
            .arg(self.state_root())
            .arg(command)
            .arg("--bundle")
            .arg(self.bundle())
            .args(&self.options)
            .arg(&self.id)
    }

    // ---- using it ----

    /// `run` in the foreground.
    pub fn run(self) -> Output {
        self.write();
        self.command("run").output()
    }

    /// `run` in the foreground, which succeeds without a word on stderr: what the container printed.
    #[track_caller]
    pub fn prints(self) -> String {
        self.run().ok().no_stderr().stdout
    }

    /// `create`.
    #[track_caller]
    pub fn create(self) -> Container {
        self.write();
        Container::create(self)
    }

    /// `create` and `start`.
    #[track_caller]
    pub fn start(self) -> Container {
        let container = self.create();
        container.start();
        container
    }

    /// `create`, which fails as it should and leaves nothing.
    #[track_caller]
    pub fn create_fails(self) -> Refusal {
        self.write();
        self.refuses("create")
    }

    /// `run`, which fails as it should and leaves nothing.
    #[track_caller]
    pub fn run_fails(self) -> Refusal {
        self.write();
        self.refuses("run")
    }

    /// `create` or `run` with config.json as it is, which fails as it should and leaves nothing.
    #[track_caller]
    pub fn refuses(&self, command: &str) -> Refusal {
        Refusal::of(self, command)
    }

    /// `run --detach`.
    #[track_caller]
    pub fn run_detached(self) -> Container {
        self.write();
        Container::run(self.option("--detach"))
    }
}

/// Somebody who is nobody on this machine.
const USER: u32 = 64_321;

/// `trap` and a child to wait for: a shell that only waits can be woken by a signal.
pub const IDLE: &str = "trap 'exit 0' TERM; sleep 600 & wait";

fn default_config(sandbox: &Sandbox) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hostname": "container",
        "process": {
            "args": ["true"],
            "cwd": "/",
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "cgroupsPath": sandbox.cgroup,
            "namespaces":
                [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
        },
    })
}
