//! `lakebase dev`: becomes `lakebase-dev`, which is a program of its own so that this one stays small.

use crate::failure::{Exit, Failure};
use crate::here;
use crate::terminal::Output;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;

const PROGRAM: &str = "lakebase-dev";

/// Run this worktree's processes as `lakebase.dev.toml` says: start, stop, restart, status, logs, check, build
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// A command and its arguments; `lakebase dev --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    args: Vec<OsString>,
}

/// Turns this process into the other. Returns only if that fails.
pub(crate) fn run(args: &Args, output: Output, no_color: bool) -> anyhow::Error {
    let mut command = here::program(PROGRAM);
    if output.is_json() {
        command.arg("--json");
    }
    if no_color {
        command.arg("--no-color");
    }
    let error = command.args(&args.args).exec();
    let failure = Failure::new(Exit::Failed, format!("cannot run `{PROGRAM}`"));
    let failure = match error.kind() {
        io::ErrorKind::NotFound => failure.hint("install `lakebase-dev` beside `lakebase`"),
        _ => failure,
    };
    failure.source(error).into()
}
