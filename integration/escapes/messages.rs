//! The configuration on its way to the container's process.

use serde_json::{Value, json};

use super::host::Host;
use crate::support::Bundle;

/// runc before 1.0.3: the length of an attribute on its way to the container's process had 16 bits. A longer one wrapped, and
/// its end was read as further attributes: namespaces that were not to be joined, for one. Values of more than 64 KiB arrive
/// whole, or not at all.
#[test]
fn cve_2021_43784_long_values_wrap() {
    // One string is at most 128 KiB for the kernel; all of them are 300 KiB.
    let lengths = [70_000, 65_536, 65_535, 100_000];
    let mut bundle =
        Bundle::sh("echo ${#A0} ${#A1} ${#A2} ${#A3}; readlink /proc/self/ns/net; readlink /proc/self/ns/pid");
    for (number, length) in lengths.iter().enumerate() {
        bundle = bundle.push("/process/env", format!("A{number}={}", "x".repeat(*length)));
    }
    // And many small ones, with which the plan is long in another place.
    for number in 0..300 {
        bundle = bundle.push("/linux/maskedPaths", format!("/missing/{}/{number}", "y".repeat(230)));
    }
    let printed = bundle.prints();
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], "70000 65536 65535 100000");
    let of_host = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    assert_ne!(lines[1], of_host("net").to_str().unwrap());
    assert_ne!(lines[2], of_host("pid").to_str().unwrap());
}

/// The advisory's own example: more id mappings than fit into 64 KiB. The kernel takes 340.
#[test]
fn cve_2021_43784_more_mappings_than_fit() {
    let mappings: Vec<Value> =
        (0..6000).map(|it| json!({"containerID": it, "hostID": 100_000 + 2 * it, "size": 1})).collect();
    let bundle = Bundle::new().user_namespace(100_000);
    let bundle = bundle.set("/linux/uidMappings", mappings.clone()).set("/linux/gidMappings", mappings);
    bundle.create_fails().names("linux.uidMappings");
}

/// The same bug had a second side: what comes behind a NUL byte was lost on the way to the kernel, so that the path that was
/// used is not the one that was looked at.
#[test]
fn cve_2021_43784_nul_bytes_cut_paths() {
    let outside = Bundle::new();
    let host = Host::beside(&outside);
    let source = host.path("directory");
    let source = source.to_str().unwrap();
    for (pointer, value) in [
        (
            "/mounts/6",
            json!({"destination": "/m", "type": "none", "source": format!("{source}\0/x"), "options": ["bind"]}),
        ),
        ("/mounts/6", json!({"destination": "/m\0/x", "type": "tmpfs", "source": "tmpfs"})),
        ("/mounts/6", json!({"destination": "/m", "type": "tmpfs\0x", "source": "tmpfs"})),
        ("/mounts/6", json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755\0x"]})),
        ("/linux/maskedPaths", json!(["/proc/version\0/x"])),
        ("/linux/readonlyPaths", json!(["/proc/sys\0/x"])),
        ("/process/args", json!(["true", "a\0b"])),
        ("/process/args", json!(["true\0x"])),
        ("/process/env", json!(["A=b\0c"])),
        ("/process/cwd", json!("/\0x")),
        ("/hostname", json!("a\0b")),
        ("/root/path", json!("rootfs\0x")),
    ] {
        let bundle = match pointer {
            "/mounts/6" => Bundle::sh("ls /m").push("/mounts", value.clone()),
            _ => Bundle::sh("true").set(pointer, value.clone()),
        };
        let output = bundle.run();
        assert!(!output.status.success(), "{pointer} {value}: {output:#?}");
    }
}
