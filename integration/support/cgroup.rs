//! The cgroup hierarchies as the test process sees them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::LazyLock;

use rustix::fs::{Access, access};

use super::mountinfo::Mountinfo;
use super::wait::has_ended;

/// Which of the two views of /sys/fs/cgroup the run is in; see `integration/main.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Controllers on v1 hierarchies, cgroup2 beside them.
    Hybrid,
    /// cgroup2 alone.
    Unified,
}

/// A mounted hierarchy.
pub struct Hierarchy {
    pub mount_point: PathBuf,
    /// Those of v1, or `name=systemd`; of v2 what cgroup.controllers says, but on a hybrid machine none: nobody uses them there.
    pub controllers: Vec<String>,
}

/// What a v1 hierarchy can have beside its controllers.
const MOUNT_OPTIONS: [&str; 5] = ["rw", "ro", "xattr", "noprefix", "clone_children"];

static HIERARCHIES: LazyLock<Vec<Hierarchy>> = LazyLock::new(|| {
    let mounts = Mountinfo::of_self();
    let in_place = mounts.lines.iter().filter(|line| line.target.starts_with("/sys/fs/cgroup"));
    in_place
        .filter_map(|line| {
            let mount_point = PathBuf::from(&line.target);
            let controllers = match line.kind.as_str() {
                "cgroup" => {
                    let is_option = |word: &&String| MOUNT_OPTIONS.contains(&word.as_str());
                    line.super_options.iter().filter(|word| !is_option(word)).cloned().collect()
                }
                "cgroup2" if view() == View::Hybrid => Vec::new(),
                "cgroup2" => words(&fs::read_to_string(mount_point.join("cgroup.controllers")).ok()?),
                _ => return None,
            };
            Some(Hierarchy { mount_point, controllers })
        })
        .collect()
});

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// All hierarchies.
pub fn hierarchies() -> &'static [Hierarchy] {
    &HIERARCHIES
}

pub fn view() -> View {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { View::Unified } else { View::Hybrid }
}

/// Where the cgroup `path` is in the hierarchy of `controller`.
pub fn directory_of(controller: &str, path: &str) -> Option<PathBuf> {
    let hierarchy = hierarchies().iter().find(|it| it.controllers.iter().any(|name| name == controller))?;
    Some(below(&hierarchy.mount_point, path))
}

/// The cgroup `path` in every hierarchy, whether it exists or not.
pub fn directories(path: &str) -> Vec<PathBuf> {
    hierarchies().iter().map(|hierarchy| below(&hierarchy.mount_point, path)).collect()
}

fn below(mount_point: &Path, path: &str) -> PathBuf {
    mount_point.join(path.trim_start_matches('/'))
}

/// The group below which the tests may make others: any for root; for a user without privileges the one in which his service
/// manager started them beside others, if it did.
pub fn home() -> Option<String> {
    if rustix::process::geteuid().is_root() {
        return Some(String::new());
    }
    let own = of_process(std::process::id().try_into().unwrap());
    let (parent, _) = own.get("")?.rsplit_once('/')?;
    let is_writable = |directory: &PathBuf| access(directory, Access::WRITE_OK).is_ok();
    (view() == View::Unified && directories(parent).iter().all(is_writable)).then(|| parent.to_owned())
}

/// The file `v1` or `v2` of a container's cgroup, by the view.
pub fn file(controller: &str, path: &str, v1: &str, v2: &str) -> PathBuf {
    let name = if view() == View::Unified { v2 } else { v1 };
    directory_of(controller, path).expect("the test requires the controller").join(name)
}

/// Whether a controller can be used from this view.
pub fn has(controller: &str) -> bool {
    hierarchies().iter().any(|it| it.controllers.iter().any(|name| name == controller))
}

/// /proc/PID/cgroup: controllers (empty for cgroup2) to path.
pub fn of_process(pid: i32) -> BTreeMap<String, String> {
    parse(&fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap())
}

/// The same from text, which may come from inside.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let fields = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1).map(str::to_owned);
        Some((fields.next()?, fields.next()?))
    };
    text.lines().filter_map(fields).collect()
}

/// The keys of `of_process` for the hierarchies that are mounted in this view.
pub fn mounted_keys() -> Vec<String> {
    match view() {
        View::Unified => vec![String::new()],
        View::Hybrid => {
            let of = |it: &Hierarchy| {
                if it.mount_point.ends_with("unified") { String::new() } else { it.controllers.join(",") }
            };
            hierarchies().iter().map(of).collect()
        }
    }
}

/// rmdir from the leaves up; what is busy stays.
pub fn remove_all(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    entries.filter_map(Result::ok).filter(|it| it.path().is_dir()).for_each(|it| remove_all(&it.path()));
    let _ = fs::remove_dir(directory);
}

/// Makes a cgroup, with those above it. A new v1 cpuset has neither processors nor memory, and takes nobody.
pub fn make(directory: &Path) {
    if directory.exists() {
        return;
    }
    let parent = directory.parent().unwrap();
    make(parent);
    // Another test may do the same.
    let _ = fs::create_dir(directory);
    for file in ["cpuset.cpus", "cpuset.mems"].map(|name| directory.join(name)) {
        if fs::read_to_string(&file).is_ok_and(|list| list == "\n") && view() == View::Hybrid {
            let inherited = fs::read_to_string(parent.join(file.file_name().unwrap())).unwrap();
            fs::write(file, inherited).unwrap();
        }
    }
}

/// A cgroup that is frozen for as long as this lives.
pub struct Frozen {
    pub directory: PathBuf,
}

impl Frozen {
    pub fn new(path: &str) -> Self {
        let frozen = Self {
            directory: match view() {
                View::Hybrid => directory_of("freezer", path).unwrap(),
                View::Unified => directories(path)[0].clone(),
            },
        };
        frozen.write("FROZEN", "1");
        frozen
    }

    fn write(&self, v1: &str, v2: &str) {
        match view() {
            View::Hybrid => fs::write(self.directory.join("freezer.state"), v1).unwrap(),
            View::Unified => fs::write(self.directory.join("cgroup.freeze"), v2).unwrap(),
        }
    }

    pub fn is_frozen(&self) -> bool {
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        read("freezer.self_freezing") == "1\n" || read("cgroup.freeze") == "1\n"
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.write("THAWED", "0");
    }
}

/// What somebody else has made, with what he has put there.
pub struct Occupied {
    pub directories: Vec<PathBuf>,
    process: Option<Child>,
}

impl Occupied {
    pub fn new(path: &str) -> Self {
        let directories = directories(path);
        directories.iter().for_each(|it| make(it));
        Self { directories, process: None }
    }

    /// A process, in one of the hierarchies.
    pub fn by_process_in(mut self, index: usize) -> Self {
        let process = Command::new("sleep").arg("600").env(super::holder::MARK, "1").spawn().unwrap();
        fs::write(self.directories[index].join("cgroup.procs"), process.id().to_string()).unwrap();
        self.process = Some(process);
        self
    }

    pub fn is_as_it_was(&self) -> bool {
        self.directories.iter().all(|it| it.exists()) && self.process.as_ref().is_none_or(|it| !has_ended(it.id()))
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        self.directories.iter().for_each(|it| remove_all(it));
    }
}
