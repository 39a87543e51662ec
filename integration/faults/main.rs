//! Every command, killed and refused at each of its system calls: nothing may be lost, and nothing may be left.
//!
//! A command is run once under ptrace(2) to learn its calls (`trace`). Then, for each call, it is run again, and there it gets
//! a SIGKILL, or the container's process does, or the call is not made and fails, with each error that its man page has
//! (`errnos`). After that `state`, `list` and `delete --force` must do what they always do, the command must have said
//! what is true, an error must name the call, and the machine must be as before (`verdict`, `belongings`).
//!
//! ```text
//! faults [--points N] [--commands PART] [--only WORDS] [--list]
//! ```
//!
//! A table: without N all points; with PART those of the commands with this in their names; with WORDS those with these words.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::zombie_processes,
    missing_docs,
    reason = "a test that cannot go on fails; it prints what it found; the reaper waits"
)]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod belongings;
mod commands;
mod errnos;
mod reaper;
#[allow(dead_code, unused_macros, unused_imports, reason = "shared with the other tests")]
#[path = "../support/mod.rs"]
mod support;
mod trace;
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Child, Command, ExitCode, Stdio};
use std::str::FromStr;
use std::thread;

use commands::{COMMANDS, Row};
use reaper::Reaper;
use trace::{Fault, Place};
use verdict::{Stage, Verdict};

/// One try.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Point {
    command: String,
    at: (Place, Fault),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.command, self.at.0, self.at.1)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [command, task, call, occurrence, fault] = words[..] else { return Err(format!("{text:?} is no point")) };
        let occurrence = occurrence.parse().map_err(|_| format!("{text:?} has no number"))?;
        let place = Place { task: task.to_owned(), call: call.to_owned(), occurrence };
        Ok(Self { command: command.to_owned(), at: (place, fault.parse()?) })
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value_of = |flag: &str| arguments.iter().position(|it| it == flag).and_then(|at| arguments.get(at + 1));
    let has = |flag: &str| arguments.iter().any(|it| it == flag);
    if has("--worker") {
        work();
        return ExitCode::SUCCESS;
    }
    let part = value_of("--commands").map_or("", String::as_str);
    if has("--record") {
        record(part).iter().for_each(|point| println!("{point}"));
        return ExitCode::SUCCESS;
    }
    let mut points = all_points(part);
    if let Some(words) = value_of("--only") {
        points.retain(|point| point.to_string().contains(words.as_str()));
    }
    if let Some(count) = value_of("--points") {
        points = sample(&points, count.parse().expect("--points N"));
    }
    if has("--list") {
        points.iter().for_each(|point| println!("{point}"));
        return ExitCode::SUCCESS;
    }
    let before = belongings::all();
    let results = try_all(&points);
    report(&points, &results, &belongings::left_since(&before))
}

/// In a process of its own: whoever is left behind becomes its child.
fn all_points(part: &str) -> Vec<Point> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--record", "--commands", part]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "recording failed");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

fn record(part: &str) -> Vec<Point> {
    let reaper = Reaper::new();
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        COMMANDS.iter().filter(|row| row.name.contains(part)).partition(|row| (row.applies)());
    elsewhere.iter().for_each(|row| eprintln!("{}: not on this machine", row.name));
    here.into_iter().flat_map(|row| points_of(&reaper, row)).collect()
}

fn points_of(reaper: &Reaper, row: &Row) -> Vec<Point> {
    let mut points = Vec::new();
    for made in Stage::new(reaper, row).record() {
        let mut faults = vec![Fault::KillRuntime];
        faults.extend(made.has_child.then_some(Fault::KillChild));
        faults.extend(made.by_another.then_some(Fault::KillCaller));
        faults.extend(errnos::of(&made.place.call).iter().map(|errno| Fault::Refuse(*errno)));
        let point = |fault| Point { command: row.name.to_owned(), at: (made.place.clone(), fault) };
        points.extend(faults.into_iter().map(point));
    }
    points
}

/// The same ones each time, and some of everything.
fn sample(points: &[Point], count: usize) -> Vec<Point> {
    let count = count.min(points.len());
    (0..count).map(|number| points[number * points.len() / count].clone()).collect()
}

/// How many are tried at a time.
const WORKERS: usize = 2;

type Results = HashMap<String, String>;

fn try_all(points: &[Point]) -> Results {
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let mine: Vec<String> = points.iter().skip(number).step_by(WORKERS).map(Point::to_string).collect();
            thread::spawn(move || feed(&mine))
        })
        .collect();
    workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
}

/// A worker that does not survive a point has a successor for the next ones.
fn feed(points: &[String]) -> Results {
    let mut results = Results::new();
    let mut worker = Worker::start();
    for point in points {
        let answer = worker.ask(point).unwrap_or_else(|| {
            worker = Worker::start();
            "unclean the test itself failed".to_owned()
        });
        if answer.starts_with("unclean") {
            println!("{point}: {answer}");
        }
        results.insert(point.clone(), answer);
    }
    results
}

struct Worker {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Worker {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("--worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, answers }
    }

    fn ask(&mut self, point: &str) -> Option<String> {
        writeln!(self.process.stdin.as_mut()?, "{point}").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok().filter(|length| *length > 0)?;
        Some(answer.trim_end().to_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A line with a point in, a line with what came of it out.
fn work() {
    const TRIES: usize = 3;
    let reaper = Reaper::new();
    let mut stages: HashMap<&str, Stage> = HashMap::new();
    for line in stdin().lines() {
        let point: Point = line.unwrap().parse().unwrap();
        let row = COMMANDS.iter().find(|row| row.name == point.command).expect("a command of the table");
        let stage = stages.entry(row.name).or_insert_with(|| Stage::new(&reaper, row));
        let tries = (0..TRIES).map(|_| stage.try_point(&point.at));
        let verdict = tries.into_iter().find(|verdict| !matches!(verdict, Verdict::NotReached));
        match verdict {
            Some(Verdict::Clean) => println!("clean"),
            Some(Verdict::NotReached) | None => println!("not-reached"),
            Some(Verdict::Unclean(found)) => {
                println!("unclean {}", found.join(" | ").replace('\n', "\\n"));
                if let Some(stage) = stages.remove(row.name) {
                    stage.clear();
                }
            }
        }
    }
}

#[derive(Default)]
struct Sum {
    tried: usize,
    clean: usize,
}

/// A line for each command and each call that it makes: how many points there are of each kind of fault, and how many were clean.
fn report(points: &[Point], results: &Results, left: &[String]) -> ExitCode {
    let mut sums: BTreeMap<(String, String, &str), Sum> = BTreeMap::new();
    let mut total = Sum::default();
    let mut not_reached = 0;
    for point in points {
        let result = results.get(&point.to_string()).map_or("", String::as_str);
        if result == "not-reached" {
            not_reached += 1;
            continue;
        }
        let kind = match point.at.1 {
            Fault::KillRuntime => "runtime killed",
            Fault::KillChild => "child killed",
            Fault::KillCaller => "caller killed",
            Fault::Refuse(_) => "refused",
        };
        let sum = sums.entry((point.command.clone(), point.at.0.call.clone(), kind)).or_default();
        for sum in [sum, &mut total] {
            sum.tried += 1;
            sum.clean += usize::from(result == "clean");
        }
    }
    println!("{:14} {:18} {:16} {:>6} {:>6}", "command", "call", "fault", "tried", "clean");
    for ((command, call, kind), sum) in &sums {
        println!("{command:14} {call:18} {kind:16} {:6} {:6}", sum.tried, sum.clean);
    }
    println!("\n{} points tried, {} clean; {not_reached} were not reached again", total.tried, total.clean);
    left.iter().for_each(|it| println!("left: {it}"));
    ExitCode::from(u8::from(total.clean != total.tried || total.tried == 0 || !left.is_empty()))
}
