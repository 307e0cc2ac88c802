//! The only file that writes to standard output and standard error. Colour only where somebody looks: on a terminal, unless
//! `NO_COLOR` or `--no-color` says otherwise.

use crate::text::is_risky;
use owo_colors::{OwoColorize, Style};
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// How the answer is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }
}

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

/// Prints the answer as it is, for another program.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn print_raw(text: &[u8]) -> io::Result<()> {
    io::stdout().write_all(text)
}

/// Prints the answer as JSON.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
    writeln!(
        anstream::stdout(),
        "{}",
        harmless(&serde_json::to_string_pretty(value)?)
    )
}

/// Prints one line of JSON, for answers that have no end.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn print_json_line(value: &impl Serialize) -> io::Result<()> {
    writeln!(anstream::stdout(), "{}", harmless(&serde_json::to_string(value)?))
}

fn harmless(text: &str) -> String {
    // Within strings serde leaves some characters alone that a terminal would act on.
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            if is_risky(c) && c != '\n' {
                out.extend(format!("\\u{:04x}", u32::from(c)).chars());
            } else {
                out.push(c);
            }
            out
        })
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

/// Asks a question whose answer is no unless the user types yes. Without a terminal there is nothing to ask.
pub(crate) fn confirm(question: &str) -> bool {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return false;
    }
    write!(anstream::stderr(), "{question} [y/N] ").ok();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// A piece of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Style::new())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, Style::new())
    }
}

/// Lays rows out in columns, two spaces apart.
pub(crate) fn columns(rows: &[Vec<Cell>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let last = row.iter().rposition(|cell| !cell.text.is_empty());
    let mut out = String::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        out += &cell.text.style(cell.style).to_string();
        if last.is_none_or(|last| index >= last) {
            break;
        }
        out += &" ".repeat(width - cell.text.chars().count() + 2);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_end_where_the_text_ends() {
        let rows = [vec!["a".into(), "b".into()], vec!["long".into(), "".into()]];
        assert_eq!(columns(&rows), ["a     b", "long"]);
    }

    #[test]
    fn colour_takes_no_width() {
        let red = Cell::new("ab", Style::new().red());
        let lines = columns(&[vec![red, "x".into()], vec!["abc".into(), "y".into()]]);
        let shown = anstream::adapter::strip_str(&lines[0]).to_string();
        assert_eq!(shown, "ab   x");
        assert_ne!(shown, lines[0]);
    }
}
