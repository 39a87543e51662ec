//! What the runtime itself writes to procfs: sysctls and labels.

use std::fs;

use serde_json::json;

use super::host::{Host, SECRET};
use crate::support::run::Run;
use crate::support::{Bundle, Container, rootfs};

/// Its value is the UTS namespace's, but its file is the same for all.
const KEY: &str = "kernel.domainname";
const FILE: &str = "proc/sys/kernel/domainname";

fn with_sysctl(bundle: Bundle) -> Bundle {
    bundle.set("/linux/sysctl", json!({ KEY: "container.example" }))
}

/// What the kernel says about the container.
fn value(container: &Container) -> String {
    let enter = ["--uts", "--target", &container.pid.to_string(), "cat", "/proc/sys/kernel/domainname"];
    Run::new("nsenter").args(enter).output().ok().stdout
}

/// runc before 1.2.8: with racing mounts, what it wrote to procfs could be led to other files, a sysctl to `core_pattern`, a
/// label to `sysrq-trigger`. Here the image has its own `proc`, with nothing mounted there.
#[test]
fn cve_2025_52881_the_images_proc_gets_the_sysctl() {
    let mut bundle = with_sysctl(Bundle::idle()).file(FILE, SECRET);
    bundle.config["mounts"].as_array_mut().unwrap().remove(0);
    let decoy = bundle.rootfs().join(FILE);
    let container = bundle.create();
    assert_eq!(fs::read_to_string(decoy).unwrap(), SECRET);
    assert_eq!(value(&container), "container.example\n");
}

/// And here somebody has mounted a file over the one that is meant.
#[test]
fn cve_2025_52881_what_is_mounted_over_it_gets_the_sysctl() {
    let bundle = with_sysctl(Bundle::idle());
    let host = Host::beside(&bundle);
    let container = bundle.after_host_mounts(&format!("mount --bind $T/host/secret /{FILE}")).create();
    host.is_as_it_was();
    assert_eq!(value(&container), "container.example\n");
}

/// Calls `run` where `/proc` is not a procfs: its `thread-self` leads to a directory in which the AppArmor profile is to be
/// written to `target`. AppArmor seems to be there. What the host name is afterwards comes last: it is not the machine's.
fn with_decoy(target: &str) -> (Bundle, Host, String) {
    let bundle = Bundle::sh("echo ran unconfined").set("/process/apparmorProfile", "attacked");
    let bundle = bundle.without_namespace("uts").remove("/hostname");
    let host = Host::beside(&bundle);
    rootfs::directory(&bundle.path("proc"));
    rootfs::directory(&bundle.path("real"));
    let script = "
        echo untouched > /proc/sys/kernel/hostname
        mount -t tmpfs tmpfs /sys/kernel/security && mkdir /sys/kernel/security/apparmor
        mount --rbind /proc $T/real
        for it in /proc/*; do [ -e $T/proc/${it##*/} ] || ln -s $T/real/${it##*/} $T/proc/${it##*/}; done
        rm $T/proc/thread-self && mkdir -p $T/proc/decoy/attr/apparmor && ln -s decoy $T/proc/thread-self
        touch $T/proc/decoy/attr/apparmor/exec && mount --bind $TARGET $T/proc/decoy/attr/apparmor/exec
        mount --rbind $T/proc /proc
        \"$@\" || true
        cat $T/real/sys/kernel/hostname";
    let wrapper = format!("T={}; TARGET={target}; {script}", bundle.path("").display());
    let unshare = ["unshare", "--mount", "--uts", "--propagation", "private", "--", "sh", "-ec", &wrapper, "_"];
    let bundle = bundle.through(unshare);
    bundle.write();
    let printed = bundle.command("run").output().ok().stdout;
    (bundle, host, printed)
}

/// runc before 1.0.0-rc9: a volume at `/proc` took the label that the container was to have, and the container had none.
/// ([`super::kernel_filesystems`] has the volumes.)
#[test]
fn cve_2019_16884_the_label_is_written_to_a_file() {
    let (bundle, host, printed) = with_decoy("$T/host/secret");
    host.is_as_it_was();
    assert_eq!(printed, "untouched\n");
    drop(bundle);
}

/// youki before 0.5.7: that the file was on *some* procfs was all that was checked, and so a label could be written to
/// another one of its files.
#[test]
fn cve_2025_62596_the_label_is_written_to_another_file_of_procfs() {
    let (bundle, host, printed) = with_decoy("/proc/sys/kernel/hostname");
    host.is_as_it_was();
    assert_eq!(printed, "untouched\n");
    drop(bundle);
}
