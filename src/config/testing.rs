//! What the tables of this module's tests share.

use serde_json::{Value, json};

use super::Config;
use crate::error::Kind;

/// A container with the five namespaces that `runc spec` gives, running `true`.
pub(super) fn base() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"]},
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}
        ]}
    })
}

/// RFC 7396: members of objects are merged, null takes one out, anything else is replaced.
pub(super) fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let members = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The base with a change, as bytes.
pub(super) fn with(patch: &Value) -> Vec<u8> {
    let mut document = base();
    merge(&mut document, patch);
    serde_json::to_vec(&document).unwrap()
}

/// The base with a change is fine.
pub(super) fn accept(patch: &Value) -> Config {
    match Config::parse(&with(patch)) {
        Ok(config) => config,
        Err(error) => panic!("{patch}: {error}"),
    }
}

/// Every change makes the base an error with exactly that text.
pub(super) fn assert_refused(kind: Kind, rows: &[(&str, Value, &str)]) {
    for (name, patch, text) in rows {
        match Config::parse(&with(patch)) {
            Ok(_) => panic!("{name}: accepted"),
            Err(error) => {
                assert_eq!(error.to_string(), *text, "{name}");
                assert_eq!(error.kind(), kind, "{name}");
            }
        }
    }
}

/// Every text makes an error with exactly that text: for what a `Value` cannot hold.
pub(super) fn assert_text_refused(rows: &[(&str, &str, &str)]) {
    for (name, document, text) in rows {
        match Config::parse(document.as_bytes()) {
            Ok(_) => panic!("{name}: accepted"),
            Err(error) => assert_eq!(error.to_string(), *text, "{name}"),
        }
    }
}
