//! What a start costs before anything is touched, part by part: a configuration that Docker writes, with its default profile and
//! as many variables as Kubernetes likes to give. `make bench-parts`.
//!
//! These are figures of code that has run before. At a container's start each part runs once, with cold caches, and takes
//! several times as long: `benches/seccomp.rs` has both figures of the filter, `--timing` those of a start.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot go on has nothing to say")]

use std::hint::black_box;
use std::path::Path;

use corten::config::Config;
use corten::machine::Machine;
use corten::plan::{Errand, ErrandRef, Plan, Request};
use corten::subsystems::seccomp;
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::Value;

const DOCKER: &str = include_str!("../src/config/testdata/docker.json");
const PROFILE: &str = include_str!("../src/subsystems/seccomp/testdata/docker-default.json");

fn parts(criterion: &mut Criterion) {
    let mut written: Value = serde_json::from_str(DOCKER).unwrap();
    written["linux"]["seccomp"] = serde_json::from_str(PROFILE).unwrap();
    written["process"].as_object_mut().unwrap().remove("apparmorProfile");
    let env = written["process"]["env"].as_array_mut().unwrap();
    env.extend((0..110).map(|number| format!("SERVICE_{number}_PORT_8080_TCP=tcp://10.0.0.{number}:8080").into()));
    let json = serde_json::to_vec(&written).unwrap();
    let config = Config::parse(&json).unwrap();
    let profile = config.linux.seccomp.clone().unwrap();
    // What the machine is, it is asked once.
    let machine = Machine::default();
    let plan = plan(&config, &machine);
    let bytes = ErrandRef::Init(&plan.inside).to_bytes().unwrap();

    let name = format!("parse and check {:.1} kB of configuration", json.len() as f64 / 1000.0);
    criterion.bench_function(&name, |bencher| bencher.iter(|| Config::parse(black_box(&json)).unwrap()));
    criterion.bench_function("seccomp: compile", |bencher| {
        bencher.iter(|| seccomp::compile(black_box(&profile)).unwrap());
    });
    criterion
        .bench_function("plan, with the filter", |bencher| bencher.iter(|| self::plan(black_box(&config), &machine)));
    let name = format!("wire: encode the plan to {:.1} kB", bytes.len() as f64 / 1000.0);
    criterion.bench_function(&name, |bencher| {
        bencher.iter(|| ErrandRef::Init(black_box(&plan.inside)).to_bytes().unwrap());
    });
    criterion.bench_function("wire: decode it", |bencher| {
        bencher.iter(|| Errand::from_bytes(black_box(&bytes)).unwrap());
    });
}

fn plan(config: &Config, machine: &Machine) -> Plan {
    Plan::new(config, machine, &Request::new("bench", Path::new("/"))).unwrap()
}

criterion_group!(benches, parts);
criterion_main!(benches);
