//! `lakebase run`: becomes another command, with the variables that lead to this worktree's branch.

use crate::connect::Session;
use crate::failure::{Exit, Failure};
use crate::here;
use crate::variables;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let mut words = args.command.iter();
    let program = words.next().expect("clap asks for one at least");
    Err(become_command(program, words).await?.into())
}

/// Turns this process into the command. Returns only if that fails.
pub(crate) async fn become_command(
    program: &OsString,
    args: impl Iterator<Item = &OsString>,
) -> anyhow::Result<Failure> {
    let mut session = Session::open().await?;
    let credential = session.credential(&here::cwd()?, false).await?;
    let mut command = Command::new(program);
    variables::of(&credential, variables::node_ca().as_deref()).apply(command.args(args));
    let error = command.exec();
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::CommandNotFound,
        _ => Exit::CannotExecute,
    };
    let text = format!("cannot run `{}`", program.to_string_lossy());
    Ok(Failure::new(exit, text).source(error))
}
