//! `lakebase gc`: shows the branches whose worktrees are gone, and deletes them when told to.

use crate::clock;
use crate::connect::Session;
use crate::here;
use crate::json;
use crate::terminal::{self, Cell, Output};
use crate::text::plain;
use crate::words;
use lakebase_proto::v1::{Branch, CollectGarbageResponse};
use owo_colors::Style;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Delete them; without it they are only shown
    #[arg(long)]
    yes: bool,
    /// Every registered repository, not only the one here
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Collected {
    deleted: bool,
    branches: Vec<json::Branch>,
    refused: Vec<json::Problem>,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let cwd = here::cwd()?;
    let path = (!args.all).then_some(cwd.as_path());
    let collected = session.collect_garbage(path, args.yes).await?;
    if output.is_json() {
        return Ok(terminal::print_json(&Collected {
            deleted: args.yes,
            branches: collected.branches.iter().map(json::Branch::from).collect(),
            refused: collected.refused.iter().map(json::Problem::from).collect(),
        })?);
    }
    show(&collected, args.yes)
}

fn show(collected: &CollectGarbageResponse, is_done: bool) -> anyhow::Result<()> {
    for line in terminal::columns(&collected.branches.iter().map(cells).collect::<Vec<_>>()) {
        terminal::print(line)?;
    }
    for problem in &collected.refused {
        terminal::warn(&plain(&problem.message));
        if !problem.fix.is_empty() {
            terminal::hint(&plain(&problem.fix));
        }
    }
    match (collected.branches.len(), is_done) {
        (0, _) => terminal::progress("no branch without a worktree"),
        (count, true) => terminal::progress(&format!(
            "deleted: {count}; the service can undelete them for a while"
        )),
        (count, false) => {
            terminal::progress(&format!("without a worktree: {count}"));
            terminal::hint("`lakebase gc --yes` deletes them");
        }
    }
    Ok(())
}

fn cells(branch: &Branch) -> Vec<Cell> {
    vec![
        plain(&branch.branch_id).into(),
        Cell::new(words::sizes(branch), Style::new().dimmed()),
        Cell::new(
            format!(
                "expires {}",
                words::expiry(branch.expire_time.as_ref(), &clock::now())
            ),
            Style::new().dimmed(),
        ),
    ]
}
