//! `lakebase dev`: becomes `lakebase-dev`, which is a program of its own so that this one stays small.

use crate::failure::{Exit, Failure};
use crate::terminal::Output;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

const BINARY: &str = "lakebase-dev";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// start, stop, restart, status, logs, check or build; `--help` tells more
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args, no_color: bool, output: Output) -> anyhow::Result<()> {
    // The program beside this one, else the one on PATH.
    let beside = std::env::current_exe().and_then(|this| this.canonicalize());
    let beside = beside.map(|this| this.with_file_name(BINARY)).ok();
    let program = beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| BINARY.into());
    let mut command = Command::new(program);
    let flags = [("--json", output.is_json()), ("--no-color", no_color)];
    command.args(flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag));
    let error = command.args(&args.command).exec();
    let failure = Failure::new(Exit::Failed, format!("cannot start `{BINARY}`"));
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    let failure = failure.source(error);
    let hint = "install `lakebase-dev` into the directory of `lakebase`, or into one on PATH";
    Err(if is_missing { failure.hint(hint) } else { failure }.into())
}
