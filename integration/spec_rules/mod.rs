//! The rules of the specification: `rules/` names, for each, the tests that check it (`integration/conformance` reads it). Here
//! are the checks of those that no subsystem's file has a test for.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use serde_json::json;

use crate::support::cgroup::{self, View};
use crate::support::refusal::Refusal;
use crate::support::run::Run;
use crate::support::{Bundle, differs, requires};

mod schemas;

/// G5, A3: the prefix is reserved for the specification, so that a runtime may meet keys that are newer than itself.
#[test]
fn unknown_annotations_are_no_matter() {
    let annotations = json!({
        "org.opencontainers.no-such-key": "x",
        "org.opencontainers.image.os": "linux",
        "org.opencontainers.image.stopSignal": "SIGUSR1",
        "com.example.unknown": "",
        "no domain at all": "x",
    });
    let container = Bundle::sh("echo ok").set("/annotations", annotations.clone()).create();
    assert_eq!(container.state()["annotations"], annotations);
    assert_eq!(container.finish(), "ok\n");
}

/// S5.
#[test]
fn the_state_has_the_absolute_path_of_a_relative_bundle() {
    let bundle = Bundle::new();
    bundle.write();
    let create = bundle.runtime("create").args(["--bundle", "bundle", &bundle.id]).dir(&bundle.path(""));
    let null = || fs::File::options().write(true).open("/dev/null").unwrap();
    create.stdout_to(null()).stderr_to(null()).output().ok();
    let state: serde_json::Value = serde_json::from_str(&bundle.call("state").ok().stdout).unwrap();
    assert_eq!(state["bundle"], bundle.bundle().to_str().unwrap());
}

/// O2.
#[test]
fn a_current_directory_that_is_no_bundle_is_refused() {
    let bundle = Bundle::new();
    let output = bundle.runtime("create").arg(&bundle.id).dir(&bundle.path("")).output();
    Refusal::from_output("create", output).because("config.json").because("no such file or directory");
    bundle.assert_nothing_left();
}

/// HT5: before execve the process runs the runtime's own binary.
#[test]
fn poststart_hooks_find_the_program_executed() {
    differs!(Runc | Crun, "runs poststart hooks in create, or before the program is executed");
    let bundle = Bundle::new().args(&["sleep", "600"]);
    let seen = bundle.path("seen");
    let script = format!(
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | tr -d '\\n'); tr '\\0' ' ' < /proc/$pid/cmdline > {}",
        seen.display()
    );
    let container = bundle.hook("poststart", json!({"path": "/bin/sh", "args": ["sh", "-c", script]})).start();
    assert_eq!(fs::read_to_string(seen).unwrap(), "sleep 600 ");
    container.kill("KILL");
    container.wait();
}

/// N10: the mapping is the engine's business, and what is on the disk may be another container's too.
#[test]
fn files_keep_their_owners_in_a_user_namespace() {
    let bundle = Bundle::sh("stat -c %u:%g /etc/theirs /m/theirs").file("etc/theirs", "").user_namespace(100_000);
    let volume = bundle.host_directory("volume");
    let files = [bundle.rootfs().join("etc/theirs"), volume.join("theirs")];
    fs::write(&files[1], "").unwrap();
    for file in &files {
        chown(file, Some(100_007), Some(8)).unwrap();
    }
    let owners = || files.each_ref().map(|file| fs::metadata(file).map(|it| (it.uid(), it.gid())).unwrap());
    let container = bundle.bind(&volume, "/m", &[]).start();
    assert_eq!(container.wait(), 0, "{}", container.stderr());
    assert_eq!(container.stdout(), "7:65534\n7:65534\n");
    assert_eq!(owners(), [(100_007, 8); 2]);
}

/// C1.
#[test]
fn the_same_cgroups_path_leads_to_the_same_place() {
    let bundle = Bundle::new();
    let (absolute, relative) = (format!("{}-again", bundle.cgroup), format!("{}-relative", bundle.id));
    for path in [absolute, relative] {
        let places = || {
            let bundle = Bundle::new().args(&["cat", "/proc/self/cgroup"]).set("/linux/cgroupsPath", &*path);
            cgroup::parse(&bundle.prints())
        };
        let first = places();
        for key in cgroup::mounted_keys() {
            assert!(first[&key].ends_with(&path), "{key:?} {first:?}");
        }
        assert_eq!(places(), first, "{path}");
    }
}

/// The files of its cgroup that the container's user owns, when create runs after this.
fn files_given_away(script: &str) -> Vec<String> {
    const USER: u32 = 1234;
    let bundle = Bundle::idle().set("/process/user/uid", USER).namespace("cgroup", None).after_host_mounts(script);
    let container = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw"]).create();
    let group = cgroup::directories(&container.cgroup).remove(0);
    assert_eq!(fs::metadata(&group).unwrap().uid(), USER);
    let entries = fs::read_dir(&group).unwrap().map(Result::unwrap);
    let owned = entries.filter(|entry| entry.metadata().unwrap().uid() == USER);
    let mut names: Vec<_> = owned.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// C4.5.
#[test]
fn listed_files_that_are_not_there_are_passed_over() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    differs!(Runc | Crun, "with the systemd driver only");
    let list =
        "mount -t tmpfs none /sys/kernel/cgroup; printf 'no.such.file\\ncgroup.procs\\n' > /sys/kernel/cgroup/delegate";
    assert_eq!(files_given_away(list), ["cgroup.procs"]);
}

/// C4.6: the list is newer (Linux 4.15) than the files.
#[test]
fn without_the_kernels_list_three_files_are_given_away() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    differs!(Runc | Crun, "with the systemd driver only");
    let expected = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
    assert_eq!(files_given_away("mount -t tmpfs none /sys/kernel/cgroup"), expected);
}

/// C5: who may open a device that does not exist is told so; who may not is told that.
#[test]
fn device_rules_are_applied_in_order() {
    differs!(Crun, "needs CAP_SYS_RESOURCE");
    let device =
        |allow: bool, minor: i64| json!({"allow": allow, "type": "c", "major": 4000, "minor": minor, "access": "rwm"});
    let all = |allow: bool| json!({"allow": allow, "access": "rwm"});
    let (may, may_not) = ("No such device or address", "Operation not permitted");
    for (rules, first, second) in [
        (vec![all(true)], may, may),
        (vec![all(false)], may_not, may_not),
        (vec![all(false), device(true, 1)], may, may_not),
        (vec![device(true, 1), all(false)], may_not, may_not),
        (vec![all(false), device(true, 1), device(true, 2), device(false, 1)], may_not, may),
        (vec![all(true), device(false, 1)], may_not, may),
    ] {
        let bundle = Bundle::sh("cat /first; cat /second").set("/linux/resources/devices", rules.clone());
        for minor in [1, 2] {
            let node = bundle.rootfs().join(["first", "second"][minor - 1]);
            Run::new("mknod").arg(node).args(["c", "4000", &minor.to_string()]).output().ok();
        }
        let output = bundle.run();
        let expected = format!("cat: can't open '/first': {first}\ncat: can't open '/second': {second}\n");
        assert_eq!(output.stderr, expected, "{rules:?}");
    }
}

/// C15.2: whatever there is in the cgroup's directory.
#[test]
fn any_unified_file_is_written() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    let files = json!({"cgroup.max.depth": "7", "cgroup.max.descendants": "9"});
    let container = Bundle::idle().set("/linux/resources/unified", files.clone()).create();
    for (name, content) in files.as_object().unwrap() {
        let file = cgroup::directories(&container.cgroup)[0].join(name);
        assert_eq!(fs::read_to_string(Path::new(&file)).unwrap().trim(), content.as_str().unwrap(), "{name}");
    }
}
