//! `lakebase dev start`: starts the supervisor, and waits until its processes answer.

use crate::board::{State, View};
use crate::command::{block_on, load, status, sweep_if_alone};
use crate::control::{Reply, Request, ask};
use crate::failure::{Exit, Failure};
use crate::left::MARK;
use crate::log::{Reader, Voice};
use crate::place::Place;
use crate::{span, supervisor, terminal};
use anyhow::Context;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(20);
/// How long the supervisor itself may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of the log of a process that failed is shown.
const LINES: usize = 20;

#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Do not wait until the processes answer
    #[arg(long)]
    pub(super) no_wait: bool,
    /// How long to wait, as in 90s or 10m; the processes go on afterwards
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = span::parse)]
    pub(super) timeout: Duration,
}

pub(crate) fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let place = Place::here()?;
    let file = load(&place)?;
    if file.processes.is_empty() {
        return Err(Failure::new(Exit::NotConfigured, "cannot start: the file describes no process").into());
    }
    let mut reply = ensure_running(&place)?;
    if !args.no_wait {
        reply = until_ready(&place, args.timeout, |view| view.state.is_good())?;
    }
    tell(&reply, json)
}

/// What `lakebase-dev supervise` does.
pub(crate) fn supervise() -> anyhow::Result<()> {
    let place = Place::here()?;
    block_on(supervisor::run(&place))?
}

pub(super) fn tell(reply: &Reply, json: bool) -> anyhow::Result<()> {
    for problem in &reply.problems {
        terminal::warn(problem);
    }
    if json {
        return status::print(Some(reply), true);
    }
    match &reply.url {
        Some(url) => terminal::print(url)?,
        None => terminal::progress("started"),
    }
    Ok(())
}

/// Returns what the supervisor shows, and starts one if there is none.
fn ensure_running(place: &Place) -> anyhow::Result<Reply> {
    let _lock = place.command_lock().context("cannot lock the worktree's state")?;
    let deadline = Instant::now() + PATIENCE;
    let left = loop {
        if let Some(left) = sweep_if_alone(place)? {
            break left;
        }
        // It may hold the lock and not listen yet, or be about to end.
        if let Some(reply) = ask(place, &Request::Status).context("cannot ask the supervisor")? {
            return Ok(reply);
        }
        if Instant::now() >= deadline {
            return Err(broken(place).into());
        }
        sleep(LOOK);
    };
    if left > 0 {
        terminal::warn("the supervisor was killed; ended what it had left running");
    }
    let said = File::create(place.last_words()).context("cannot write to the state directory")?;
    let supervisor = std::env::current_exe().context("cannot find this program")?;
    let child = Command::new(supervisor)
        .arg("supervise")
        .current_dir(&place.root)
        // Started from within another worktree's loop, it does not end with that.
        .env_remove(MARK)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .context("cannot start the supervisor")?;
    first_answer(place, child)
}

fn first_answer(place: &Place, mut child: Child) -> anyhow::Result<Reply> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(reply) = ask(place, &Request::Status).context("cannot ask the supervisor")? {
            return Ok(reply);
        }
        if child.try_wait()?.is_some() || Instant::now() >= deadline {
            return Err(broken(place).into());
        }
        sleep(LOOK);
    }
}

fn broken(place: &Place) -> Failure {
    let said = fs::read_to_string(place.last_words()).unwrap_or_default();
    let said = said.trim().trim_start_matches("error: ");
    let why = if said.is_empty() {
        "it does not answer"
    } else {
        said
    };
    Failure::new(Exit::Failed, format!("the supervisor ended: {why}"))
}

/// Waits until the processes are ready that are waited for, telling each step.
pub(super) fn until_ready(
    place: &Place,
    patience: Duration,
    is_enough: impl Fn(&View) -> bool,
) -> anyhow::Result<Reply> {
    let deadline = Instant::now() + patience;
    let mut shown = BTreeMap::new();
    let mut request = Request::Status;
    loop {
        let reply = ask(place, &request).context("cannot ask the supervisor")?;
        let reply = reply.ok_or_else(|| broken(place))?;
        for view in &reply.processes {
            if shown.insert(view.name.clone(), view.state) != Some(view.state) {
                terminal::progress(&format!("{}: {}", view.name, view.state.word()));
            }
        }
        let is_missing = |view: &&View| !is_enough(view);
        let missing: Vec<&View> = reply.processes.iter().filter(is_missing).collect();
        if let Some(failed) = missing.iter().find(|view| view.problem.is_some()) {
            return Err(failed_to_start(place, failed).into());
        }
        if missing.is_empty() && request == Request::Look {
            return Ok(reply);
        }
        // They are asked at the end alone: their own logs may tell each request.
        let is_silent = |view: &&View| view.state == State::Silent;
        request = if missing.iter().all(is_silent) {
            Request::Look
        } else {
            Request::Status
        };
        if missing.is_empty() {
            continue;
        }
        if Instant::now() >= deadline {
            let names: Vec<&str> = missing.iter().map(|view| view.name.as_str()).collect();
            let text = format!("not ready after {}: {}", span::tell(patience), names.join(", "));
            return Err(Failure::new(Exit::NotReady, text)
                .hint("see `lakebase dev logs -f`")
                .into());
        }
        sleep(LOOK);
    }
}

/// Shows the last words of a process that failed.
fn failed_to_start(place: &Place, view: &View) -> Failure {
    let lines = Reader::open(&place.log())
        .map(|(_, lines)| lines)
        .unwrap_or_default();
    let words = lines
        .iter()
        .filter(|line| line.process == view.name && line.voice == Voice::Process);
    let words: Vec<_> = words.collect();
    for line in &words[words.len().saturating_sub(LINES)..] {
        terminal::progress(&format!("  | {}", line.text));
    }
    let problem = view.problem.as_deref().unwrap_or("it failed");
    let again = match view.state {
        State::Crashed => "by itself",
        _ => "when its files change",
    };
    let hint = format!("see `lakebase dev logs {}`; it is tried again {again}", view.name);
    Failure::new(Exit::Failed, format!("process `{}`: {problem}", view.name)).hint(hint)
}
