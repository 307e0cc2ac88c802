//! `lakebase env`: the variables that lead to this worktree's branch, for a shell, a file or a program.

use crate::connect::Session;
use crate::here;
use crate::terminal::{self, Output};
use crate::variables;
use clap::ValueEnum;
use std::collections::BTreeMap;

/// Print the variables that lead to this worktree's branch: eval "$(lakebase env)"
///
/// They are `DATABASE_URL`, and for PostgreSQL's own clients PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD, PGSSLMODE and
/// PGSSLROOTCERT. In a shell, variables that would lead elsewhere are unset.
///
/// The password is short-lived. Programs that run for long should ask again, or follow the worktree's `.env`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Mint a new password even though the one at hand is still good
    #[arg(long)]
    rotate: bool,
    /// How to print them
    #[arg(long, value_enum, default_value = "sh")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For eval "$(lakebase env)"
    Sh,
    /// As in a .env file
    Dotenv,
    /// An object
    Json,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let credential = session.credential(&here::cwd()?, args.rotate).await?;
    let variables = variables::of(&credential, variables::node_ca().as_deref());
    let format = if output.is_json() {
        Format::Json
    } else {
        args.format
    };
    match format {
        Format::Sh => terminal::print_raw(variables.to_sh()?.as_bytes())?,
        Format::Dotenv => terminal::print_raw(variables.to_dotenv().as_bytes())?,
        Format::Json => terminal::print_json(&variables.set.iter().cloned().collect::<BTreeMap<_, _>>())?,
    }
    Ok(())
}
