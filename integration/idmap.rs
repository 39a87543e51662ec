//! Id-mapped mounts: whose files the container sees in them, and whose what it makes there is outside.
//!
//! A mapping's container ids are those of the files, its host ids those that the files get in the mount, which a user
//! namespace then shows as its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::holder::Holder;
use crate::support::mountinfo::Mountinfo;
use crate::support::{Bundle, differs, requires};

const RUNC: &str = "1.1.5 has no id-mapped mounts";

/// The files' ids from 0 on become those from `host` on.
fn map(host: u32) -> Value {
    json!([{"containerID": 0, "hostID": host, "size": 65536}])
}

/// A directory of the host that the container's root may not reach: below it 0700, and a file of this user.
fn source(bundle: &Bundle, name: &str, owner: u32) -> PathBuf {
    let path = bundle.host_directory(&format!("closed/{name}"));
    fs::set_permissions(bundle.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    chown(path.join("file"), Some(owner), Some(owner + 1)).unwrap();
    path
}

trait Mapped {
    /// A mount with a mapping of its own.
    fn mapped(self, source: impl Into<PathBuf>, destination: &str, options: &[&str], host: u32) -> Bundle;
}

impl Mapped for Bundle {
    fn mapped(self, source: impl Into<PathBuf>, destination: &str, options: &[&str], host: u32) -> Bundle {
        let mut bundle = self.bind(source, destination, options);
        let mount = bundle.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        mount["uidMappings"] = map(host);
        mount["gidMappings"] = map(host);
        bundle
    }
}

#[track_caller]
fn assert_owner(path: impl AsRef<Path>, uid: u32, gid: u32) {
    let stat = fs::metadata(path).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (uid, gid));
}

#[test]
fn without_a_user_namespace() {
    differs!(Runc, RUNC);
    let bundle = Bundle::sh("stat -c %u:%g /m/file; touch /m/made; stat -c %u:%g /m/made");
    let source = source(&bundle, "src", 5);
    let bundle = bundle.set("/process/user", json!({"uid": 1007, "gid": 1008}));
    let container = bundle.mapped(&source, "/m", &["idmap"], 1000).create();
    container.start();
    container.wait();
    container.stderr_is_empty();
    assert_eq!(container.stdout(), "1005:1006\n1007:1008\n");
    assert_owner(source.join("made"), 7, 8);
}

/// Who has no id in the mapping cannot be written down as an owner.
#[test]
fn an_id_outside_of_the_mapping_makes_nothing() {
    differs!(Runc, RUNC);
    let bundle = Bundle::sh("touch /m/made; stat -c %u:%g /m/file");
    let source = source(&bundle, "src", 70_000);
    let container = bundle.mapped(&source, "/m", &["idmap"], 1000).start();
    container.wait();
    assert!(container.stderr().contains("Value too large"), "{}", container.stderr());
    assert_eq!(container.stdout(), "65534:65534\n");
    assert!(!source.join("made").exists());
}

#[test]
fn with_the_mapping_of_a_new_user_namespace() {
    differs!(Runc, RUNC);
    let bundle = Bundle::sh("stat -c %u:%g /m/file; touch /m/made; stat -c %u:%g /m/made").user_namespace(100_000);
    let source = source(&bundle, "src", 5);
    let container = bundle.bind(&source, "/m", &["idmap"]).create();
    container.start();
    container.wait();
    container.stderr_is_empty();
    assert_eq!(container.stdout(), "5:6\n0:0\n");
    assert_owner(source.join("made"), 0, 0);
}

#[test]
fn with_the_mapping_of_a_joined_user_namespace() {
    differs!(Runc, RUNC);
    let holder = Holder::new(&["--user"]);
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{file}", holder.pid()), "0 100000 65536\n").unwrap();
    }
    let bundle = Bundle::sh("stat -c %u:%g /m/file; touch /m/made").user_namespace(100_000);
    let bundle = bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    let source = source(&bundle, "src", 5);
    let bundle = bundle.namespace("user", Some(holder.path("user"))).bind(&source, "/m", &["idmap"]);
    let container = bundle.create();
    container.start();
    container.wait();
    assert_eq!(container.stdout(), "5:6\n", "{}", container.stderr());
    assert_owner(source.join("made"), 0, 0);
}

/// Kubernetes maps volumes so, with the mapping of the pod written at each of them.
#[test]
fn with_a_mapping_of_its_own_in_a_user_namespace() {
    differs!(Runc, RUNC);
    let script = "stat -c %u:%g /same/file /other/file; touch /same/made /other/made 2>/dev/null; ls /same /other";
    let bundle = Bundle::sh(script).user_namespace(100_000);
    let (same, other) = (source(&bundle, "same", 5), source(&bundle, "other", 5));
    let bundle = bundle.mapped(&same, "/same", &["idmap"], 100_000).mapped(&other, "/other", &["idmap"], 100_100);
    assert_eq!(bundle.prints(), "5:6\n105:106\n/other:\nfile\n\n/same:\nfile\nmade\n");
}

#[test]
fn many_mounts_with_equal_and_different_mappings() {
    differs!(Runc, RUNC);
    let mut bundle = Bundle::sh("stat -c %u /m*/file | xargs");
    let mut expected = Vec::new();
    for (index, host) in [1000, 2000, 1000, 0x7000_0000, 2000, 1000].into_iter().enumerate() {
        let source = source(&bundle, &format!("src{index}"), 5);
        bundle = bundle.mapped(source, &format!("/m{index}"), &["idmap"], host);
        expected.push((host + 5).to_string());
    }
    let container = bundle.create();
    let init = container.pid.to_string();
    assert_eq!(container.processes(), [init], "the makers of the mappings are gone");
    assert_eq!(container.finish(), expected.join(" ") + "\n");
}

/// How many processes `run` makes for mounts with these mappings, in a pid namespace that nobody else is in.
fn processes_for(hosts: &[u32]) -> i32 {
    let count = r#"cat /proc/sys/kernel/ns_last_pid; "$@"; cat /proc/sys/kernel/ns_last_pid"#;
    let mut bundle = Bundle::new().through(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-ec", count, "_"]);
    for (index, host) in hosts.iter().enumerate() {
        let source = source(&bundle, &format!("src{index}"), 5);
        bundle = bundle.mapped(source, &format!("/m{index}"), &["idmap"], *host);
    }
    let printed = bundle.prints();
    let (before, after) = printed.trim().split_once('\n').unwrap();
    after.parse::<i32>().unwrap() - before.parse::<i32>().unwrap()
}

#[test]
fn equal_mappings_share_a_user_namespace() {
    differs!(Runc, RUNC);
    differs!(Crun, "makes one for each mount");
    requires!(Path::new("/proc/sys/kernel/ns_last_pid").exists(), "a kernel with CONFIG_CHECKPOINT_RESTORE");
    let (equal, different) = (processes_for(&[1000, 1000, 1000]), processes_for(&[1000, 2000, 3000]));
    assert_eq!(different - equal, 2, "{equal} {different}");
}

/// What the program sees of a directory, and of one that is mounted below it, both of host user 0.
fn owners_above_and_below(options: &[&str], host: u32) -> String {
    let make = "mkdir -p $T/src/sub $T/below; touch $T/src/file $T/below/file; mount --bind $T/below $T/src/sub";
    let bundle = Bundle::sh("stat -c %u:%g /m/file /m/sub/file").after_host_mounts(make);
    let source = bundle.path("src");
    bundle.mapped(source, "/m", options, host).prints()
}

#[test]
pub fn idmap_is_for_the_mount_and_ridmap_for_all_below() {
    differs!(Runc, RUNC);
    differs!(Crun, "does not bind what is mounted below a source that it maps");
    for (options, expected) in [
        (vec!["rbind", "idmap"], "1000:1000\n0:0\n"),
        (vec!["rbind", "ridmap"], "1000:1000\n1000:1000\n"),
        (vec!["rbind"], "1000:1000\n0:0\n"),
        (vec!["rbind", "ridmap", "idmap"], "1000:1000\n0:0\n"),
    ] {
        assert_eq!(owners_above_and_below(&options, 1000), expected, "{options:?}");
    }
}

/// The kernel does not show a user namespace what the host has covered; runc's mount(2) is refused so, too.
#[test]
fn in_a_user_namespace_what_is_mounted_below_comes_along() {
    differs!(Runc, RUNC);
    differs!(Crun, "opens it on the host, without the locks");
    let make = "mkdir -p $T/src/sub $T/below; mount --bind $T/below $T/src/sub";
    let bundle = Bundle::new().user_namespace(100_000).after_host_mounts(make);
    let source = bundle.path("src");
    bundle.mapped(source, "/m", &["idmap"], 100_000).create_fails().names("mounts[6] \"/m\": ").because("rbind");
    let make = "mkdir -p $T/src/sub $T/below; touch $T/below/file; mount --bind $T/below $T/src/sub";
    let bundle = Bundle::sh("stat -c %u /m/sub/file").user_namespace(100_000).after_host_mounts(make);
    let source = bundle.path("src");
    assert_eq!(bundle.mapped(source, "/m", &["rbind", "ridmap"], 100_000).prints(), "0\n");
}

#[test]
fn a_file() {
    differs!(Runc, RUNC);
    let bundle = Bundle::sh("stat -c %u:%g /etc/data; cat /etc/data");
    let source = source(&bundle, "src", 5).join("file");
    assert_eq!(bundle.mapped(source, "/etc/data", &["idmap"], 1000).prints(), "1005:1006\nclosed/src");
}

#[test]
fn attributes_and_order_are_those_of_any_bind_mount() {
    differs!(Runc, RUNC);
    differs!(Crun, "makes mapped mounts before all others");
    for user_namespace in [false, true] {
        let bundle = Bundle::sh("cat /proc/self/mountinfo; touch /m/made 2>&1");
        let bundle = if user_namespace { bundle.user_namespace(100_000) } else { bundle };
        let source = source(&bundle, "src", 5);
        let bundle = bundle.tmpfs("/before", &[]);
        let bundle = bundle.mapped(source, "/m", &["idmap", "ro", "nosuid", "nodev", "noexec"], 100_000);
        let printed = bundle.tmpfs("/after", &[]).run().stdout;
        assert!(printed.ends_with("touch: /m/made: Read-only file system\n"), "{printed}");
        let table = Mountinfo::parse(&printed);
        let line = table.at("/m");
        for option in ["ro", "nosuid", "nodev", "noexec", "idmapped"] {
            assert!(line.is(option), "{option} {line:?}");
        }
        let ours = |target: &&str| ["/before", "/m", "/after"].contains(target);
        let targets: Vec<_> = table.targets().into_iter().filter(ours).collect();
        assert_eq!(targets, ["/before", "/m", "/after"], "{user_namespace}");
    }
}

/// What the host mounted read-only stays so for a root who may do everything in his user namespace.
#[test]
fn what_the_host_made_read_only_stays_so() {
    differs!(Runc, RUNC);
    differs!(Crun, "lets the container's root make it writable");
    let script = "mount -o remount,bind,rw /m || echo refused; touch /m/made || echo not made";
    let make = "mkdir $T/src; mount --bind $T/src $T/src; mount -o remount,bind,ro $T/src";
    let bundle = Bundle::sh(script).user_namespace(100_000).after_host_mounts(make);
    let source = bundle.path("src");
    let capabilities = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    let bundle = bundle.set("/process/capabilities/bounding", capabilities.clone());
    let bundle = bundle.set("/process/capabilities/permitted", capabilities.clone());
    let bundle = bundle.set("/process/capabilities/effective", capabilities);
    let output = bundle.mapped(&source, "/m", &["idmap"], 100_000).run();
    assert_eq!(output.stdout, "refused\nnot made\n", "{}", output.stderr);
    assert!(!source.join("made").exists());
}

#[test]
fn in_a_mount_namespace_that_is_not_new() {
    differs!(Runc, RUNC);
    differs!(Crun, "leaves its mounts behind");
    let script = "stat -c %u:%g /m/file";
    let bundle = Bundle::sh(script).without_namespace("mount").remove("/mounts").set("/mounts", json!([]));
    let inherited = source(&bundle, "src", 5);
    let container = bundle.mapped(inherited, "/m", &["idmap"], 1000).create();
    assert_eq!(container.finish(), "1005:1006\n");
    // Its path means something there only once it is mounted.
    let holder = Holder::mounts("private");
    let bundle = Bundle::sh(script).namespace("mount", Some(holder.path("mnt")));
    let joined = source(&bundle, "src", 5);
    holder.sh(&format!("mount -t tmpfs x {}", bundle.path("closed").display()));
    assert_eq!(bundle.mapped(joined, "/m", &["idmap"], 1000).prints(), "1005:1006\n");
}

/// "Bidirectional" of Kubernetes: what is mounted in the volume appears on the host.
#[test]
fn a_volume_that_stays_shared_with_the_host() {
    differs!(Runc, RUNC);
    let holder = Holder::mounts("shared");
    let capabilities = json!(["CAP_SYS_ADMIN"]);
    let bundle = Bundle::sh("stat -c %u /m/file; mount -t tmpfs inner /m/inner; echo mounted; sleep 600")
        .set("/linux/rootfsPropagation", "shared")
        .set("/process/capabilities/bounding", capabilities.clone())
        .set("/process/capabilities/permitted", capabilities.clone())
        .set("/process/capabilities/effective", capabilities)
        .through(holder.enter());
    let source = source(&bundle, "src", 5);
    fs::create_dir(source.join("inner")).unwrap();
    let container = bundle.mapped(&source, "/m", &["idmap", "rshared"], 1000).start();
    container.says("mounted");
    assert!(container.stdout().starts_with("1005\n"), "{}", container.stdout());
    holder.has_inner_mount(&source);
    container.kill("KILL");
    container.wait();
    holder.sh(&format!("umount {}/inner", source.display()));
}

/// On v1 word of the cgroup is on its way to the process while it asks for the mount.
#[test]
fn before_and_behind_a_mount_of_cgroups() {
    differs!(Runc, RUNC);
    for own in [false, true] {
        let bundle = Bundle::sh("stat -c %u /a/file /b/file");
        let bundle = if own { bundle.namespace("cgroup", None) } else { bundle };
        let (before, behind) = (source(&bundle, "a", 5), source(&bundle, "b", 6));
        let bundle = bundle.mapped(before, "/a", &["idmap"], 1000).mount("/cgroup", "cgroup", "cgroup", &["ro"]);
        assert_eq!(bundle.mapped(behind, "/b", &["idmap"], 1000).prints(), "1005\n1006\n");
    }
}

#[test]
fn half_a_mapping_is_refused() {
    differs!(Runc, RUNC);
    for (half, missing) in [("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")] {
        for options in [&["idmap"][..], &[]] {
            let bundle = Bundle::new();
            let source = source(&bundle, "src", 0);
            let bundle = bundle.bind(source, "/m", options).set(&format!("/mounts/6/{half}"), map(1000));
            bundle.create_fails().names(&format!("mounts[6].{missing}: ")).because("each needs the other");
        }
    }
}

#[test]
fn an_option_without_any_mapping_is_refused() {
    differs!(Crun, "maps with nothing");
    differs!(Runc, "passes it to the kernel, which refuses it for other reasons");
    for option in ["idmap", "ridmap"] {
        let bundle = Bundle::new();
        let source = source(&bundle, "src", 0);
        bundle.bind(source, "/m", &[option]).create_fails().names("mounts[6]: ").because("neither the mount nor");
    }
}

#[test]
fn what_is_no_new_bind_mount_is_refused() {
    differs!(Runc, RUNC);
    differs!(Crun, "ignores it");
    let only_bind = "only bind mounts can be id-mapped";
    let tmpfs = |options: &[&str]| {
        let bundle = Bundle::new().tmpfs("/m", options);
        bundle.set("/mounts/6/uidMappings", map(1000)).set("/mounts/6/gidMappings", map(1000))
    };
    tmpfs(&["idmap"]).create_fails().names("mounts[6].options: ").because(only_bind);
    tmpfs(&[]).create_fails().names("mounts[6].uidMappings: ").because(only_bind);
    let bundle = Bundle::new().mapped("/", "/tmp", &["remount", "idmap"], 1000);
    bundle.create_fails().names("mounts[6].options: ").because("that is there already");
}

/// A bind mount ignores options that it does not know, but this one would be missed.
#[test]
fn a_mapping_in_the_option_is_refused() {
    differs!(Runc, "1.1.5 ignores it");
    differs!(Crun, "knows it");
    let bundle = Bundle::new();
    let source = source(&bundle, "src", 0);
    let bundle = bundle.bind(source, "/m", &["idmap=uids=0-1000-10;gids=0-1000-10"]);
    bundle.create_fails().names("mounts[6].options: ").because("write uidMappings");
}

#[test]
fn a_mapping_that_the_kernel_refuses_is_named() {
    differs!(Runc, RUNC);
    for half in ["uidMappings", "gidMappings"] {
        let bundle = Bundle::new();
        let source = source(&bundle, "src", 0);
        let twice = json!([{"containerID": 0, "hostID": 1, "size": 9}, {"containerID": 5, "hostID": 100, "size": 9}]);
        let bundle = bundle.mapped(source, "/m", &["idmap"], 1000).set(&format!("/mounts/6/{half}"), twice);
        bundle.create_fails().names(&format!("mounts[6].{half}: ")).ends("invalid argument");
    }
}

#[test]
fn a_filesystem_that_cannot_be_mapped_is_named() {
    differs!(Runc, RUNC);
    differs!(Crun, "does not bind what is mounted below a source that it maps");
    let refusal = Bundle::new().mapped("/sys", "/m", &["idmap"], 1000).create_fails();
    refusal.names("mounts[6] \"/m\": ").because("mount_setattr(\"/sys\", IDMAP)").because("does not support id-mapped");
    let make = "mkdir -p $T/src/sub; mount --bind /sys $T/src/sub";
    let bundle = Bundle::new().after_host_mounts(make);
    let source = bundle.path("src");
    let refusal = bundle.mapped(source, "/m", &["rbind", "ridmap"], 1000).create_fails();
    refusal.names("mounts[6] \"/m\": ").because("or that of a mount below it");
}

/// The path leads to what an earlier mount of the same container put there.
#[test]
fn what_is_mapped_already_is_not_mapped_again() {
    differs!(Runc, RUNC);
    let bundle = Bundle::new();
    let (source, again) = (source(&bundle, "src", 0), bundle.rootfs().join("m"));
    let bundle = bundle.mapped(source, "/m", &["idmap"], 1000).mapped(again, "/n", &["idmap"], 2000);
    bundle.create_fails().names("mounts[7] \"/n\": ").because("it is id-mapped already");
}

/// The initial user namespace, or whichever the runtime is in, makes no other ids of them.
#[test]
fn the_user_namespace_of_the_runtime_maps_nothing() {
    differs!(Runc, RUNC);
    let bundle = Bundle::new().namespace("user", Some("/proc/self/ns/user".into()));
    let source = source(&bundle, "src", 0);
    let refusal = bundle.bind(source, "/m", &["idmap"]).create_fails();
    refusal.names("mounts[6] \"/m\": ").because("the user namespace maps nothing");
}

#[test]
fn a_source_that_is_missing_is_named() {
    differs!(Runc, RUNC);
    differs!(Crun, "leaves its cgroup and a process for a moment");
    for user_namespace in [false, true] {
        let bundle = Bundle::new();
        let bundle = if user_namespace { bundle.user_namespace(100_000) } else { bundle };
        let refusal = bundle.mapped("/no/such/source", "/m", &["idmap"], 1000).create_fails();
        refusal.names("mounts[6] \"/m\": open source: ").ends("no such file or directory");
    }
}

/// Mapping takes rights over the filesystem that a user has not got.
#[test]
fn a_user_without_privileges_is_refused() {
    differs!(Runc | Crun, "has words of its own");
    let bundle = Bundle::new().without_privileges();
    let path = bundle.path("src");
    fs::create_dir(&path).unwrap();
    bundle.bind(path, "/m", &["idmap"]).create_fails().names("mounts[6] \"/m\": ").because("takes CAP_SYS_ADMIN");
}
