//! `lakebase dev status`: each process, and what is wrong with it.

use crate::board::{State, View, now_ms};
use crate::command::sweep_if_alone;
use crate::control::{Reply, Request, ask};
use crate::failure::{Exit, Failure};
use crate::place::Place;
use crate::{span, terminal};
use anyhow::Context;
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Serialize)]
struct Shown<'a> {
    running: bool,
    ready: bool,
    pid: Option<u32>,
    url: Option<&'a str>,
    processes: &'a [View],
    problems: &'a [String],
}

pub(crate) fn run(json: bool) -> anyhow::Result<()> {
    let place = Place::here()?;
    let reply = ask(&place, &Request::Look).context("cannot ask the supervisor")?;
    let Some(reply) = reply else {
        let _lock = place.command_lock().context("cannot lock the worktree's state")?;
        if sweep_if_alone(&place)?.is_some_and(|left| left > 0) {
            terminal::warn("the supervisor was killed; ended what it had left running");
        }
        if json {
            print(None, true)?;
        }
        return Err(nothing_runs().into());
    };
    print(Some(&reply), json)?;
    if reply.processes.iter().all(|view| view.state.is_good()) {
        return Ok(());
    }
    Err(Failure::new(Exit::NotReady, "not everything is ready")
        .hint("see `lakebase dev logs`")
        .into())
}

pub(super) fn nothing_runs() -> Failure {
    Failure::new(Exit::NotRunning, "nothing runs in this worktree").hint("`lakebase dev start` starts it")
}

pub(super) fn print(reply: Option<&Reply>, json: bool) -> anyhow::Result<()> {
    let processes = reply.map(|reply| reply.processes.as_slice()).unwrap_or_default();
    let problems = reply.map(|reply| reply.problems.as_slice()).unwrap_or_default();
    if json {
        return Ok(terminal::print_json(&Shown {
            running: reply.is_some(),
            ready: reply.is_some() && processes.iter().all(|view| view.state.is_good()),
            pid: reply.map(|reply| reply.pid),
            url: reply.and_then(|reply| reply.url.as_deref()),
            processes,
            problems,
        })?);
    }
    let head = ["PROCESS", "STATE", "PID", "PORT", "RESTARTS", "SINCE", "URL"].map(str::to_owned);
    let rows: Vec<Vec<String>> = std::iter::once(head.to_vec())
        .chain(processes.iter().map(row))
        .collect();
    for line in terminal::columns(&rows) {
        terminal::print(line)?;
    }
    for view in processes {
        if let Some(problem) = &view.problem {
            terminal::warn(&format!("process `{}`: {problem}", view.name));
        }
        if view.state == State::Silent {
            terminal::warn(&silent(view));
        }
    }
    for problem in problems {
        terminal::warn(problem);
    }
    Ok(())
}

fn silent(view: &View) -> String {
    let (name, since) = (&view.name, span::tell(since(view)));
    format!(
        "process `{name}`: it runs but does not answer, for {since} or longer; `lakebase dev restart {name}` helps"
    )
}

fn since(view: &View) -> Duration {
    Duration::from_millis(now_ms().saturating_sub(view.since_ms))
}

fn row(view: &View) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    vec![
        view.name.clone(),
        view.state.word().to_owned(),
        text(view.pid.map(|pid| pid.to_string())),
        text(view.port.map(|port| port.to_string())),
        view.restarts.to_string(),
        span::tell(since(view)),
        text(view.url.clone()),
    ]
}
