//! Figures, and the table of them.

use std::fmt::Write;
use std::time::Duration;

pub struct Table {
    /// By row and column.
    cells: Vec<Vec<Vec<Duration>>>,
}

impl Table {
    pub fn new(rows: usize, columns: usize) -> Self {
        Self { cells: vec![vec![Vec::new(); columns]; rows] }
    }

    pub fn add(&mut self, row: usize, column: usize, took: Duration) {
        self.cells[row][column].push(took);
    }

    /// Median in milliseconds (smallest, 90th percentile), and the first column's median by that of each other one.
    pub fn render(&mut self, rows: &[&str], columns: &[&str]) -> String {
        let mut text = String::new();
        let head: String = columns.iter().map(|name| format!(" {name} |")).collect();
        let ratios: String = columns[1..].iter().map(|name| format!(" {} / {name} |", columns[0])).collect();
        let rule = "---|".repeat(columns.len() * 2);
        writeln!(text, "| |{head}{ratios}\n|{rule}").unwrap();
        for (name, cells) in rows.iter().zip(&mut self.cells) {
            cells.iter_mut().for_each(|cell| cell.sort_unstable());
            let times: String = cells.iter().map(|cell| format!(" {} |", milliseconds(cell))).collect();
            let first = at(&cells[0], 50);
            let ratios: String = cells[1..].iter().map(|cell| format!(" {} |", ratio(first, at(cell, 50)))).collect();
            writeln!(text, "| `{name}` |{times}{ratios}").unwrap();
        }
        text
    }
}

fn at(sorted: &[Duration], share: usize) -> Option<Duration> {
    sorted.get(sorted.len().saturating_sub(1) * share / 100).copied()
}

fn milliseconds(sorted: &[Duration]) -> String {
    let figure = |share| at(sorted, share).map(|took| format!("{:.2}", took.as_secs_f64() * 1e3));
    match (figure(50), figure(0), figure(90)) {
        (Some(median), Some(least), Some(most)) => format!("{median} ({least}, {most})"),
        _ => String::new(),
    }
}

fn ratio(ours: Option<Duration>, theirs: Option<Duration>) -> String {
    let ratio = ours.zip(theirs).map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64());
    ratio.map_or_else(String::new, |ratio| format!("**{ratio:.2}**"))
}
