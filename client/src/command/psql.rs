//! `lakebase psql`: becomes psql on this worktree's branch. The password is in psql's environment, never in its arguments.

use super::run::become_command;
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments for psql, as in: lakebase psql -c 'select 1'
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let failure = become_command(&"psql".into(), args.args.iter()).await?;
    Err(failure
        .hint("install PostgreSQL's client: `apt install postgresql-client`, or `brew install libpq`")
        .into())
}
