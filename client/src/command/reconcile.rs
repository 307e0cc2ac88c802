//! `lakebase reconcile`: tells the daemon to look again now.

use crate::connect::Session;
use crate::here;
use crate::terminal::{self, Output};
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Every registered repository, not only the one here
    #[arg(long)]
    all: bool,
    /// Return when that look, and what follows from it, is done
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Serialize)]
struct Looked {
    waited: bool,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let cwd = here::cwd()?;
    let path = (!args.all).then_some(cwd.as_path());
    session.reconcile(path, args.wait).await?;
    if output.is_json() {
        terminal::print_json(&Looked { waited: args.wait })?;
    }
    Ok(())
}
