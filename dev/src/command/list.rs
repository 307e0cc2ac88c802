//! `lakebase dev check` and `build`: the file's lists of commands, one after the other, in the foreground.

use crate::command::load;
use crate::failure::{Exit, Failure};
use crate::place::Place;
use crate::terminal;
use anyhow::Context;
use owo_colors::OwoColorize;
use serde::Serialize;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(Debug, Serialize)]
struct Outcome<'a> {
    run: &'a str,
    ok: bool,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    ok: bool,
    results: &'a [Outcome<'a>],
}

pub(crate) fn check(json: bool) -> anyhow::Result<()> {
    let place = Place::here()?;
    let commands = load(&place)?.check;
    run_all(&place, "check", &commands, json, |_| true)
}

pub(crate) fn build(json: bool) -> anyhow::Result<()> {
    let place = Place::here()?;
    let commands = load(&place)?.build;
    run_all(&place, "build", &commands, json, |last| last.ok)
}

fn run_all(
    place: &Place,
    what: &str,
    commands: &[String],
    json: bool,
    goes_on: impl Fn(&Outcome<'_>) -> bool,
) -> anyhow::Result<()> {
    if commands.is_empty() {
        let text = format!("the file has no `[{what}]` with commands to run");
        return Err(Failure::new(Exit::NotConfigured, text).into());
    }
    let mut outcomes = Vec::new();
    for (number, command) in (1..).zip(commands) {
        terminal::progress(&format!("{what} {number}/{}: {command}", commands.len()));
        outcomes.push(run(&place.root, command)?);
        if !outcomes.last().is_some_and(&goes_on) {
            break;
        }
    }
    show(&outcomes, json)?;
    match outcomes.iter().filter(|outcome| !outcome.ok).count() {
        0 => Ok(()),
        failed => Err(Failure::new(Exit::Failed, format!("{failed} of {} failed", commands.len())).into()),
    }
}

/// Runs a command. Standard output is for the summary, so what the command says goes to standard error.
fn run<'a>(root: &Path, command: &'a str) -> anyhow::Result<Outcome<'a>> {
    let begin = Instant::now();
    let output: Stdio = io::stderr().as_fd().try_clone_to_owned()?.into();
    let status = Command::new("sh")
        .arg("-c")
        .arg(command)
        .current_dir(root)
        .stdout(output)
        .status()
        .context("cannot run `sh`")?;
    Ok(Outcome {
        run: command,
        ok: status.success(),
        seconds: begin.elapsed().as_secs_f64(),
    })
}

fn show(outcomes: &[Outcome<'_>], json: bool) -> io::Result<()> {
    if json {
        let ok = outcomes.iter().all(|outcome| outcome.ok);
        return terminal::print_json(&Shown {
            ok,
            results: outcomes,
        });
    }
    for outcome in outcomes {
        let (word, seconds) = (if outcome.ok { "ok    " } else { "FAILED" }, outcome.seconds);
        let word = if outcome.ok {
            word.green().to_string()
        } else {
            word.red().to_string()
        };
        terminal::print(format_args!("{word}  {}  {seconds:.1} s", outcome.run))?;
    }
    Ok(())
}
