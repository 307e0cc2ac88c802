//! `lakebase ls`: branches as a tree, with the worktrees on them, and those that no worktree is on.

use crate::clock;
use crate::connect::Session;
use crate::here;
use crate::json;
use crate::terminal::{self, Cell, Output};
use crate::text::plain;
use crate::tree::{self, On, Row};
use crate::words;
use lakebase_proto::v1::{Branch, ListWorktreesResponse, Repository};
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
    unused: Vec<json::UnusedBranch>,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let cwd = here::cwd()?;
    let all = if args.all {
        session.listing(None).await?
    } else {
        match session.listing(Some(&cwd)).await {
            Err(failure) if failure.is_elsewhere() => session.listing(None).await?,
            listed => listed?,
        }
    };
    if output.is_json() {
        return Ok(terminal::print_json(&Listing {
            worktrees: all.worktrees.iter().map(json::Worktree::from).collect(),
            unused: all.unused.iter().map(json::UnusedBranch::from).collect(),
        })?);
    }
    let here = here::worktree_of(&all.worktrees, &cwd).map(|worktree| worktree.path.clone());
    let repositories = session.repositories().await?;
    let listed = by_repository(&repositories, &all);
    if listed.is_empty() {
        terminal::progress("no worktrees; register a repository with `lakebase init`");
        return Ok(());
    }
    for (index, (repository, own)) in listed.iter().enumerate() {
        if index > 0 {
            terminal::print("")?;
        }
        if listed.len() > 1 {
            terminal::print(heading(repository))?;
        }
        for line in table(own, here.as_deref()) {
            terminal::print(line)?;
        }
    }
    Ok(())
}

fn by_repository<'a>(
    repositories: &'a [Repository],
    all: &ListWorktreesResponse,
) -> Vec<(&'a Repository, ListWorktreesResponse)> {
    let of = |repository: &Repository| {
        let worktrees = all.worktrees.iter();
        let unused = all.unused.iter();
        ListWorktreesResponse {
            worktrees: worktrees
                .filter(|worktree| worktree.repository_id == repository.id)
                .cloned()
                .collect(),
            unused: unused
                .filter(|unused| unused.repository_id == repository.id)
                .cloned()
                .collect(),
        }
    };
    let listed = repositories.iter().map(|repository| (repository, of(repository)));
    listed
        .filter(|(_, own)| *own != ListWorktreesResponse::default())
        .collect()
}

fn heading(repository: &Repository) -> String {
    let place = match repository.main_worktree.as_str() {
        "" => &repository.common_dir,
        path => path,
    };
    format!("{} (project {})", plain(place), plain(&repository.project_id))
}

fn table(own: &ListWorktreesResponse, here: Option<&str>) -> Vec<String> {
    let head = ["BRANCH", "STATE", "EXPIRES", "SIZE", "OWNERSHIP", "WORKTREE"];
    let head = head.map(|title| Cell::new(title, Style::new().dimmed()));
    let now = clock::now();
    let rows = tree::rows(&own.worktrees, &own.unused);
    let rows = rows.iter().map(|row| cells(row, here, &now));
    let rows: Vec<_> = std::iter::once(head.to_vec()).chain(rows).collect();
    terminal::columns(&rows)
}

fn cells(row: &Row<'_>, here: Option<&str>, now: &Timestamp) -> Vec<Cell> {
    let label = plain(&row.label);
    let dimmed = Style::new().dimmed();
    match row.on {
        On::Elsewhere => vec![label.into()],
        On::Nothing(unused) => {
            let why = plain(&format!("- ({})", unused.why));
            let about = about(unused.branch.as_ref(), now);
            let named = [Cell::new(label, dimmed), Cell::new("unused", dimmed)];
            named
                .into_iter()
                .chain(about)
                .chain([Cell::new(why, dimmed)])
                .collect()
        }
        On::Worktree(worktree) => {
            let is_here = here == Some(worktree.path.as_str());
            let label_style = if is_here {
                Style::new().bold()
            } else {
                Style::new()
            };
            let state = worktree.state();
            let path = plain(&worktree.path) + if is_here { " (here)" } else { "" };
            let named = [
                Cell::new(label, label_style),
                Cell::new(words::state(state), words::state_style(state)),
            ];
            let about = about(worktree.branch.as_ref(), now);
            named.into_iter().chain(about).chain([path.into()]).collect()
        }
    }
}

/// Expiry, size and ownership of a branch, once it is made.
fn about(branch: Option<&Branch>, now: &Timestamp) -> [Cell; 3] {
    match branch.filter(|branch| !branch.uid.is_empty()) {
        None => ["-"; 3].map(|none| none.to_owned().into()),
        Some(branch) => [
            words::expiry(branch.expire_time.as_ref(), now).into(),
            words::sizes(branch).into(),
            words::ownership(branch.ownership()).to_owned().into(),
        ],
    }
}
