//! The command line: what can be typed, and which command it is. Each command is a file in `command/`.

use crate::command::{
    branch, completions, dev, doctor, down, env, events, forget, gc, hook, init, ls, psql, reconcile, run,
    status, trust, up, why,
};
use crate::{failure, terminal};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
First steps:
  lakebase up          start the daemon
  lakebase init        in a git repository: give each of its worktrees a branch
  lakebase psql        open the branch of this worktree

Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  the daemon is not running, or does not answer
  4  no registered repository here, or its lakebase.config is missing or wrong
  5  the branch is not ready
`run` and `psql` end with the exit code of their command; 127: there is no such
command, 126: it cannot be started. `dev --help` lists those of `dev`.";

/// Gives every git worktree its own Lakebase (PostgreSQL) branch.
#[derive(Debug, Parser)]
#[command(name = "lakebase", version, after_help = EXIT_CODES)]
struct Cli {
    /// Print JSON where there is something to show
    #[arg(long, global = true)]
    json: bool,
    /// Print without colour (the same as setting `NO_COLOR`)
    #[arg(long, global = true)]
    no_color: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register this git repository: configuration, hook, and a branch for each worktree
    Init(init::Args),
    /// Start the daemon in the background
    Up(up::Args),
    /// Stop the daemon; branches and their data stay
    Down,
    /// Show the daemon, the repositories and the branch of this worktree
    Status,
    /// List the branches as a tree, with the worktrees on them
    Ls(ls::Args),
    Env(env::Args),
    /// Run a command with the variables that lead to this worktree's branch
    Run(run::Args),
    /// Open this worktree's branch in psql
    Psql(psql::Args),
    Dev(dev::Args),
    /// Reset, delete or keep a branch
    #[command(subcommand)]
    Branch(branch::Command),
    /// Show the branches whose worktrees are gone; `--yes` deletes them
    Gc(gc::Args),
    /// Tell step by step why this worktree is on its branch
    Why,
    /// Check everything that this worktree needs, from git to the service; exits with 1 if something is wrong
    Doctor,
    /// Show what the daemon did; `--follow` goes on
    Events(events::Args),
    /// Look again now, instead of at the next event
    Reconcile(reconcile::Args),
    /// Confirm the changes in `lakebase.config` that wait for it, for all worktrees of this repository
    Trust(trust::Args),
    /// Stop giving this repository's worktrees branches
    Forget(forget::Args),
    /// Install or remove git's post-checkout hook
    #[command(subcommand)]
    Hook(hook::Command),
    Completions(completions::Args),
}

/// Runs the command line and returns its exit code.
pub fn run(args: Vec<OsString>) -> ExitCode {
    // Before anything can be found wrong with the arguments: a hook never fails.
    if let [_, hook, name, rest @ ..] = args.as_slice()
        && hook == "hook"
        && name == "post-checkout"
    {
        crate::hook::run(rest);
    }
    let cli = Cli::parse_from(args);
    if cli.no_color {
        terminal::without_colour();
    }
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let output = terminal::Output::new(cli.json);
    match &cli.command {
        Command::Completions(args) => {
            return completions::run(args, &mut <Cli as clap::CommandFactory>::command());
        }
        Command::Dev(args) => return Err(dev::run(args, output, cli.no_color)),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match cli.command {
        Command::Init(args) => runtime.block_on(init::run(&args, output)),
        Command::Up(args) => runtime.block_on(up::run(&args, output)),
        Command::Down => runtime.block_on(down::run(output)),
        Command::Status => runtime.block_on(status::run(output)),
        Command::Ls(args) => runtime.block_on(ls::run(&args, output)),
        Command::Env(args) => runtime.block_on(env::run(&args, output)),
        Command::Run(args) => runtime.block_on(run::run(&args)),
        Command::Psql(args) => runtime.block_on(psql::run(&args)),
        Command::Branch(command) => runtime.block_on(branch::run(&command, output)),
        Command::Gc(args) => runtime.block_on(gc::run(&args, output)),
        Command::Doctor => runtime.block_on(doctor::run(output)),
        Command::Why => runtime.block_on(why::run(output)),
        Command::Events(args) => runtime.block_on(events::run(&args, output)),
        Command::Forget(args) => runtime.block_on(forget::run(&args, output)),
        Command::Trust(args) => runtime.block_on(trust::run(&args, output)),
        Command::Reconcile(args) => runtime.block_on(reconcile::run(&args, output)),
        Command::Hook(command) => runtime.block_on(hook::run(&command, output)),
        Command::Completions(_) | Command::Dev(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_make_sense_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
