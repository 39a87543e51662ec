//! `linux.sysctl`: in the container's namespaces, and nowhere else.

use std::fs;

use crate::support::{Bundle, differs};

fn with(key: &str, value: &str) -> Bundle {
    let mut bundle = Bundle::new();
    bundle.config["linux"]["sysctl"] = serde_json::json!({ key: value });
    bundle
}

#[test]
fn is_set_inside_and_not_outside() {
    for (key, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.core.somaxconn", "77"),
        ("kernel.msgmax", "4321"),
        ("kernel.shm_rmid_forced", "1"),
        ("kernel.sem", "251\t32001\t33\t129"),
        ("fs.mqueue.msg_max", "11"),
        ("kernel.domainname", "inside.example"),
    ] {
        let file = format!("/proc/sys/{}", key.replace('.', "/"));
        let before = fs::read_to_string(&file).unwrap();
        assert_eq!(with(key, value).args(&["cat", &file]).prints().trim(), value, "{key}");
        assert_eq!(fs::read_to_string(&file).unwrap(), before, "{key}");
    }
}

#[test]
fn is_set_though_proc_sys_is_read_only() {
    let bundle = with("net.ipv4.ip_forward", "1").args(&["cat", "/proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(bundle.push("/linux/readonlyPaths", "/proc/sys").prints(), "1\n");
}

#[test]
fn keys_may_have_slashes() {
    let bundle = with("net/ipv4/conf/lo/forwarding", "1").args(&["cat", "/proc/sys/net/ipv4/conf/lo/forwarding"]);
    assert_eq!(bundle.prints(), "1\n");
}

#[test]
fn the_hosts_own_keys_are_refused() {
    for key in ["kernel.panic", "vm.swappiness", "fs.file-max", "kernel.core_pattern"] {
        let refusal = with(key, "1").create_fails();
        refusal.names("linux.sysctl").because(key);
    }
}

#[test]
fn keys_of_namespaces_that_are_the_hosts_are_refused() {
    for (key, kind) in [
        ("net.ipv4.ip_forward", "network"),
        ("kernel.msgmax", "ipc"),
        ("kernel.msgmnb", "ipc"),
        ("kernel.msgmni", "ipc"),
        ("kernel.sem", "ipc"),
        ("kernel.shmall", "ipc"),
        ("kernel.shmmax", "ipc"),
        ("kernel.shmmni", "ipc"),
        ("kernel.shm_rmid_forced", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
    ] {
        let bundle = with(key, "0").without_namespace(kind);
        let bundle = if kind == "uts" { bundle.remove("/hostname") } else { bundle };
        bundle.create_fails().names("linux.sysctl").because(key);
    }
}

/// Its limits are those of who is in it; nobody may have more than the namespace above gives.
#[test]
fn those_of_a_user_namespace() {
    differs!(Runc | Crun, "Debian's know none of them, or set them too early");
    let key = "user.max_uts_namespaces";
    with(key, "7").create_fails().names("linux.sysctl").because(key);
    let file = "/proc/sys/user/max_uts_namespaces";
    let before = fs::read_to_string(file).unwrap();
    let bundle = with(key, "7").user_namespace(100_000).args(&["cat", file]);
    assert_eq!(bundle.prints(), "7\n");
    assert_eq!(fs::read_to_string(file).unwrap(), before);
}

#[test]
fn hostname_has_a_property_of_its_own() {
    with("kernel.hostname", "other").create_fails().names("linux.sysctl");
}

#[test]
fn unknown_keys_and_values_are_refused() {
    with("net.ipv4.no_such_key", "1").create_fails().names("linux.sysctl").says("no such file or directory");
    with("net.ipv4.ip_forward", "not a number").create_fails().names("linux.sysctl").says("invalid argument");
    with("net.../../kernel.panic", "1").create_fails().names("linux.sysctl");
}
