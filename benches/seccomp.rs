//! Docker's default profile as a filter: ours, and libseccomp's, linear and as a binary tree. `make bench-seccomp`.
//!
//! Each figure is of processes that do it once, as a container's start does: the program starts itself again. The rounds
//! are interleaved, so that what disturbs one filter disturbs the others too.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark that cannot go on has nothing to say"
)]

use std::fs::File;
use std::io::{Read, Seek};
use std::process::Command;
use std::time::{Duration, Instant};

use corten::config::Config;
use corten::config::seccomp::{Action, Condition, Rule, Seccomp, Test};
use corten::subsystems::seccomp::{Filter, Instruction, compile, inside};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::getppid;

const DOCKER: &str = include_str!("../src/subsystems/seccomp/testdata/docker-default.json");

const ROUNDS: usize = 200;
const CALLS: u32 = 20_000;

const FILTERS: [&str; 4] = ["none", "corten", "libseccomp, linear", "libseccomp, tree"];

/// What one process measures, in the order of the columns.
const MEASURES: [&str; 6] = ["instructions", "compile µs", "again µs", "load µs", "getppid ns", "unshare ns"];

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--measure") {
        Some(at) => println!("{}", measure(&arguments[at + 1]).map(|figure| figure.to_string()).join(" ")),
        None => report(),
    }
}

fn report() {
    let mut figures = FILTERS.map(|_| MEASURES.map(|_| Vec::new()));
    for _ in 0..ROUNDS {
        for (filter, figures) in FILTERS.iter().zip(&mut figures) {
            let output = Command::new(std::env::current_exe().unwrap()).args(["--measure", filter]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            for (figures, figure) in figures.iter_mut().zip(text.split_whitespace()) {
                figures.push(figure.parse::<f64>().unwrap());
            }
        }
    }
    println!("Docker's default profile, median (90th percentile) of {ROUNDS} processes:");
    println!("{:20}{}", "", MEASURES.map(|measure| format!("{measure:>18}")).concat());
    for (filter, figures) in FILTERS.iter().zip(&mut figures) {
        let cells = figures.each_mut().map(|figures| {
            figures.sort_by(f64::total_cmp);
            let at = |share: usize| figures[(figures.len() - 1) * share / 100];
            format!("{:>18}", format!("{:.0} ({:.0})", at(50), at(90)))
        });
        println!("{filter:20}{}", cells.concat());
    }
    println!("getppid is allowed, which the kernel remembers; unshare is refused: the filter runs each time.");
}

fn measure(filter: &str) -> [f64; 6] {
    let config = format!(r#"{{"ociVersion": "1.0.0", "root": {{"path": "r"}}, "linux": {{"seccomp": {DOCKER}}}}}"#);
    let profile = Config::parse(config.as_bytes()).unwrap().linux.seccomp.unwrap();
    let compile = || match filter {
        "corten" => Some(compile(&profile).unwrap()),
        "libseccomp, linear" => Some(libseccomp(&profile, 1)),
        "libseccomp, tree" => Some(libseccomp(&profile, 2)),
        _ => None,
    };
    let (compiled, first) = timed(compile);
    let mut again: Vec<_> = (0..9).map(|_| timed(compile).1).collect();
    again.sort();
    nix::sys::prctl::set_no_new_privs().unwrap();
    let (_, load) = timed(|| compiled.as_ref().map(|filter| inside::load(filter).unwrap()));
    let per_call = |call: &dyn Fn()| timed(|| (0..CALLS).for_each(|_| call())).1.as_secs_f64() * 1e9 / f64::from(CALLS);
    let allowed = per_call(&|| _ = std::hint::black_box(getppid()));
    let refused = per_call(&|| _ = std::hint::black_box(unshare(CloneFlags::empty())));
    let instructions = compiled.map_or(0, |filter| u32::try_from(filter.program.len()).unwrap());
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    [f64::from(instructions), micros(first), micros(again[again.len() / 2]), micros(load), allowed, refused]
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// The same by libseccomp, as runc has it made. `level`: 1 is linear, 2 a binary tree (`SCMP_FLTATR_CTL_OPTIMIZE`).
fn libseccomp(profile: &Seccomp, level: u32) -> Filter {
    let mut context = ScmpFilterContext::new(action(profile.default_action)).unwrap();
    context.set_ctl_optimize(level).unwrap();
    for arch in &profile.architectures {
        context.add_arch(arch.to_string().parse::<ScmpArch>().unwrap()).unwrap();
    }
    for rule in profile.rules.iter().filter(|rule| rule.action != profile.default_action) {
        add(&mut context, rule);
    }
    let mut file: File = tempfile::tempfile().unwrap();
    context.export_bpf(&file).unwrap();
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let instruction = |bytes: &[u8]| Instruction {
        code: u16::from_ne_bytes(bytes[..2].try_into().unwrap()),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes(bytes[4..].try_into().unwrap()),
    };
    Filter { flags: profile.flags, program: bytes.chunks(8).map(instruction).collect(), notifies: false }
}

fn add(context: &mut ScmpFilterContext, rule: &Rule) {
    let conditions: Vec<_> = rule.conditions.iter().map(condition).collect();
    for call in rule.names.iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
        context.add_rule_conditional(action(rule.action), call, &conditions).unwrap();
    }
}

fn action(action: Action) -> ScmpAction {
    match action {
        Action::Errno(errno) => ScmpAction::Errno(errno.into()),
        Action::Allow => ScmpAction::Allow,
        other => unreachable!("{other:?} is not in this profile"),
    }
}

fn condition(condition: &Condition) -> ScmpArgCompare {
    let (operator, value) = match condition.test {
        Test::Equal(value) => (ScmpCompareOp::Equal, value),
        Test::NotEqual(value) => (ScmpCompareOp::NotEqual, value),
        Test::Masked { mask, value } => (ScmpCompareOp::MaskedEqual(mask), value),
        other => unreachable!("{other:?} is not in this profile"),
    };
    ScmpArgCompare::new(condition.index.into(), operator, value)
}
