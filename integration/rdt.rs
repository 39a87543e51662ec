//! `linux.intelRdt` on machines without it, as ours are. What is done with a resctrl filesystem is tested in
//! `src/subsystems/rdt`, on a tree of plain directories.

use std::fs;

use serde_json::json;

use crate::support::{Bundle, differs, requires};

fn is_mounted() -> bool {
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ")
}

#[test]
fn it_cannot_be_done_without() {
    differs!(Runc | Crun, "goes on without");
    requires!(!is_mounted(), "a machine on which resctrl is not mounted");
    for rdt in [json!({}), json!({"closID": "/"}), json!({"closID": "gold", "schemata": ["L3:0=f"]})] {
        let refusal = Bundle::new().set("/linux/intelRdt", rdt).create_fails();
        refusal.names("linux.intelRdt").ends("resctrl is not mounted");
    }
}

#[test]
fn what_is_only_called_so_is_none() {
    differs!(Runc | Crun, "goes on without");
    requires!(!is_mounted(), "a machine on which resctrl is not mounted");
    let bundle = Bundle::new().after_host_mounts("mkdir $T/resctrl; mount -t tmpfs resctrl $T/resctrl");
    bundle.set("/linux/intelRdt", json!({})).create_fails().names("linux.intelRdt").ends("resctrl is not mounted");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    differs!(Runc | Crun, "goes on without");
    for (rdt, property) in [
        (json!({"closID": "../../etc"}), "linux.intelRdt.closID"),
        (json!({"closID": 7}), "linux.intelRdt.closID"),
        (json!({"memBwSchema": "L3:0=f"}), "linux.intelRdt.memBwSchema"),
        (json!({"schemata": ["L3:0=f\nL3:1=f"]}), "linux.intelRdt.schemata[0]"),
        (json!({"schemata": "L3:0=f"}), "linux.intelRdt.schemata"),
        (json!({"enableMonitoring": "yes"}), "linux.intelRdt.enableMonitoring"),
    ] {
        Bundle::new().set("/linux/intelRdt", rdt).create_fails().names(property);
    }
}
