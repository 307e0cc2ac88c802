//! `lakebase forget`: stops giving a repository's worktrees branches.

use crate::connect::Session;
use crate::here;
use crate::terminal::{self, Output};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Delete the branches that the daemon made for it; without it their leases run out
    #[arg(long)]
    delete_branches: bool,
    /// A path in the repository, or where it was [default: here]
    path: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Forgotten {
    path: String,
    deleted_branches: bool,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let path = match &args.path {
        // The directory may be gone.
        Some(path) => path.canonicalize().unwrap_or(std::path::absolute(path)?),
        None => here::cwd()?,
    };
    session.unregister(&path, args.delete_branches).await?;
    let path = path.to_string_lossy().into_owned();
    if output.is_json() {
        return Ok(terminal::print_json(&Forgotten {
            path,
            deleted_branches: args.delete_branches,
        })?);
    }
    terminal::progress("the repository is no longer registered; `lakebase hook uninstall` removes the hook");
    Ok(())
}
