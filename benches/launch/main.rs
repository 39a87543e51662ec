//! What commands take, corten's beside those of other runtimes and of a program that does nothing but the kernel's work
//! (`floor`). `make bench`.
//!
//! ```text
//! launch --view NAME [--rounds N] NAME=PATH...
//! ```
//!
//! Every round runs each command of each runtime once, so that what disturbs one disturbs the others too: ratios of one run count,
//! times depend on the machine. It is measured from outside: from the making of the process to its end, as an engine sees it.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark that cannot go on has nothing to say"
)]

mod bundles;
mod figures;
mod runtime;

use std::path::PathBuf;
use std::time::Duration;

use bundles::Bundles;
use figures::Table;
use runtime::Runtime;

/// What is measured, in the order of the table. `floor` is asked for the first alone.
const COMMANDS: [&str; 8] = ["run", "create", "start", "exec", "state", "kill", "delete", "delete --force"];

fn main() {
    let mut view = String::from("this machine");
    let mut rounds = 40;
    let mut runtimes = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match (word.as_str(), word.split_once('=')) {
            ("--view", _) => view = words.next().unwrap(),
            ("--rounds", _) => rounds = words.next().unwrap().parse().unwrap(),
            (_, Some((name, path))) => runtimes.push(Runtime::new(name, path)),
            // Cargo's own.
            ("--bench", _) => {}
            (other, None) => panic!("what is {other:?}?"),
        }
    }
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let directory = tempfile::tempdir().unwrap();
    println!("## {view}\n");
    for (name, docker) in [("The configuration that `spec` writes", false), ("Like Docker's", true)] {
        let bundles = Bundles::write(&directory.path().join(name), docker);
        for gap in [Duration::ZERO, Duration::from_millis(150)] {
            let rounds = if gap.is_zero() { rounds } else { rounds / 3 };
            let mut table = Table::new(COMMANDS.len(), runtimes.len());
            for _ in 0..rounds {
                for (column, runtime) in runtimes.iter().enumerate() {
                    round(runtime, &bundles, gap, |row, took| table.add(row, column, took));
                }
            }
            let how = if gap.is_zero() { "back to back" } else { "150 ms between two commands" };
            println!("### {name}, {how}, {rounds} rounds\n");
            let names: Vec<_> = runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
            println!("{}", table.render(&COMMANDS, &names));
        }
    }
    println!("### Beside time\n");
    let bundles = Bundles::write(&directory.path().join("beside"), false);
    println!("| | size of the program | peak RSS of `run` | waiting init: RSS | PSS |\n|---|---|---|---|---|");
    for runtime in runtimes.iter().filter(|runtime| !runtime.is_floor()) {
        let kib = |bytes: u64| format!("{} KiB", bytes / 1024);
        let size = std::fs::metadata(&runtime.path).unwrap().len();
        let (rss, pss) = runtime.waiting_init(&bundles.sleeping);
        let peak = runtime.peak_of_run(&bundles.ending);
        println!("| {} | {} | {} | {} | {} |", runtime.name, kib(size), kib(peak), kib(rss), kib(pss));
    }
    println!();
}

/// Each command once.
fn round(runtime: &Runtime, bundles: &Bundles, gap: Duration, mut add: impl FnMut(usize, Duration)) {
    let mut measure = |command: &str, words: &[&str]| {
        std::thread::sleep(gap);
        let row = COMMANDS.iter().position(|row| *row == command).unwrap();
        add(row, runtime.call(words));
    };
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (ending, sleeping) = (path(&bundles.ending), path(&bundles.sleeping));
    measure("run", &["run", "--bundle", &ending, "bench"]);
    if runtime.is_floor() {
        return;
    }
    measure("create", &["create", "--bundle", &sleeping, "bench"]);
    measure("start", &["start", "bench"]);
    measure("exec", &["exec", "bench", "/bin/true"]);
    measure("state", &["state", "bench"]);
    measure("kill", &["kill", "bench", "KILL"]);
    runtime.wait_for_end();
    measure("delete", &["delete", "bench"]);
    runtime.call(&["create", "--bundle", &sleeping, "bench"]);
    runtime.call(&["start", "bench"]);
    measure("delete --force", &["delete", "--force", "bench"]);
    runtime.wait_for_end();
}
