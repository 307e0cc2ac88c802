//! `lakebase dev restart`: everything anew, with the file read again, or one process alone.

use crate::command::start::{self, tell, until_ready};
use crate::command::status::nothing_runs;
use crate::command::{load, stop};
use crate::control::{Request, ask};
use crate::failure::{Exit, Failure};
use crate::place::Place;
use anyhow::Context;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Restart this process alone
    process: Option<String>,
    #[command(flatten)]
    start: start::Args,
}

pub(crate) fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let place = Place::here()?;
    let Some(name) = &args.process else {
        // What is wrong in the file is told before anything is stopped.
        load(&place)?;
        stop::stop(&place)?;
        return start::run(&args.start, json);
    };
    let before = ask(&place, &Request::Restart(name.clone())).context("cannot ask the supervisor")?;
    let before = before.ok_or_else(nothing_runs)?;
    if let Some(refused) = before.refused {
        return Err(Failure::new(Exit::Failed, refused)
            .hint("see `lakebase dev status`")
            .into());
    }
    if args.start.no_wait {
        return tell(&before, json);
    }
    let times = before
        .processes
        .iter()
        .find(|view| view.name == *name)
        .map_or(0, |view| view.times_ready);
    let reply = until_ready(&place, args.start.timeout, |view| {
        view.name != *name || (view.state.is_good() && view.times_ready > times)
    })?;
    tell(&reply, json)
}
