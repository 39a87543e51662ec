//! `/dev` of the image, when nothing is mounted there.

use std::os::unix::fs::symlink;

use super::host::Host;
use super::race::{Exchange, until_one_is_made};
use super::without_mounts_at_dev;
use crate::support::{Bundle, differs, rootfs};

/// Runs a container whose `/dev` is a symlink to the host, and one whose `/dev` is so now and then.
fn attack(devices: &[&str]) {
    for race in [false, true] {
        let bundle = without_mounts_at_dev(Bundle::sh("echo ran"));
        let host = Host::beside(&bundle);
        for name in host.names() {
            let (dev, other) = (bundle.rootfs().join("dev"), bundle.rootfs().join("other"));
            let _ = std::fs::remove_dir_all(&dev).or_else(|_| std::fs::remove_file(&dev));
            symlink(&name, &dev).unwrap();
            let mut config = bundle.config.clone();
            config["linux"]["devices"] = devices.iter().map(|path| device(path)).collect();
            std::fs::write(bundle.bundle().join("config.json"), config.to_string()).unwrap();
            if race {
                let _ = std::fs::remove_dir_all(&other).or_else(|_| std::fs::remove_file(&other));
                rootfs::directory(&other);
                let exchange = Exchange::of(&dev, &other);
                until_one_is_made(|| bundle.command("run").output().stdout.contains("ran"));
                drop(exchange);
            } else {
                bundle.command("run").output();
            }
            host.is_as_it_was();
        }
    }
}

fn device(path: &str) -> serde_json::Value {
    serde_json::json!({"path": path, "type": "c", "major": 1, "minor": 3, "uid": 7, "gid": 7})
}

/// runc before 1.3.6: `ptmx` was removed, and the links of `/dev` were made, by paths that an image's `/dev` led to the host
/// before the root was changed.
#[test]
fn cve_2026_41579_links_are_made_on_the_host() {
    differs!(Runc | Crun, "has it in this version");
    attack(&[]);
}

/// crun before 1.28: so were the device nodes.
#[test]
fn cve_2026_47766_device_nodes_are_made_on_the_host() {
    differs!(Runc | Crun, "has it in this version");
    attack(&["/dev/secret", "/dev/node", "/dev/below/node"]);
}
