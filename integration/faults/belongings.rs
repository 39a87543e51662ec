//! What the kernel and the service manager have for containers, and which is of no container any more when it is left:
//! compared once, before the first point and behind the last.

use std::collections::BTreeSet;

use crate::support::bpf::device_programs;
use crate::support::systemd;
use crate::support::wait::try_until;

/// BPF programs of containers, and units.
pub fn all() -> BTreeSet<String> {
    let scopes = if systemd::is_here() { systemd::units("corten-*.scope") } else { String::new() };
    let scopes = scopes.lines().map(|line| format!("unit {line}"));
    device_programs().into_iter().map(|symbol| format!("BPF program {symbol}")).chain(scopes).collect()
}

/// What has come since `before`, and stays: who was killed last needs a moment.
pub fn left_since(before: &BTreeSet<String>) -> Vec<String> {
    let left = || -> Vec<String> { all().difference(before).cloned().collect() };
    try_until(|| left().is_empty().then(Vec::new)).unwrap_or_else(left)
}
