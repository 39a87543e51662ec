//! `process.capabilities`: five sets, each exactly as listed.

use std::collections::BTreeMap;
use std::fs;

use corten::config::process::CAPABILITIES;
use serde_json::{Value, json};

use crate::support::run::Output;
use crate::support::{Bundle, differs};

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const NET_BIND_SERVICE: u64 = 1 << 10;
const SYS_CHROOT: u64 = 1 << 18;
const AUDIT_WRITE: u64 = 1 << 29;

/// The five sets of /proc/PID/status by the end of their names: Inh Prm Eff Bnd Amb.
fn sets(status: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let (name, value) = line.strip_prefix("Cap")?.split_once(":\t")?;
        Some((name.to_owned(), u64::from_str_radix(value, 16).ok()?))
    };
    status.lines().filter_map(row).collect()
}

fn run_with(capabilities: Value, uid: u32) -> Output {
    let bundle = Bundle::new().args(&["grep", "^Cap", "/proc/self/status"]).set("/process/noNewPrivileges", false);
    bundle.set("/process/capabilities", capabilities).set("/process/user/uid", uid).run().ok()
}

fn sets_with(capabilities: Value, uid: u32) -> BTreeMap<String, u64> {
    // There may be warnings.
    sets(&run_with(capabilities, uid).stdout)
}

fn five(inheritable: u64, permitted: u64, effective: u64, bounding: u64, ambient: u64) -> BTreeMap<String, u64> {
    let values = [inheritable, permitted, effective, bounding, ambient];
    ["Inh", "Prm", "Eff", "Bnd", "Amb"].map(str::to_owned).into_iter().zip(values).collect()
}

/// Alone in all five sets, and no other beside it.
#[test]
fn each_of_them() {
    differs!(Runc | Crun, "of what the caller does not have, drops it silently or refuses the ambient set");
    let own = sets(&fs::read_to_string("/proc/self/status").unwrap())["Bnd"];
    assert_eq!(CAPABILITIES.len(), 41);
    for (number, name) in CAPABILITIES.iter().enumerate() {
        let names = json!([name]);
        let capabilities =
            json!({"bounding": names, "permitted": names, "effective": names, "inheritable": names, "ambient": names});
        // What the caller does not have cannot be given.
        let bit = own & (1 << number);
        assert_eq!(sets_with(capabilities, 1000), five(bit, bit, bit, bit, bit), "{name}");
    }
}

/// All sets differ. Without ambient ones a user keeps nothing over execve.
#[test]
fn five_different_sets_for_a_user() {
    let capabilities = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_AUDIT_WRITE"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"],
        "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"],
        "effective": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
        "ambient": ["CAP_NET_BIND_SERVICE"],
    });
    let bounding = CHOWN | KILL | NET_BIND_SERVICE | SYS_CHROOT | AUDIT_WRITE;
    let ambient = NET_BIND_SERVICE;
    let expected = five(KILL | NET_BIND_SERVICE | SYS_CHROOT, ambient, ambient, bounding, ambient);
    assert_eq!(sets_with(capabilities, 1000), expected);
}

/// execve gives root what the bounding set allows.
#[test]
fn root_gets_the_bounding_set() {
    let capabilities =
        json!({"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]});
    assert_eq!(sets_with(capabilities, 0), five(0, CHOWN | KILL, CHOWN | KILL, CHOWN | KILL, 0));
}

#[test]
fn empty_and_omitted_sets_are_empty() {
    for capabilities in [json!({}), json!({"bounding": [], "effective": [], "ambient": null})] {
        assert_eq!(sets_with(capabilities.clone(), 0), five(0, 0, 0, 0, 0), "{capabilities}");
    }
}

/// The specification leaves it open; runc and crun give none, and so do we.
#[test]
fn absent_capabilities_are_none() {
    let bundle = Bundle::new().args(&["grep", "^Cap", "/proc/self/status"]).remove("/process/capabilities");
    assert_eq!(sets(&bundle.prints()), five(0, 0, 0, 0, 0));
}

/// Between create and start the init holds no more than the program will.
#[test]
fn the_waiting_init_is_limited_too() {
    let container = Bundle::new().create();
    let bounding = sets(&container.proc("status"))["Bnd"];
    assert_eq!(bounding, KILL | NET_BIND_SERVICE | AUDIT_WRITE);
}

#[test]
fn an_unknown_capability_is_a_warning() {
    for unknown in ["CAP_NO_SUCH", "CHOWN", "cap_chown", "CAP_"] {
        let names = json!(["CAP_KILL", unknown]);
        let capabilities = json!({"bounding": names, "permitted": names, "effective": names});
        let bundle = Bundle::new().args(&["grep", "^CapBnd", "/proc/self/status"]);
        let output = bundle.set("/process/capabilities", capabilities).run().ok();
        let bounding = sets(&output.stdout)["Bnd"];
        assert!(bounding == KILL || bounding == KILL | CHOWN, "{unknown}: {bounding:x}");
    }
}

#[test]
fn the_warning_is_in_the_log() {
    differs!(Crun, "refuses it");
    let bundle = Bundle::new().push("/process/capabilities/bounding", "CAP_NO_SUCH");
    let log = bundle.path("log");
    let bundle = bundle.global("--log").global(log.to_str().unwrap()).global("--log-format=json");
    bundle.write();
    bundle.command("run").output().ok().silent();
    let records = fs::read_to_string(log).unwrap();
    let warning = records.lines().find(|line| line.contains("CAP_NO_SUCH")).expect(&records);
    let warning: Value = serde_json::from_str(warning).unwrap();
    assert_eq!(warning["level"], "warning");
}

/// A capability that the caller does not have itself.
#[test]
fn an_ungrantable_capability_is_no_error() {
    differs!(Runc | Crun, "drops it silently or refuses the ambient set");
    let missing = !sets(&fs::read_to_string("/proc/self/status").unwrap())["Bnd"] & (1 << 24);
    crate::support::requires!(missing != 0, "a machine without CAP_SYS_RESOURCE");
    let names = json!(["CAP_KILL", "CAP_SYS_RESOURCE"]);
    let capabilities =
        json!({"bounding": names, "permitted": names, "effective": names, "inheritable": names, "ambient": names});
    let output = run_with(capabilities, 1000);
    assert_eq!(sets(&output.stdout), five(KILL, KILL, KILL, KILL, KILL));
    assert!(output.stderr.contains("CAP_SYS_RESOURCE cannot be granted here"), "{output:#?}");
}

#[test]
fn a_capability_that_is_no_word_is_refused() {
    differs!(Crun, "ignores it");
    let refusal = Bundle::new().push("/process/capabilities/bounding", 7).create_fails();
    refusal.names("process.capabilities.bounding");
}
