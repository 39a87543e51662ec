//! What commands take, corten's beside those of other runtimes and of a program that does nothing but the kernel's work
//! (`floor`). `make bench`.
//!
//! ```text
//! launch --view NAME [--rounds N] [--crowd] [--chart FILE] NAME=PATH...
//! ```
//!
//! Every round runs each command of each runtime once, so that what disturbs one disturbs the others too: ratios of one run count,
//! times depend on the machine. It is measured from outside: from the making of the process to its end, as an engine sees it.
//!
//! [`commands`] are measured, alone and in a [`crowd`]; [`costs`] are what is not time. [`bundles`] are what they are measured
//! with, and [`figures`] and a [`chart`] what is shown.

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
mod chart;
mod commands;
mod costs;
mod crowd;
mod figures;
mod runtime;

use std::path::PathBuf;
use std::time::Duration;

use bundles::Bundles;
use chart::Panel;
use runtime::Runtime;

#[derive(Default)]
struct Arguments {
    view: String,
    rounds: usize,
    crowd: bool,
    chart: Option<PathBuf>,
    runtimes: Vec<Runtime>,
}

impl Arguments {
    fn read() -> Self {
        let mut arguments = Self { view: "This machine".to_owned(), rounds: 40, ..Self::default() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match (word.as_str(), word.split_once('=')) {
                ("--view", _) => arguments.view = words.next().unwrap(),
                ("--rounds", _) => arguments.rounds = words.next().unwrap().parse().unwrap(),
                ("--crowd", _) => arguments.crowd = true,
                ("--chart", _) => arguments.chart = words.next().map(PathBuf::from),
                (_, Some((name, path))) => arguments.runtimes.push(Runtime::new(name, path)),
                // Cargo's own.
                ("--bench", _) => {}
                (other, None) => panic!("what is {other:?}?"),
            }
        }
        arguments
    }
}

fn main() {
    let Arguments { view, rounds, crowd, chart, runtimes } = Arguments::read();
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let spec = Bundles::write(directory.path(), "spec", false);
    let docker = Bundles::write(directory.path(), "docker", true);
    println!("## {view}\n\nOf Docker's resources the second configuration has: {}.\n", docker.limits);
    let mut panels = Vec::new();
    for (name, bundles) in [("the configuration that `spec` writes", &spec), ("like Docker's", &docker)] {
        for (how, gap, rounds) in [
            ("Back to back", Duration::ZERO, rounds),
            ("150 ms between two commands", Duration::from_millis(150), rounds / 3),
        ] {
            let table = commands::measure(&runtimes, bundles, gap, rounds);
            println!("### {how}: {name}, {rounds} rounds\n\n{}", table.render());
            if gap.is_zero() {
                panels.push(Panel { title: format!("{view}, {}, median in ms", name.replace('`', "")), table });
            }
        }
    }
    println!("### Beside time\n\n{}", costs::render(&runtimes, &[("spec", &spec), ("Docker's", &docker)]));
    if crowd {
        println!("### In a crowd\n\n{}", crowd::render(&runtimes, &spec, rounds));
    }
    if let Some(file) = chart {
        std::fs::write(file, chart::render(&panels)).unwrap();
    }
}
