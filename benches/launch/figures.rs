//! Figures, and the table of them.

use std::fmt::Write;
use std::time::Duration;

pub struct Table {
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    /// By row and column.
    cells: Vec<Vec<Vec<Duration>>>,
}

impl Table {
    pub fn new<'a>(rows: &[impl ToString], columns: impl Iterator<Item = &'a str>) -> Self {
        let columns: Vec<_> = columns.map(str::to_owned).collect();
        let cells = vec![vec![Vec::new(); columns.len()]; rows.len()];
        Self { rows: rows.iter().map(ToString::to_string).collect(), columns, cells }
    }

    /// Keeps the row sorted.
    pub fn add(&mut self, row: usize, column: usize, took: Duration) {
        let cell = &mut self.cells[row][column];
        cell.insert(cell.partition_point(|other| *other < took), took);
    }

    pub fn median(&self, row: usize, column: usize) -> Option<Duration> {
        at(&self.cells[row][column], 50)
    }

    /// The first column's median by that of another one.
    pub fn ratio(&self, row: usize, column: usize) -> Option<f64> {
        quotient(self.median(row, 0), self.median(row, column))
    }

    /// Median in milliseconds (smallest, 90th percentile), and the ratios.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let head: String = self.columns.iter().map(|name| format!(" {name} |")).collect();
        let ratios: String = self.columns[1..].iter().map(|name| format!(" {} / {name} |", self.columns[0])).collect();
        let rule = "---|".repeat(self.columns.len() * 2);
        writeln!(text, "| |{head}{ratios}\n|{rule}").unwrap();
        for (row, name) in self.rows.iter().enumerate() {
            let times: String = self.cells[row].iter().map(|cell| format!(" {} |", milliseconds(cell))).collect();
            let ratio = |column| self.ratio(row, column).map_or_else(String::new, |ratio| format!("**{ratio:.2}**"));
            let ratios: String = (1..self.columns.len()).map(|column| format!(" {} |", ratio(column))).collect();
            writeln!(text, "| `{name}` |{times}{ratios}").unwrap();
        }
        text
    }
}

pub fn quotient(a: Option<Duration>, b: Option<Duration>) -> Option<f64> {
    a.zip(b).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64())
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
