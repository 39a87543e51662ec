//! What docs/engines.md says about `ctr`.

use super::Containerd;
use crate::support::case::{Case, cases};
use crate::support::run::Run;
use crate::support::snippet;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![a_runtime_by_its_path]
}

fn a_runtime_by_its_path(containerd: &Containerd) {
    let run = Run::host_sh(&snippet::below("`ctr` takes the runtime's path"));
    let run = run.env("CONTAINERD_ADDRESS", containerd.socket()).env("CONTAINERD_NAMESPACE", containerd.namespace());
    run.output().ok();
}
