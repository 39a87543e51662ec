//! A profile: its program is one that the kernel would take, and does what the profile says
//! (`subsystems::seccomp::meaning`).
#![no_main]

use std::sync::LazyLock;

use corten::config::Config;
use corten::config::seccomp::{Action, Condition, Rule, Seccomp, Test};
use corten::subsystems::seccomp::{architectures, meaning};
use corten_fuzz::{begin_with, configurations};
use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::Arch;
use serde::{Deserialize, Serialize};

/// A profile in few bytes, so that any change of one is likely to be another profile: indices into tables, which wrap.
#[derive(Deserialize, Serialize)]
struct Head {
    native: u8,
    others: Vec<u8>,
    default: (u8, u16),
}

/// One rule; there are as many as there are bytes for.
#[derive(Deserialize, Serialize)]
struct Tail {
    names: Vec<u16>,
    action: (u8, u16),
    conditions: Vec<(u8, u8, u64, u64)>,
}

/// More make it slow and find nothing else.
const MOST_RULES: usize = 24;
const MOST_NAMES: usize = 3;
const MOST_OTHERS: usize = 2;

fuzz_target!(init: begin_with(seeds(), []), |input: &[u8]| {
    let Ok((head, mut rest)) = postcard::take_from_bytes::<Head>(input) else { return };
    let mut rules = Vec::new();
    while rules.len() < MOST_RULES
        && let Ok((tail, behind)) = postcard::take_from_bytes::<Tail>(rest)
    {
        rest = behind;
        rules.push(rule(&tail));
    }
    let arch = |index: &u8| ARCHITECTURES[usize::from(*index) % ARCHITECTURES.len()];
    let profile = Seccomp {
        default_action: action(head.default),
        architectures: head.others.iter().take(MOST_OTHERS).map(arch).collect(),
        flags: 0,
        rules,
        listener: None,
    };
    if let Err(why) = meaning::compare(&profile, arch(&head.native), 8) {
        panic!("{why} of {profile:#?}");
    }
});

static ARCHITECTURES: LazyLock<Vec<Arch>> = LazyLock::new(|| architectures().collect());

/// All names in our profiles, and one that is none.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let rules = profiles().into_iter().flat_map(|profile| profile.rules);
    let mut names: Vec<_> = rules.flat_map(|rule| rule.names).chain(["no_such_call".to_owned()]).collect();
    names.sort_unstable();
    names.dedup();
    names
});

fn profiles() -> Vec<Seccomp> {
    let configs = configurations().into_iter().filter_map(|json| Config::parse(&json).ok());
    configs.filter_map(|config| config.linux.seccomp).collect()
}

fn rule(tail: &Tail) -> Rule {
    let name = |index: &u16| NAMES[usize::from(*index) % NAMES.len()].clone();
    Rule {
        property: "linux.seccomp.syscalls[0]".to_owned(),
        names: tail.names.iter().take(MOST_NAMES).map(name).collect(),
        action: action(tail.action),
        conditions: tail.conditions.iter().map(condition).collect(),
    }
}

fn action((kind, data): (u8, u16)) -> Action {
    match kind % 8 {
        0 => Action::Allow,
        1 => Action::Errno(data % 4096),
        2 => Action::Trace(data),
        3 => Action::Log,
        4 => Action::KillProcess,
        5 => Action::KillThread,
        6 => Action::Trap,
        _ => Action::Notify,
    }
}

fn condition(&(index, test, value, other): &(u8, u8, u64, u64)) -> Condition {
    let test = match test % 7 {
        0 => Test::Equal(value),
        1 => Test::NotEqual(value),
        2 => Test::Masked { mask: value, value: other },
        3 => Test::Less(value),
        4 => Test::LessOrEqual(value),
        5 => Test::GreaterOrEqual(value),
        _ => Test::Greater(value),
    };
    Condition { index: index % 6, test }
}

// ---- the way back, for the seeds ----

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for profile in profiles() {
        // As it is, and its last rules, which are those with conditions.
        for first in [0, profile.rules.len().saturating_sub(8)] {
            seeds.push(in_bytes(&profile, &profile.rules[first..]));
        }
    }
    seeds
}

fn in_bytes(profile: &Seccomp, rules: &[Rule]) -> Vec<u8> {
    let index = |arch: &Arch| ARCHITECTURES.iter().position(|other| other == arch);
    let others = profile.architectures.iter().filter_map(index).filter_map(|index| index.try_into().ok());
    let x86_64 = index(&Arch::ScmpArchX86_64).and_then(|index| index.try_into().ok()).unwrap_or(0);
    let head = Head { native: x86_64, others: others.collect(), default: action_in_bytes(profile.default_action) };
    let mut bytes = postcard::to_stdvec(&head).expect("write a head");
    for rule in rules {
        for names in rule.names.chunks(MOST_NAMES) {
            let index = |name| NAMES.binary_search(name).ok().and_then(|index| index.try_into().ok());
            let tail = Tail {
                names: names.iter().filter_map(index).collect(),
                action: action_in_bytes(rule.action),
                conditions: rule.conditions.iter().map(condition_in_bytes).collect(),
            };
            bytes.extend(postcard::to_stdvec(&tail).expect("write a rule"));
        }
    }
    bytes
}

fn action_in_bytes(action: Action) -> (u8, u16) {
    match action {
        Action::Allow => (0, 0),
        Action::Errno(data) => (1, data),
        Action::Trace(data) => (2, data),
        Action::Log => (3, 0),
        Action::KillProcess => (4, 0),
        Action::KillThread => (5, 0),
        Action::Trap => (6, 0),
        Action::Notify => (7, 0),
    }
}

fn condition_in_bytes(condition: &Condition) -> (u8, u8, u64, u64) {
    let (test, value, other) = match condition.test {
        Test::Equal(value) => (0, value, 0),
        Test::NotEqual(value) => (1, value, 0),
        Test::Masked { mask, value } => (2, mask, value),
        Test::Less(value) => (3, value, 0),
        Test::LessOrEqual(value) => (4, value, 0),
        Test::GreaterOrEqual(value) => (5, value, 0),
        Test::Greater(value) => (6, value, 0),
    };
    (condition.index, test, value, other)
}
