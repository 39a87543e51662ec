//! `linux.intelRdt`. No machine of ours has resctrl: where it is to be there, it is a tree of plain directories, and strace(1)
//! changes what the kernel tells the program of it. What the tree cannot do is tested in `src/subsystems/rdt`.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::holder::Holder;
use crate::support::{Bundle, Container, differs, requires, strace};

fn is_mounted() -> bool {
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ")
}

#[test]
fn it_cannot_be_done_without() {
    differs!(Runc | Crun, "goes on without");
    requires!(!is_mounted(), "a machine on which resctrl is not mounted");
    for rdt in [json!({}), json!({"closID": "/"}), json!({"closID": "gold", "schemata": ["L3:0=f"]})] {
        Bundle::new().set("/linux/intelRdt", rdt).create_fails().names("linux.intelRdt").ends("resctrl is not mounted");
    }
}

#[test]
fn what_is_only_called_so_is_none() {
    differs!(Runc | Crun, "goes on without");
    requires!(!is_mounted(), "a machine on which resctrl is not mounted");
    let bundle = Bundle::new().after_host_mounts("mkdir $T/resctrl; mount -t tmpfs resctrl $T/resctrl");
    bundle.set("/linux/intelRdt", json!({})).create_fails().names("linux.intelRdt").ends("resctrl is not mounted");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    differs!(Runc | Crun, "goes on without");
    for (rdt, property) in [
        (json!({"closID": "../../etc"}), "linux.intelRdt.closID"),
        (json!({"closID": 7}), "linux.intelRdt.closID"),
        (json!({"memBwSchema": "L3:0=f"}), "linux.intelRdt.memBwSchema"),
        (json!({"schemata": ["L3:0=f\nL3:1=f"]}), "linux.intelRdt.schemata[0]"),
        (json!({"schemata": "L3:0=f"}), "linux.intelRdt.schemata"),
        (json!({"enableMonitoring": "yes"}), "linux.intelRdt.enableMonitoring"),
    ] {
        Bundle::new().set("/linux/intelRdt", rdt).create_fails().names(property);
    }
}

/// SPEC: nor may anybody.
#[test]
fn nobody_looks_for_it_who_does_not_ask_for_it() {
    requires!(strace::can_poke(), "strace");
    let files_of = |bundle: Bundle| {
        let log = bundle.path("strace");
        let traced =
            ["strace", "--quiet=all", "-f", "-e", "trace=%file", "-o", log.to_str().unwrap()].map(str::to_owned);
        let bundle = bundle.all_through(traced);
        bundle.write();
        let _ = bundle.command("run").output();
        fs::read_to_string(log).unwrap()
    };
    assert!(!files_of(Bundle::new()).contains("resctrl"));
    differs!(Runc | Crun, "goes on without");
    assert!(files_of(Bundle::new().set("/linux/intelRdt", json!({}))).contains("/sys/fs/resctrl"));
}

const HAS: &str = "    MB:0=100\n    L3:0=fff\n";

/// A tree in the place of resctrl, in a mount namespace of its own.
struct Tree {
    holder: Holder,
    root: PathBuf,
    /// What strace(1) has seen.
    log: PathBuf,
}

impl Tree {
    fn new(bundle: &Bundle) -> Self {
        let (root, sys) = (bundle.host_directory("resctrl"), bundle.host_directory("sys"));
        let holder = Holder::mounts("private");
        holder.sh(&format!(
            "mount -t tmpfs sys {sys}; mkdir {sys}/resctrl {sys}/cgroup; mount --bind {root} {sys}/resctrl
            mount --rbind /sys/fs/cgroup {sys}/cgroup; mount --rbind {sys} /sys/fs",
            sys = sys.display(),
            root = root.display()
        ));
        let tree = Self { holder, root, log: bundle.path("strace") };
        tree.write("info/L3_MON/mon_features", "llc_occupancy\n");
        tree.write("info/last_cmd_status", "ok\n");
        tree.write("schemata", HAS);
        tree
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.root.join(file);
        crate::support::rootfs::directory(path.parent().unwrap());
        fs::write(path, content).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap()
    }

    /// A group, with all that the kernel puts there, and one for `monitor` in it.
    fn add_group(&self, name: &str, monitor: &str) {
        self.write(&format!("{name}/schemata"), HAS);
        self.write(&format!("{name}/tasks"), "");
        self.write(&format!("{name}/mon_groups/{monitor}/tasks"), "");
        self.write(&format!("{name}/mon_groups/{monitor}/mon_data/mon_L3_00/llc_occupancy"), "4096\n");
    }

    /// All commands see it, and make and remove directories in `places` only by name.
    fn shown_to(&self, bundle: Bundle, places: &[&str]) -> Bundle {
        // RDTGROUP_SUPER_MAGIC, which is the first member of what fstatfs(2) tells.
        let poke = "inject=fstatfs:poke_exit=@arg2=2158650700000000";
        let log = self.log.to_str().unwrap();
        let mut words =
            vec!["strace", "--quiet=all", "-A", "-o", log, "-e", "trace=fstatfs,mkdirat,unlinkat", "-e", poke];
        if !places.is_empty() {
            words.extend(["-e", "inject=mkdirat,unlinkat:retval=0"]);
        }
        let places = [""].iter().chain(places).map(|place| format!("/sys/fs/resctrl{place}")).collect::<Vec<_>>();
        words.extend(places.iter().flat_map(|place| ["-P", place]));
        bundle.all_through(self.holder.enter().into_iter().chain(words.into_iter().map(str::to_owned)))
    }

    /// What was removed, in order.
    fn removed(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap();
        let name = |line: &str| Some(line.strip_prefix("unlinkat(")?.split('"').nth(1)?.to_owned());
        log.lines().filter_map(name).collect()
    }
}

fn stats(container: &Container) -> Value {
    let output = container.runtime("events").arg("--stats").arg(&container.id).output().ok().no_stderr().stdout;
    serde_json::from_str::<Value>(&output).unwrap()["data"]["intel_rdt"].clone()
}

#[test]
fn a_group_of_its_own() {
    differs!(Runc | Crun, "Debian's are older than most of it");
    requires!(strace::can_poke(), "an strace that can change what calls answer");
    let rdt = json!({"l3CacheSchema": "L3:0=f", "enableMonitoring": true});
    let bundle = Bundle::idle().set("/linux/intelRdt", rdt);
    let (tree, id) = (Tree::new(&bundle), bundle.id.clone());
    tree.add_group(&id, &id);
    let bundle = tree.shown_to(bundle, &[&format!("/{id}/mon_groups")]);
    let container = bundle.create();
    let files = [format!("{id}/tasks"), format!("{id}/mon_groups/{id}/tasks")];
    for file in &files {
        assert_eq!(tree.read(file), container.pid.to_string(), "{file}");
        tree.write(file, "");
    }
    assert!(tree.read(&format!("{id}/schemata")).starts_with("L3:0=f\n"));
    assert_eq!(tree.read("schemata"), HAS);

    container.start();
    container.runtime("exec").arg(&container.id).arg("true").output().ok().silent();
    for file in &files {
        assert_ne!(tree.read(file), "", "{file}");
    }

    tree.write(&format!("{id}/schemata"), HAS);
    let update = container.runtime("update").args(["--l3-cache-schema", "L3:0=3", "--mem-bw-schema", "MB:0=20"]);
    update.arg(&container.id).output().ok().silent();
    assert!(tree.read(&format!("{id}/schemata")).starts_with("MB:0=20\n"), "the last one is written last");

    tree.write(&format!("{id}/schemata"), "    L3:0=003\n");
    let expected = json!({
        "l3_cache_schema_root": "L3:0=fff",
        "l3_cache_schema": "L3:0=003",
        "mem_bw_schema_root": "MB:0=100",
        "schemata": ["L3:0=003"],
        "cmt_stats": [{"llc_occupancy": 4096}],
    });
    assert_eq!(stats(&container), expected);

    container.kill("KILL");
    container.wait();
    assert_eq!(tree.removed(), [""; 0]);
    container.delete();
    assert_eq!(tree.removed(), [id.clone(), id]);
}

#[test]
fn a_class_that_is_there() {
    differs!(Runc | Crun, "Debian's are older than most of it");
    requires!(strace::can_poke(), "an strace that can change what calls answer");
    let bundle = Bundle::idle().set("/linux/intelRdt", json!({"closID": "gold", "l3CacheSchema": "L3:0=0fff"}));
    let tree = Tree::new(&bundle);
    tree.add_group("gold", "others");
    let container = tree.shown_to(bundle, &[]).create();
    assert_eq!(tree.read("gold/tasks"), container.pid.to_string());
    container.start();
    assert_eq!(stats(&container)["cmt_stats"], Value::Null, "what others use, too, is not told");
    container.kill("KILL");
    container.wait();
    container.delete();
    assert_eq!(tree.removed(), [""; 0]);
}

/// A bundle whose program is not there, with a tree that has the class `gold`.
fn doomed(rdt: Value) -> (Bundle, Tree) {
    let bundle = Bundle::new().args(&["/no/such/program"]).set("/linux/intelRdt", rdt);
    let tree = Tree::new(&bundle);
    tree.add_group("gold", "others");
    (bundle, tree)
}

#[test]
fn a_failed_create_removes_what_it_made() {
    differs!(Runc | Crun, "Debian's are older than most of it");
    requires!(strace::can_poke(), "an strace that can change what calls answer");
    let (bundle, tree) = doomed(json!({"l3CacheSchema": "L3:0=f", "enableMonitoring": true}));
    let id = bundle.id.clone();
    tree.add_group(&id, &id);
    let bundle = tree.shown_to(bundle, &[&format!("/{id}/mon_groups")]);
    bundle.write();
    bundle.refuses("create").names("process.args[0]");
    assert_ne!(tree.read(&format!("{id}/tasks")), "", "it had been there by then");
    assert_eq!(tree.removed(), [id.clone(), id]);
}

#[test]
fn a_failed_create_leaves_a_class_what_it_has() {
    differs!(Runc | Crun, "Debian's are older than most of it");
    requires!(strace::can_poke(), "an strace that can change what calls answer");
    let refused = |rdt: Value, property: &str, cause: &str| {
        let (bundle, tree) = doomed(rdt);
        let bundle = tree.shown_to(bundle, &[]);
        bundle.write();
        bundle.refuses("create").names(property).ends(cause);
        assert_eq!((tree.read("gold/schemata").as_str(), tree.removed().len()), (HAS, 0));
        tree.read("gold/tasks")
    };
    let asked = json!({"closID": "gold", "memBwSchema": "MB:0=90"});
    let cause = "is not what group \"gold\" has: MB:0=100";
    assert_eq!(refused(asked, "linux.intelRdt.memBwSchema", cause), "");
    let cause = "group \"silver\" is not there";
    assert_eq!(refused(json!({"closID": "silver"}), "linux.intelRdt.closID", cause), "");
    let asked = json!({"closID": "gold", "schemata": ["L3:0=f"]});
    assert_ne!(refused(asked, "process.args[0]", "no such file or directory"), "", "it had been there by then");
}
