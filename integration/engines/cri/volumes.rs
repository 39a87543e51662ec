//! Volumes and devices of the host.

use std::fs;
use std::path::Path;

use k8s_cri::v1::*;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};

use super::{Cri, SERVICE, security};
use crate::containerd::Containerd;
use crate::support::case::{Case, cases};
use crate::support::machine::has_apparmor;
use crate::support::requires;
use crate::support::rootfs;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![volumes, devices]
}

fn volumes(containerd: &Containerd) {
    requires!(!has_apparmor(), "no AppArmor, whose profile denies mounts");
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let directory = containerd.path(&containerd.name());
    let below = directory.join("below");
    rootfs::directory(&below);
    fs::write(directory.join("file"), "hello\n").unwrap();
    let _shared = Shared::new(&directory);

    let run = |readonly, propagation: MountPropagation| {
        pod.run(SERVICE, |config| {
            config.mounts.push(Mount {
                container_path: "/volume".to_owned(),
                host_path: directory.to_str().unwrap().to_owned(),
                readonly,
                propagation: propagation.into(),
                ..Default::default()
            });
            let add_capabilities = vec!["SYS_ADMIN".to_owned()];
            security(config).capabilities = Some(Capability { add_capabilities, ..Default::default() });
        })
    };
    let private = run(false, MountPropagation::PropagationPrivate);
    let slave = run(true, MountPropagation::PropagationHostToContainer);
    let shared = run(false, MountPropagation::PropagationBidirectional);
    assert_eq!(private.exec("cat /volume/file; echo written >/volume/file"), "hello\n");
    assert_eq!(slave.exec("cat /volume/file; touch /volume/file || echo read-only"), "written\nread-only\n");

    let seen = || [&private, &slave, &shared].map(|it| it.exec("grep -c /volume/below /proc/self/mountinfo || true"));
    mount("host", &below, "tmpfs", MountFlags::empty(), None).unwrap();
    assert_eq!(seen(), ["0\n", "1\n", "1\n"]);
    unmount(&below, UnmountFlags::empty()).unwrap();
    assert_eq!(seen(), ["0\n", "0\n", "0\n"]);
    shared.exec("mount -t tmpfs none /volume/below; touch /volume/below/new");
    assert_eq!(seen(), ["0\n", "1\n", "1\n"]);
    assert!(below.join("new").exists());
    unmount(&below, UnmountFlags::empty()).unwrap();
}

/// A directory whose mounts others see, and that sees theirs.
struct Shared<'a>(&'a Path);

impl<'a> Shared<'a> {
    fn new(directory: &'a Path) -> Self {
        mount_bind(directory, directory).unwrap();
        mount_change(directory, MountPropagationFlags::SHARED).unwrap();
        Self(directory)
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        // With what a case that failed has left below it, and in a pod that is still there.
        unmount(self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn devices(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let seen = |permissions: &str| {
        let script =
            "stat -c %t:%T /dev/given; for it in '<' '>'; do eval \"true $it/dev/given\" && echo $it; done; true";
        pod.sh(script, |config| {
            config.devices.push(Device {
                container_path: "/dev/given".to_owned(),
                host_path: "/dev/fuse".to_owned(),
                permissions: permissions.to_owned(),
            });
        })
    };
    assert_eq!(seen("rw"), "a:e5\n<\n>\n");
    assert_eq!(seen("r"), "a:e5\n<\n");
}
