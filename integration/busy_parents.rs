//! Groups of cgroup v2 below others that have processes of their own, or are threaded (cgroups(7), "no internal processes",
//! "thread mode").

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::cgroup::{self, View};
use crate::support::peer::is_corten;
use crate::support::run::{Run, Running};
use crate::support::{Bundle, differs, requires};

/// A group in which the container's is to be.
struct Parent {
    path: String,
    directory: PathBuf,
    inside: Option<Running>,
}

impl Parent {
    fn new(bundle: &Bundle) -> Self {
        let path = format!("{}-parent", bundle.cgroup);
        let directory = cgroup::directories(&path).remove(0);
        crate::support::rootfs::directory(&directory);
        Self { path, directory, inside: None }
    }

    /// With a process of its own.
    fn busy(bundle: &Bundle) -> Self {
        let mut parent = Self::new(bundle);
        let process = Run::new("sleep").arg("600").spawn();
        fs::write(parent.directory.join("cgroup.procs"), process.pid().as_raw_nonzero().to_string()).unwrap();
        parent.inside = Some(process);
        parent
    }

    /// In a threaded tree, with this group beside the container's.
    fn threaded(bundle: &Bundle) -> Self {
        let parent = Self::new(bundle);
        let beside = parent.directory.join("beside");
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("cgroup.type"), "threaded").unwrap();
        assert_eq!(parent.read("cgroup.type"), "domain threaded");
        parent
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap().trim().to_owned()
    }

    /// Peers take away the innermost group only.
    #[track_caller]
    fn assert_nothing_below(&self) {
        let gone = if is_corten() { "outer" } else { "outer/leaf" };
        assert!(!self.directory.join(gone).exists());
    }

    fn leaf(&self) -> String {
        format!("{}/outer/leaf", self.path)
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        self.inside = None;
        cgroup::remove_all(&self.directory);
    }
}

/// A limit of a controller that this view has, and that only domains have.
fn limit() -> Value {
    match cgroup::has("memory") {
        true => json!({"memory": {"limit": 64 << 20}}),
        false => json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}),
    }
}

fn has_domain_controller() -> bool {
    cgroup::has("memory") || cgroup::has("hugetlb")
}

#[test]
fn without_limits_a_busy_parent_is_no_matter() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    let bundle = Bundle::idle();
    let parent = Parent::busy(&bundle);
    let container = bundle.set("/linux/cgroupsPath", parent.leaf()).start();
    assert_eq!(cgroup::of_process(container.pid)[""], parent.leaf());
    // Not made the root of a threaded tree by us.
    assert_eq!(parent.read("cgroup.type"), "domain");
    assert_eq!(parent.read("outer/leaf/cgroup.type"), "domain");
    container.kill("KILL");
    container.wait();
    container.delete();
    parent.assert_nothing_below();
}

#[test]
fn a_limit_below_a_busy_parent_is_an_error_that_names_it() {
    differs!(Crun, "leaves the group behind");
    requires!(cgroup::view() == View::Unified && has_domain_controller(), "cgroup v2 alone, with memory or hugetlb");
    let bundle = Bundle::idle();
    let parent = Parent::busy(&bundle);
    let refusal = bundle.set("/linux/cgroupsPath", parent.leaf()).set("/linux/resources", limit()).create_fails();
    let named = format!("below {:?}: ", parent.directory);
    refusal.names("linux.resources.").because(&named).because("it has processes of its own").ends("busy");
    parent.assert_nothing_below();
}

#[test]
fn below_a_threaded_parent_it_is_threaded() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    differs!(Crun, "does not make it threaded, so that nobody can be in it");
    let bundle = Bundle::sh("trap 'exit 0' TERM; sleep 600 & echo ready; wait");
    let parent = Parent::threaded(&bundle);
    let mut bundle = bundle.set("/linux/cgroupsPath", parent.leaf());
    if cgroup::has("pids") {
        bundle = bundle.set("/linux/resources/pids/limit", 77);
    }
    let container = bundle.start();
    container.says("ready");
    assert_eq!(parent.read("outer/leaf/cgroup.type"), "threaded");
    assert_eq!(parent.read("outer/leaf/cgroup.threads").lines().count(), 2);
    if cgroup::has("pids") {
        assert_eq!(parent.read("outer/leaf/pids.max"), "77");
    }
    container.kill("KILL");
    container.wait();
    container.delete();
    parent.assert_nothing_below();
}

/// Where the kernel cannot kill a group at once, because it has threads.
#[test]
fn delete_ends_what_is_left_in_a_threaded_one() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    differs!(Runc | Crun, "reads cgroup.procs, which is refused");
    let bundle = Bundle::sh("sleep 600 & exit 0").without_namespace("pid");
    let parent = Parent::threaded(&bundle);
    let container = bundle.set("/linux/cgroupsPath", parent.leaf()).start();
    container.wait();
    assert_eq!(parent.read("outer/leaf/cgroup.threads").lines().count(), 1);
    container.delete();
    parent.assert_nothing_below();
}

#[test]
fn a_limit_that_a_threaded_tree_has_not_is_an_error() {
    requires!(cgroup::view() == View::Unified && has_domain_controller(), "cgroup v2 alone, with memory or hugetlb");
    differs!(Crun, "makes it nevertheless");
    let bundle = Bundle::idle();
    let parent = Parent::threaded(&bundle);
    let refusal = bundle.set("/linux/cgroupsPath", parent.leaf()).set("/linux/resources", limit()).create_fails();
    refusal.names("linux.resources.").because("threaded tree, which does not have");
    parent.assert_nothing_below();
}
