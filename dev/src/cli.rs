//! The command line of `lakebase dev`.

use crate::command::{list, logs, restart, start, status, stop};
use crate::{failure, terminal};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

const MORE: &str = r#"A file `lakebase.dev.toml` in the worktree describes the processes:
  open = "web"                                 # whose URL `start` prints

  [process.api]
  run = "exec ./server"                        # by `sh -c`, in the file's directory
  port = "PORT"                                # the variable that tells it its port
  ready = "http://127.0.0.1:{port}/health"     # it is ready when this answers
  build = "make server"                        # first; on a change the last good one goes on
  watch = ["src"]                              # built and started again when these change
  database = true                              # with the variables of `lakebase env`

  [process.web]
  run = "npm run dev -- --port {port}"
  dir = "web"
  port = "PORT"
  env = { API = "http://127.0.0.1:{api.port}" }
  after = ["api"]                              # starts when that is ready

  [process.client]
  run = "npm run generate"
  once = true                                  # ends; again whenever `api` is new
  after = ["api"]

  [check]
  run = ["make lint", "make test"]             # `lakebase dev check`: all of them

  [build]
  run = ["make", "make package"]               # `lakebase dev build`: up to the first that fails

Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  nothing runs in this worktree
  4  no lakebase.dev.toml here, or it is wrong
  5  not everything is ready"#;

/// Runs this worktree's processes in the background, on ports that no other worktree has.
#[derive(Debug, Parser)]
#[command(name = "lakebase dev", bin_name = "lakebase dev", version, after_help = MORE)]
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
    /// Start the processes, wait until they answer, and print the URL
    Start(start::Args),
    /// End all processes
    Stop,
    /// Stop and start again, or one process alone
    Restart(restart::Args),
    /// Show each process: its state, pid, port and URL
    Status,
    /// Show what the processes said
    Logs(logs::Args),
    /// Run all commands of `[check]`, and tell which failed
    Check,
    /// Run the commands of `[build]`, up to the first that fails
    Build,
    /// Hold the processes of a worktree: what `start` starts
    #[command(hide = true)]
    Supervise,
}

/// Runs the command line and returns its exit code.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = Cli::parse_from(args);
    if cli.no_color {
        terminal::without_colour();
    }
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn dispatch(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Start(args) => start::run(args, cli.json),
        Command::Stop => stop::run(cli.json),
        Command::Restart(args) => restart::run(args, cli.json),
        Command::Status => status::run(cli.json),
        Command::Logs(args) => logs::run(args, cli.json),
        Command::Check => list::check(cli.json),
        Command::Build => list::build(cli.json),
        Command::Supervise => start::supervise(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_make_sense_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_file_in_the_help_is_right() {
        let text = MORE.split_once("processes:\n").expect("it begins").1;
        let text = text.split_once("Exit codes").expect("it ends").0;
        crate::file::parse(text).expect("it is right");
    }
}
