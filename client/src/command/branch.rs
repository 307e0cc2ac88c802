//! `lakebase branch`: resets, deletes or keeps the branch of a worktree.

use crate::connect::Session;
use crate::here;
use crate::json;
use crate::terminal::{self, Output};
use crate::text::plain;
use crate::words;
use lakebase_proto::v1::Worktree;
use serde::Serialize;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make this worktree's branch anew from its source; what is in it is lost
    Reset,
    /// Delete a branch that no worktree uses, at once
    Delete(Delete),
    /// Keep this worktree's branch for good: no lease, never deleted by the daemon
    Keep(Keep),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// Name of the branch, as in `jane-feature-x`
    branch: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Keep {
    /// Give it back to the daemon: leased again, and deleted when its worktree is gone
    #[arg(long)]
    release: bool,
}

#[derive(Debug, Serialize)]
struct Deleted<'a> {
    deleted: &'a str,
}

pub(crate) async fn run(command: &Command, output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let cwd = here::cwd()?;
    match command {
        Command::Reset => {
            terminal::progress("making the branch anew ...");
            show(&session.reset(&cwd).await?, "is new", output)
        }
        Command::Keep(Keep { release }) => {
            let worktree = session.keep(&cwd, *release).await?;
            let what = if *release {
                "is leased again"
            } else {
                "is kept for good"
            };
            show(&worktree, what, output)
        }
        Command::Delete(Delete { branch }) => {
            session.delete(&cwd, branch).await?;
            if output.is_json() {
                return Ok(terminal::print_json(&Deleted { deleted: branch })?);
            }
            Ok(terminal::print(format!("branch {} is deleted", plain(branch)))?)
        }
    }
}

fn show(worktree: &Worktree, what: &str, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(terminal::print_json(&json::Worktree::from(worktree))?);
    }
    let branch = worktree.branch.as_ref();
    let name = branch.map(|branch| plain(&branch.branch_id)).unwrap_or_default();
    let expires = branch.map(|branch| words::expiry(branch.expire_time.as_ref(), &crate::clock::now()));
    let expires = expires.map(|at| format!(", expires {at}")).unwrap_or_default();
    Ok(terminal::print(format!("branch {name} {what}{expires}"))?)
}
