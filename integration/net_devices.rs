//! `linux.netDevices`: devices that move into the container. The runtime is in a network namespace that the test makes, so
//! that the machine's own devices stay what they are.

use serde_json::{Value, json};

use crate::support::run::{Output, Run};
use crate::support::{Bundle, differs, requires};

/// A pair of devices: `lan0`, which is to move, with everything that has to survive, and its peer `other0`.
const DEVICES: &str = "
    ip link set lo up
    ip link add lan0 type veth peer name other0
    ip link set lan0 mtu 1400 address 02:00:00:00:00:07
    ip addr add 192.0.2.7/24 brd 192.0.2.255 dev lan0
    ip addr add 192.0.2.8/32 dev lan0
    ip addr add 2001:db8::7/64 dev lan0 nodad
    ip addr add 2001:db8::8/64 dev lan0 nodad valid_lft 300 preferred_lft 200
    ip link set lan0 up
    ip link set other0 up
";

/// The same as a device that has nobody at its other end.
fn dummy() -> String {
    let of_the_peer = "ip link set other0 up";
    let script = DEVICES.replace("type veth peer name other0", "type dummy");
    assert!(script.contains("type dummy") && script.contains(of_the_peer));
    script.replace(of_the_peer, "")
}

fn has_dummy() -> bool {
    Run::new("unshare").args(["--net", "ip", "link", "add", "lan0", "type", "dummy"]).output().status.success()
}

fn has_ip() -> bool {
    let add = "ip link add lan0 type veth peer name other0";
    Run::new("unshare").args(["--net", "sh", "-c", add]).output().status.success()
}

/// Runs `create` or `run` where the devices are, and then `script`, which prints what became of them.
fn with_devices(bundle: Bundle, command: &str, script: &str) -> Output {
    with(DEVICES, bundle, command, script)
}

fn with(devices: &str, bundle: Bundle, command: &str, script: &str) -> Output {
    bundle.write();
    let whole = format!("set -e; {devices}\nset +e; \"$@\"; status=$?; {script}\nexit $status");
    bundle.through(["unshare", "--net", "sh", "-c", &whole, "_"]).command(command).output()
}

const LOOK: &str = "ip -o link; ip -o addr";

#[test]
fn a_device_moves_with_all_that_belongs_to_it() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    for (name, expected) in [(json!({}), "lan0"), (json!({"name": "eth0"}), "eth0"), (json!({"name": "net%d"}), "net0")]
    {
        moves(DEVICES, &name, &format!("{expected}@"));
    }
}

#[test]
fn a_dummy_device_too() {
    requires!(has_dummy(), "ip(8), and devices that are dummies");
    differs!(Runc | Crun, "Debian's are older than the property");
    moves(&dummy(), &json!({"name": "net%d"}), "net0");
    let bundle = Bundle::new().args(&["/no/such/program"]);
    let bundle = bundle.set("/linux/netDevices", json!({"lan0": {"name": "eth0"}}));
    assert_as_before(&with(&dummy(), bundle, "create", LOOK).exits(1));
}

/// `expected` is its name, as ip(8) shows it.
#[track_caller]
fn moves(devices: &str, name: &Value, expected: &str) {
    let bundle = Bundle::sh(LOOK).set("/linux/netDevices", json!({"lan0": name}));
    let seen = with(devices, bundle, "run", "ip -o link >&2").ok();
    let link = seen.stdout.lines().find(|line| line.contains(&format!(": {expected}"))).unwrap_or_default();
    for words in ["mtu 1400", "02:00:00:00:00:07", ",UP"] {
        assert!(link.contains(words), "{words}: {seen:#?}");
    }
    for address in ["192.0.2.7/24 brd 192.0.2.255", "192.0.2.8/32", "2001:db8::7/64"] {
        let line = seen.stdout.lines().find(|line| line.contains(address)).unwrap_or_default();
        assert!(line.contains(expected.trim_end_matches('@')), "{address}: {seen:#?}");
    }
    assert!(!seen.stdout.contains("2001:db8::8"), "an address that ends stays behind: {seen:#?}");
    // The test's own namespace, which the pair's other half is in until it goes with the container.
    assert!(!seen.stderr.contains("lan0"), "{seen:#?}");
}

#[test]
fn several_devices() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    let devices = json!({"lan0": {"name": "net%d"}, "other0": {"name": "net%d"}});
    let seen = with_devices(Bundle::sh(LOOK).set("/linux/netDevices", devices), "run", ":").ok();
    for name in [": net0@", ": net1@"] {
        assert!(seen.stdout.contains(name), "{seen:#?}");
    }
}

#[test]
fn names_can_be_swapped_on_the_way() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    let devices = json!({"lan0": {"name": "other0"}, "other0": {"name": "lan0"}});
    let seen = with_devices(Bundle::sh(LOOK).set("/linux/netDevices", devices), "run", ":").ok();
    let line = seen.stdout.lines().find(|line| line.contains(": other0@")).unwrap();
    assert!(line.contains("02:00:00:00:00:07"), "{seen:#?}");
}

#[test]
fn a_name_that_is_taken_is_refused() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    let bundle = Bundle::new().set("/linux/netDevices", json!({"lan0": {"name": "lo"}}));
    let output = with_devices(bundle, "create", LOOK).exits(1);
    let words = "linux.netDevices.lan0: the container's network namespace has a device \"lo\" already";
    assert!(output.stderr.contains(words), "{output:#?}");
    assert_as_before(&output);
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    let bundle = Bundle::new().set("/linux/netDevices", json!({"lan0": {}, "wan0": {}}));
    let output = with_devices(bundle, "create", LOOK).exits(1);
    assert!(output.stderr.contains("linux.netDevices.wan0: RTM_GETLINK: no such device"), "{output:#?}");
    assert_as_before(&output);
}

#[test]
fn a_device_of_the_namespace_itself_cannot_move() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    let bundle = Bundle::new().set("/linux/netDevices", json!({"lo": {"name": "lo1"}}));
    let output = with_devices(bundle, "create", LOOK).exits(1);
    assert!(output.stderr.contains("linux.netDevices.lo: RTM_SETLINK(to another namespace"), "{output:#?}");
    assert_as_before(&output);
}

#[test]
fn a_failed_create_puts_everything_back() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    let moving = |bundle: Bundle| bundle.set("/linux/netDevices", json!({"lan0": {"name": "eth0"}}));
    assert_as_before(&with_devices(moving(Bundle::new().args(&["/no/such/program"])), "create", LOOK).exits(1));
    // The hook sees that it is gone.
    let bundle = Bundle::new();
    let mark = bundle.path("gone").display().to_string();
    let script = format!("ip link show lan0 || touch {mark}; exit 1");
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]});
    let bundle = moving(bundle.hook("createRuntime", hook));
    let output = with_devices(bundle, "create", &format!("{LOOK}; ls {mark}")).exits(1);
    assert!(output.stdout.contains(&mark), "{output:#?}");
    assert_as_before(&output);
}

/// Kernel parameters of a device are there as soon as it is.
#[test]
fn its_parameters_can_be_set() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    let bundle = Bundle::sh("cat /proc/sys/net/ipv4/conf/eth0/forwarding");
    let bundle = bundle.set("/linux/sysctl", json!({"net.ipv4.conf.eth0.forwarding": "1"}));
    let bundle = bundle.set("/linux/netDevices", json!({"lan0": {"name": "eth0"}}));
    assert_eq!(with_devices(bundle, "run", ":").ok().stdout, "1\n");
}

#[test]
fn the_runtimes_own_namespace_is_no_place_to_go_to() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    let bundle = Bundle::new().namespace("network", Some("/proc/self/ns/net".into()));
    let bundle = bundle.set("/linux/netDevices", json!({"lan0": {"name": "eth0"}}));
    let output = with_devices(bundle, "create", LOOK).exits(1);
    assert!(output.stderr.contains("linux.netDevices: the container's network namespace is"), "{output:#?}");
    assert_as_before(&output);
}

/// Name, addresses, and up.
#[track_caller]
fn assert_as_before(output: &Output) {
    let link = output.stdout.lines().find(|line| line.contains(": lan0")).unwrap_or_else(|| panic!("{output:#?}"));
    for words in ["mtu 1400", "02:00:00:00:00:07", ",UP"] {
        assert!(link.contains(words), "{words}: {output:#?}");
    }
    for address in ["192.0.2.7/24 brd 192.0.2.255", "192.0.2.8/32", "2001:db8::7/64", "2001:db8::8/64"] {
        let line = output.stdout.lines().find(|line| line.contains(address)).unwrap_or_default();
        assert!(line.contains("lan0"), "{address}: {output:#?}");
    }
}

#[test]
fn into_a_namespace_that_is_there_already() {
    requires!(has_ip(), "ip(8), and virtual network devices");
    differs!(Runc | Crun, "Debian's are older than the property");
    let holder = crate::support::holder::Holder::new(&["--net"]);
    let path = format!("/proc/{}/ns/net", holder.pid());
    let bundle = Bundle::sh(LOOK).namespace("network", Some(path.clone().into()));
    // SPEC: the runtime does not move it back.
    let look = format!("nsenter --net={path} ip -o link >&2");
    let bundle = bundle.set("/linux/netDevices", json!({"lan0": {"name": "eth0"}}));
    let seen = with_devices(bundle, "run", &look).ok();
    assert!(seen.stdout.contains("192.0.2.7/24"), "{seen:#?}");
    assert!(seen.stderr.contains(": eth0@"), "{seen:#?}");
}
