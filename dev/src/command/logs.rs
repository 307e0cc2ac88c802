//! `lakebase dev logs`: what the processes said, and what happened to them.

use crate::command::load;
use crate::failure::{Exit, Failure};
use crate::log::{Line, Reader, Voice};
use crate::place::Place;
use crate::{clock, span, terminal};
use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use owo_colors::{AnsiColors, OwoColorize};
use serde::Serialize;
use std::thread::sleep;
use std::time::Duration;

const LOOK: Duration = Duration::from_millis(100);
/// How much is shown unless a span is given.
const LINES: usize = 200;
const COLOURS: [AnsiColors; 5] = [
    AnsiColors::Cyan,
    AnsiColors::Green,
    AnsiColors::Magenta,
    AnsiColors::Blue,
    AnsiColors::Yellow,
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on with what is said from now on
    #[arg(short, long)]
    follow: bool,
    /// Since when, as in 90s, 15m or 1h ago [default: the last 200 lines]
    #[arg(short, long, value_name = "SPAN", value_parser = span::parse)]
    duration: Option<Duration>,
    /// Of this process alone
    process: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    at: String,
    process: &'a str,
    text: &'a str,
    /// It is about the process, not by it.
    note: bool,
}

pub(crate) fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let place = Place::here()?;
    if let Some(name) = &args.process {
        let file = load(&place)?;
        if !file.processes.iter().any(|process| process.name == *name) {
            let hint = "see `lakebase dev status`";
            return Err(
                Failure::new(Exit::Failed, format!("there is no process `{name}`"))
                    .hint(hint)
                    .into(),
            );
        }
    }
    let (mut reader, mut lines) = Reader::open(&place.log()).context("cannot read the log")?;
    lines.retain(|line| is_wanted(args, line));
    if let Some(span) = args.duration {
        let since = clock::now().checked_sub(span).map(DateTime::<Utc>::from);
        lines.retain(|line| since.is_none_or(|since| line.at >= since));
    } else {
        lines.drain(..lines.len().saturating_sub(LINES));
    }
    let mut names = Vec::new();
    loop {
        for line in &lines {
            print(line, &mut names, json)?;
        }
        if !args.follow {
            return Ok(());
        }
        sleep(LOOK);
        lines = reader.more()?;
        lines.retain(|line| is_wanted(args, line));
    }
}

fn is_wanted(args: &Args, line: &Line) -> bool {
    args.process.as_ref().is_none_or(|name| *name == line.process)
}

fn print(line: &Line, names: &mut Vec<String>, json: bool) -> std::io::Result<()> {
    let at = line.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let note = line.voice == Voice::Supervisor;
    if json {
        return terminal::print_json_line(&Shown {
            at,
            process: &line.process,
            text: &line.text,
            note,
        });
    }
    let index = names
        .iter()
        .position(|name| *name == line.process)
        .unwrap_or_else(|| {
            names.push(line.process.clone());
            names.len() - 1
        });
    let name = line.process.color(COLOURS[index % COLOURS.len()]);
    let sign = if note { '*' } else { '|' };
    terminal::print(format_args!("{} {name} {sign} {}", at.dimmed(), line.text))
}
