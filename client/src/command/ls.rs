//! `lakebase ls`: branches as a tree, with the worktrees on them.

use crate::clock;
use crate::connect::Session;
use crate::here;
use crate::json;
use crate::terminal::{self, Cell, Output};
use crate::text::plain;
use crate::tree::{self, Row};
use crate::words;
use lakebase_proto::v1::{Repository, Worktree};
use owo_colors::Style;
use prost_types::Timestamp;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Every registered repository, not only the one here
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Listing {
    worktrees: Vec<json::Worktree>,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let cwd = here::cwd()?;
    let worktrees = if args.all {
        session.worktrees(None).await?
    } else {
        match session.worktrees(Some(&cwd)).await {
            Err(failure) if failure.is_elsewhere() => session.worktrees(None).await?,
            listed => listed?,
        }
    };
    if output.is_json() {
        let worktrees = worktrees.iter().map(json::Worktree::from).collect();
        return Ok(terminal::print_json(&Listing { worktrees })?);
    }
    let here = here::worktree_of(&worktrees, &cwd).map(|worktree| worktree.path.clone());
    let repositories = session.repositories().await?;
    let listed = by_repository(&repositories, &worktrees);
    if listed.is_empty() {
        terminal::progress("no worktrees; register a repository with `lakebase init`");
        return Ok(());
    }
    for (index, (repository, worktrees)) in listed.iter().enumerate() {
        if index > 0 {
            terminal::print("")?;
        }
        if listed.len() > 1 {
            terminal::print(heading(repository))?;
        }
        for line in table(worktrees, here.as_deref()) {
            terminal::print(line)?;
        }
    }
    Ok(())
}

fn by_repository<'a>(
    repositories: &'a [Repository],
    worktrees: &[Worktree],
) -> Vec<(&'a Repository, Vec<Worktree>)> {
    let of = |repository: &Repository| {
        let own = worktrees
            .iter()
            .filter(|worktree| worktree.repository_id == repository.id);
        own.cloned().collect::<Vec<_>>()
    };
    let all = repositories.iter().map(|repository| (repository, of(repository)));
    all.filter(|(_, worktrees)| !worktrees.is_empty()).collect()
}

fn heading(repository: &Repository) -> String {
    let place = match repository.main_worktree.as_str() {
        "" => &repository.common_dir,
        path => path,
    };
    format!("{} (project {})", plain(place), plain(&repository.project_id))
}

fn table(worktrees: &[Worktree], here: Option<&str>) -> Vec<String> {
    let head = ["BRANCH", "STATE", "EXPIRES", "SIZE", "OWNERSHIP", "WORKTREE"];
    let head = head.map(|title| Cell::new(title, Style::new().dimmed()));
    let now = clock::now();
    let rows = tree::rows(worktrees);
    let rows = rows.iter().map(|row| cells(row, here, &now));
    let rows: Vec<_> = std::iter::once(head.to_vec()).chain(rows).collect();
    terminal::columns(&rows)
}

fn cells(row: &Row<'_>, here: Option<&str>, now: &Timestamp) -> Vec<Cell> {
    let label = plain(&row.label);
    let Some(worktree) = row.worktree else {
        return vec![label.into()];
    };
    let is_here = here == Some(worktree.path.as_str());
    let label_style = if is_here {
        Style::new().bold()
    } else {
        Style::new()
    };
    let state = worktree.state();
    let made = worktree.branch.as_ref().filter(|branch| !branch.uid.is_empty());
    let [expires, size, ownership] = match made {
        None => ["-"; 3].map(str::to_owned),
        Some(branch) => [
            words::expiry(branch.expire_time.as_ref(), now),
            words::sizes(branch),
            words::ownership(branch.ownership()).to_owned(),
        ],
    };
    let path = plain(&worktree.path) + if is_here { " (here)" } else { "" };
    vec![
        Cell::new(label, label_style),
        Cell::new(words::state(state), words::state_style(state)),
        expires.into(),
        size.into(),
        ownership.into(),
        path.into(),
    ]
}
