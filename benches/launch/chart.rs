//! Medians as bars, for a page: SVG.

use std::fmt::Write;

use crate::figures::Table;

/// What was measured of one configuration.
pub struct Panel {
    pub title: String,
    pub table: Table,
}

const WIDTH: u32 = 780;
const LEFT: u32 = 8;
/// Where bars begin, and how long the longest is.
const BARS: (u32, f64) = (118, 330.0);
/// Where ratios stand.
const RATIOS: u32 = 530;
const BAR: u32 = 11;
const GAP: u32 = 9;

/// Readable on white and on black.
const COLOURS: [&str; 3] = ["#c8602b", "#7d8590", "#b8a06a"];

const STYLE: &str = "text { font: 12px sans-serif; fill: #1f2328 } .title { font-weight: bold; font-size: 13px } \
    .faint { fill: #656d76 } \
    .ground { fill: #ffffff } \
    @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .faint { fill: #9198a1 } .ground { fill: #0d1117 } }";

/// Bars of the first two and of the floor, whose order of magnitude is one; the ratios to all.
pub fn render(panels: &[Panel]) -> String {
    let mut body = String::new();
    let mut y = 20;
    for panel in panels {
        y = draw(&mut body, panel, y) + 22;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" role=\"img\">\n\
         <title>What commands of container runtimes take</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{y}\"/>\n{body}</svg>\n"
    )
}

/// The answer is where it ends.
fn draw(body: &mut String, Panel { title, table }: &Panel, mut y: u32) -> u32 {
    let drawn: Vec<_> =
        (0..table.columns.len()).filter(|column| *column < 2 || table.columns[*column] == "floor").collect();
    let median = |row, column| table.median(row, column).map(|took| took.as_secs_f64() * 1e3);
    let all = (0..table.rows.len()).flat_map(|row| drawn.iter().filter_map(move |column| median(row, *column)));
    let longest = all.fold(0.0, f64::max);
    text(body, LEFT, y, "title", title);
    y += 8;
    for (column, colour) in drawn.iter().zip(COLOURS) {
        let x = RATIOS + 80 * u32::try_from(drawn.iter().position(|other| other == column).unwrap()).unwrap();
        writeln!(body, "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>", y - 17).unwrap();
        text(body, x + 15, y - 8, "", &table.columns[*column]);
    }
    for (row, name) in table.rows.iter().enumerate() {
        y += GAP;
        text(body, LEFT, y + BAR, "", name);
        text(body, RATIOS, y + BAR, "faint", &ratios(table, row));
        for (column, colour) in drawn.iter().zip(COLOURS) {
            let Some(median) = median(row, *column) else { continue };
            let (x, width) = (BARS.0, median / longest * BARS.1);
            writeln!(body, "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>", BAR - 1)
                .unwrap();
            let end = f64::from(x) + width + 5.0;
            writeln!(body, "<text x=\"{end:.1}\" y=\"{}\">{median:.1}</text>", y + BAR - 1).unwrap();
            y += BAR;
        }
    }
    y + GAP
}

/// `0.63 of crun, 0.19 of runc`
fn ratios(table: &Table, row: usize) -> String {
    let ratio = |column: usize| Some(format!("{:.2} of {}", table.ratio(row, column)?, table.columns[column]));
    let all: Vec<_> = (1..table.columns.len()).filter_map(ratio).collect();
    all.join(", ")
}

fn text(body: &mut String, x: u32, y: u32, class: &str, words: &str) {
    writeln!(body, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{words}</text>").unwrap();
}
