//! What `state` and `features` print fits schemas: `schemas/`, written after the text of the specification, whose own say less.

use std::fs;

use serde_json::{Value, json};

use crate::support::peer::program;
use crate::support::run::Run;
use crate::support::{Bundle, differs, rootfs};

#[track_caller]
fn assert_fits(document: &Value, schema: &str) {
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let errors: Vec<_> = schema.iter_errors(document).map(|it| format!("{}: {it}", it.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?} in {document:#}");
}

const STATE: &str = include_str!("schemas/state.json");
const FEATURES: &str = include_str!("schemas/features.json");

/// What is printed, and what hooks are told.
#[test]
fn state_in_every_status() {
    differs!(Crun, "tells hooks of a status of its own");
    let hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let bundle = Bundle::idle();
    let told = bundle.path("told");
    rootfs::directory(&told);
    let bundle = bundle.bind(&told, "/told", &[]).set("/annotations", json!({"org.example": "", "a": "b"}));
    let container = hooks
        .iter()
        .fold(bundle, |bundle, kind| {
            let directory = if *kind == "startContainer" { "/told" } else { told.to_str().unwrap() };
            let script = format!("cat > {directory}/{kind}");
            bundle.hook(kind, json!({"path": "/bin/sh", "args": ["sh", "-c", script]}))
        })
        .create();
    let is = |status: &str| {
        let state = container.state();
        assert_eq!(state["status"], status);
        assert_fits(&state, STATE);
    };
    is("created");
    container.start();
    is("running");
    container.kill("KILL");
    container.wait();
    is("stopped");
    container.delete();
    for kind in hooks {
        let state: Value = serde_json::from_slice(&fs::read(told.join(kind)).unwrap()).unwrap();
        assert_fits(&state, STATE);
    }
}

#[test]
fn features() {
    differs!(Runc | Crun, "1.1.5 and 1.8 know less, or no such command");
    let document = Run::new(program()).arg("features").output().ok().stdout;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_fits(&document, FEATURES);
    let version = |member: &str| semver::Version::parse(document[member].as_str().unwrap()).unwrap();
    assert!(version("ociVersionMin") <= version("ociVersionMax"));
    let supported = document["linux"]["seccomp"]["supportedFlags"].as_array().unwrap();
    let known = document["linux"]["seccomp"]["knownFlags"].as_array().unwrap();
    assert!(supported.iter().all(|flag| known.contains(flag)));
}

/// F1: what this machine has is no part of it. (What its kernel takes as a flag of seccomp is, by the specification's own words.)
#[test]
fn features_are_those_of_the_program() {
    differs!(Crun, "1.8 has no such command");
    let plain = Run::new(program()).arg("features").output().ok().stdout;
    let bare = "mount -t tmpfs none /sys; mount -t tmpfs none /proc; exec \"$@\"";
    let bare = Run::new("unshare").args(["--mount", "sh", "-ec", bare, "_"]).arg(program()).arg("features");
    assert_eq!(bare.output().ok().stdout, plain);
}

/// The schemas are no wishes: each of these is told from what is right.
#[test]
fn what_does_not_fit_is_found() {
    differs!(Runc | Crun, "1.1.5 and 1.8 know less, or no such command");
    let is_found = |change: &dyn Fn(&mut Value), right: &Value, schema: &str| {
        let mut wrong = right.clone();
        change(&mut wrong);
        let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
        assert!(schema.is_valid(right) && !schema.is_valid(&wrong), "{wrong}");
    };
    let state = json!({"ociVersion": "1.3.0", "id": "c", "status": "created", "pid": 5, "bundle": "/b"});
    let without = |key: &'static str| move |value: &mut Value| drop(value.as_object_mut().unwrap().remove(key));
    for key in ["ociVersion", "id", "status", "pid", "bundle"] {
        is_found(&without(key), &state, STATE);
    }
    is_found(&|state| state["status"] = json!("starting"), &state, STATE);
    is_found(&|state| state["bundle"] = json!("b"), &state, STATE);
    is_found(&|state| state["annotations"] = json!({"a": 1}), &state, STATE);
    let document = Run::new(program()).arg("features").output().ok().stdout;
    let document = serde_json::from_str(&document).unwrap();
    is_found(&without("ociVersionMax"), &document, FEATURES);
    is_found(&|it| it["mountOptions"][0] = json!("size"), &document, FEATURES);
    is_found(&|it| it["linux"]["vm"] = json!({}), &document, FEATURES);
    is_found(&|it| it["linux"]["selinux"]["enabled"] = json!(null), &document, FEATURES);
    is_found(&|it| it["annotations"]["version"] = json!("1"), &document, FEATURES);
}
