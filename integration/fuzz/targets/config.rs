//! `config.json`, and the parts of it that commands read by themselves: parsed, checked, planned, sent.
#![no_main]

use std::sync::LazyLock;

use corten::config::{Config, Process, Resources};
use corten::machine::Machine;
use corten::plan::{Errand, ErrandRef, Plan};
use corten_fuzz::{assert_one_line, begin_with, configurations};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static MACHINE: LazyLock<Machine> = LazyLock::new(Machine::default);

fuzz_target!(init: begin_with(seeds(), words()), |json| {
    let parsed = Config::parse(json);
    // Whichever way the bytes come to the types, they mean the same.
    assert_eq!(parsed, Config::parse_normalised(json));
    match parsed {
        Ok(config) => match corten_fuzz::plan(&config, &MACHINE) {
            Ok(plan) => assert_arrives(&config, &plan),
            Err(error) => assert_one_line(&error),
        },
        Err(error) => assert_one_line(&error),
    }
    if let Err(error) = Process::parse(json) {
        assert_one_line(&error);
    }
    if let Err(error) = Resources::parse(json) {
        assert_one_line(&error);
    }
});

/// What is sent is what arrives, and so is what is kept for `exec`.
fn assert_arrives(config: &Config, plan: &Plan) {
    let sent = ErrandRef::Init(&plan.inside).to_bytes().expect("send the plan");
    match Errand::from_bytes(&sent).expect("receive the plan") {
        Errand::Init(arrived) => assert_eq!(ErrandRef::Init(&arrived).to_bytes().expect("send it on"), sent),
        Errand::Exec(_) => panic!("another errand"),
    }
    let kept = plan.snapshot(config);
    let bytes = postcard::to_stdvec(&kept).expect("keep the snapshot");
    assert_eq!(postcard::from_bytes(&bytes), Ok(kept));
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = configurations();
    for json in configurations() {
        let document: Value = serde_json::from_slice(&json).expect("a seed is JSON");
        let parts = [&document["process"], &document["linux"]["resources"]];
        seeds.extend(parts.into_iter().filter(|part| part.is_object()).map(|part| part.to_string().into_bytes()));
    }
    seeds
}

/// The names of all properties, and all words that are values.
fn words() -> Vec<String> {
    fn collect(value: &Value, words: &mut Vec<String>) {
        match value {
            Value::String(text) => words.push(format!("\"{text}\"")),
            Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
            Value::Object(members) => members.iter().for_each(|(key, member)| {
                words.push(format!("\"{key}\":"));
                collect(member, words);
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut words = Vec::new();
    for json in configurations() {
        collect(&serde_json::from_slice(&json).expect("a seed is JSON"), &mut words);
    }
    words.retain(|word| word.len() < 40);
    words.sort_unstable();
    words.dedup();
    words
}
