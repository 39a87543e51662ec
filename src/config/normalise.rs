//! Brings a document to what oci-spec's types accept, where they are stricter than the specification.
//!
//! Only documents that do not fit as they are come here; the checks afterwards read what this takes away from the document
//! as it was written. What differs from the specification in oci-spec 0.10:
//!
//! - `null` is refused for anything that is not an `Option`; Go writes it for "unset";
//! - capability names are an enum; SPEC(config, process.capabilities): an unknown one is a warning;
//! - `process.user` is required; every engine gives it, the specification does not ask for it;
//! - `process.consoleSize` is read without a terminal too; SPEC: it must be ignored;
//! - `process.execCPUAffinity` refuses empty lists and blanks; both are legal;
//! - two names of `process.scheduler.flags` are misspelt;
//! - `type: ""` of a device rule is how Go writes an unset type;
//! - a huge page limit above `i64::MAX` is legal;
//! - properties of other platforms are read; SPEC(config, Extensibility): they must be ignored.

use serde_json::{Map, Value};

use super::process::CAPABILITIES;

/// A whole `config.json`.
pub(super) fn spec(document: &mut Value) {
    drop_nulls(document);
    let Some(document) = document.as_object_mut() else { return };
    for foreign in ["windows", "solaris", "vm", "zos", "uidMappings", "gidMappings"] {
        document.remove(foreign);
    }
    if let Some(members) = document.get_mut("process").and_then(Value::as_object_mut) {
        process_members(members);
    }
    let Some(linux) = document.get_mut("linux").and_then(Value::as_object_mut) else { return };
    if let Some(members) = linux.get_mut("resources").and_then(Value::as_object_mut) {
        resources_members(members);
    }
    if linux.get("seccomp").is_some_and(is_unset_profile) {
        linux.remove("seccomp");
    }
}

/// `process` alone.
pub(super) fn process(document: &mut Value) {
    drop_nulls(document);
    if let Some(members) = document.as_object_mut() {
        process_members(members);
    }
}

/// `linux.resources` alone.
pub(super) fn resources(document: &mut Value) {
    drop_nulls(document);
    if let Some(members) = document.as_object_mut() {
        resources_members(members);
    }
}

/// COMPAT(runc): a profile without default action and rules is what an empty Go structure looks like.
fn is_unset_profile(profile: &Value) -> bool {
    let empty = profile.get("syscalls").is_none_or(|rules| rules.as_array().is_some_and(Vec::is_empty));
    profile.get("defaultAction").is_some_and(|action| action == "") && empty
}

/// Drops `null` members at any depth, but not from maps whose values must be strings, where null is a wrong value.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            for (key, member) in members.iter_mut() {
                if !matches!(key.as_str(), "annotations" | "sysctl" | "unified") {
                    drop_nulls(member);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn process_members(process: &mut Map<String, Value>) {
    process.retain(|key, _| key != "commandLine" && key != "execCPUAffinity");
    if process.get("terminal") != Some(&Value::Bool(true)) {
        process.remove("consoleSize");
    }
    let user = process.entry("user").or_insert_with(|| serde_json::json!({"uid": 0, "gid": 0}));
    if let Some(user) = user.as_object_mut() {
        user.remove("username");
    }
    if let Some(scheduler) = process.get_mut("scheduler").and_then(Value::as_object_mut) {
        scheduler.remove("flags");
    }
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else { return };
    for names in sets.values_mut().filter_map(Value::as_array_mut) {
        names.retain(|name| name.as_str().is_none_or(|name| CAPABILITIES.contains(&name)));
    }
}

fn resources_members(resources: &mut Map<String, Value>) {
    for rule in objects_of(resources, "devices") {
        if rule.get("type").is_some_and(|kind| kind == "") {
            rule.remove("type");
        }
    }
    for entry in objects_of(resources, "hugepageLimits") {
        if entry.get("limit").and_then(Value::as_u64).is_some_and(|limit| i64::try_from(limit).is_err()) {
            entry.insert("limit".to_owned(), Value::from(i64::MAX));
        }
    }
}

fn objects_of<'a>(members: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    members.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}
