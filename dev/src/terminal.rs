//! The only file that writes to standard output and standard error. Colour only where somebody looks.

use owo_colors::OwoColorize;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, Write};

/// Turns colour off for the process.
pub(crate) fn without_colour() {
    anstream::ColorChoice::Never.write_global();
}

/// Prints one line of the answer.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn print(line: impl Display) -> io::Result<()> {
    writeln!(anstream::stdout(), "{line}")
}

/// Prints the answer as JSON.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
    print(serde_json::to_string_pretty(value)?)
}

/// Prints one line of JSON, for answers that have no end.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn print_json_line(value: &impl Serialize) -> io::Result<()> {
    print(serde_json::to_string(value)?)
}

/// Tells how far the work is. Standard error may be closed, which is nobody's fault.
pub(crate) fn progress(line: &str) {
    writeln!(anstream::stderr(), "{}", line.dimmed()).ok();
}

pub(crate) fn warn(line: &str) {
    writeln!(anstream::stderr(), "{} {line}", "warning:".yellow().bold()).ok();
}

pub(crate) fn complain(line: &str) {
    writeln!(anstream::stderr(), "{} {line}", "error:".red().bold()).ok();
}

pub(crate) fn hint(line: &str) {
    writeln!(anstream::stderr(), "{} {line}", "hint:".cyan().bold()).ok();
}

/// Lays rows out in columns, two spaces apart; none of the texts is coloured.
pub(crate) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
