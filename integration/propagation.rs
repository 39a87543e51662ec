//! How mount events travel between host and container: `linux.rootfsPropagation`, and options of single mounts, in a mount
//! namespace that is all shared, as systemd makes it.

use std::path::PathBuf;

use crate::support::holder::Holder;
use crate::support::mountinfo::{Line, Mountinfo};
use crate::support::{Bundle, Container, differs};

/// A running container whose host is `holder`.
fn start(bundle: Bundle, holder: &Holder) -> Container {
    bundle.through(holder.enter()).start()
}

fn root_of(propagation: Option<&str>, holder: &Holder) -> Line {
    let bundle = Bundle::new().args(&["cat", "/proc/self/mountinfo"]).through(holder.enter());
    let bundle = match propagation {
        Some(propagation) => bundle.set("/linux/rootfsPropagation", propagation),
        None => bundle,
    };
    Mountinfo::parse(&bundle.prints()).at("/").clone()
}

#[test]
fn of_the_root() {
    let holder = Holder::mounts("shared");
    let seen = |line: &Line| [line.propagates("shared:"), line.propagates("master:"), line.propagates("unbindable")];
    assert_eq!(seen(&root_of(Some("private"), &holder)), [false, false, false]);
    differs!(Runc | Crun, "leaves the root private whatever is asked for");
    assert!(seen(&root_of(Some("shared"), &holder))[0]);
    assert_eq!(seen(&root_of(Some("slave"), &holder)), [false, true, false]);
    assert_eq!(seen(&root_of(Some("unbindable"), &holder)), [false, false, true]);
}

#[test]
fn of_the_root_with_r() {
    differs!(Runc, "leaves the root private whatever is asked for");
    let holder = Holder::mounts("shared");
    for (word, shared) in [("rshared", true), ("rslave", false), ("rprivate", false)] {
        assert_eq!(root_of(Some(word), &holder).propagates("shared:"), shared, "{word}");
    }
}

#[test]
fn of_the_root_unset_is_slave() {
    let line = root_of(None, &Holder::mounts("shared"));
    assert!(!line.propagates("shared:"), "{line:?}");
}

#[test]
fn an_unknown_word_is_refused() {
    differs!(Crun, "takes it for private");
    for word in ["bogus", "Shared"] {
        let refusal = Bundle::new().set("/linux/rootfsPropagation", word).create_fails();
        refusal.names("linux.rootfsPropagation");
    }
}

#[test]
fn mounts_of_the_container_do_not_reach_the_host() {
    let holder = Holder::mounts("shared");
    for propagation in ["shared", "slave", "private"] {
        let before = holder.sh("cat /proc/self/mountinfo").stdout;
        let bundle = Bundle::idle().set("/linux/rootfsPropagation", propagation).tmpfs("/m", &[]);
        let source = bundle.host_directory("src");
        let container = start(bundle.bind(source, "/bound", &["rshared"]), &holder);
        assert_eq!(holder.sh("cat /proc/self/mountinfo").stdout, before, "{propagation}, while it runs");
        container.kill("KILL");
        container.wait();
        container.delete();
        assert_eq!(holder.sh("cat /proc/self/mountinfo").stdout, before, "{propagation}, afterwards");
    }
}

/// A directory that is a mount of the host, as volumes are, with a directory `inner` to mount on.
fn volume(bundle: &Bundle, holder: &Holder) -> PathBuf {
    let source = bundle.host_directory("src");
    holder.sh(&format!("mount -t tmpfs volume {0}; mkdir {0}/inner", source.display()));
    source
}

/// Mounts something on the host below a bound directory and says whether the container sees it.
fn arrives(options: &[&str]) -> bool {
    let holder = Holder::mounts("shared");
    let bundle = Bundle::idle();
    let source = volume(&bundle, &holder);
    let container = start(bundle.bind(&source, "/m", options), &holder);
    holder.sh(&format!("mount -t tmpfs late {}/inner", source.display()));
    let arrived = Mountinfo::parse(&container.proc("mountinfo")).has("/m/inner");
    holder.sh(&format!("umount {}/inner", source.display()));
    arrived
}

#[test]
fn a_slave_mount_receives() {
    differs!(Crun, "is private by then");
    assert!(arrives(&["rslave"]));
    assert!(arrives(&["slave"]));
}

#[test]
fn a_private_mount_does_not_receive() {
    assert!(!arrives(&["rprivate"]));
    assert!(!arrives(&["private"]));
}

#[test]
fn a_mount_without_propagation_follows_the_root() {
    differs!(Crun, "is private");
    assert!(arrives(&[]), "rootfsPropagation is slave when unset");
}

#[test]
fn a_shared_mount_sends_to_the_host_when_the_root_is_shared() {
    let holder = Holder::mounts("shared");
    let capabilities = serde_json::json!(["CAP_SYS_ADMIN"]);
    let bundle = Bundle::sh("mount -t tmpfs inner /m/inner; echo mounted; sleep 600")
        .set("/linux/rootfsPropagation", "shared")
        .set("/process/capabilities/bounding", capabilities.clone())
        .set("/process/capabilities/permitted", capabilities.clone())
        .set("/process/capabilities/effective", capabilities);
    let source = volume(&bundle, &holder);
    let container = start(bundle.bind(&source, "/m", &["rshared"]), &holder);
    container.says("mounted");
    holder.has_inner_mount(&source);
    container.kill("KILL");
    container.wait();
    holder.sh(&format!("umount {}/inner", source.display()));
}

#[test]
fn unbindable_cannot_be_bound() {
    differs!(Runc, "makes it private instead, or fails");
    let capabilities = serde_json::json!(["CAP_SYS_ADMIN"]);
    let bundle = Bundle::sh("mount -o bind / /tmp 2>&1 || echo refused")
        .set("/linux/rootfsPropagation", "unbindable")
        .set("/process/capabilities/bounding", capabilities.clone())
        .set("/process/capabilities/permitted", capabilities.clone())
        .set("/process/capabilities/effective", capabilities);
    assert!(bundle.prints().ends_with("refused\n"));
}
