//! How long git's post-checkout hook takes beside `/bin/true`, from spawn to exit, in three states of the daemon. Run it with
//! `scripts/bench hook`.

#![expect(clippy::print_stdout, reason = "the figures are its answer")]

#[path = "../../tests/it/fake.rs"]
#[expect(dead_code, reason = "the bench needs less of it than the tests")]
mod fake;
mod figures;
mod server;

use anyhow::{Context, ensure};
use clap::Parser;
use figures::Figures;
use server::Server;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Measures the post-checkout hook beside `/bin/true`.
///
/// Which daemon answers: the one at `LAKEBASE_SOCKET`, which must have the working directory's branch ready; else a scratch
/// one of `--daemon`; else a small fake of this program.
#[derive(Debug, Parser)]
struct Args {
    /// The hook to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_lakebase-hook"))]
    hook: PathBuf,
    /// Start this `lakebased` in a scratch directory
    #[arg(long)]
    daemon: Option<PathBuf>,
    /// Use the fake, whatever else there is
    #[arg(long)]
    fake: bool,
    /// Only show that it works: few runs
    #[arg(long)]
    quick: bool,
    /// How often each program runs
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// Be the fake: its socket and its repository
    #[arg(long, num_args = 2, hide = true)]
    serve: Option<Vec<PathBuf>>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if args.quick {
        args.count = 100;
    }
    if let Some([socket, root]) = args.serve.as_deref() {
        return server::be_fake(socket, root);
    }
    let server = Server::choose(args.fake, args.daemon.as_deref())?;
    println!("hook    {}", args.hook.display());
    println!("daemon  {}", server.describe());
    let hook = Hook {
        program: args.hook.canonicalize().context("no such hook")?,
        cwd: server.root().to_owned(),
    };
    let ready = hook.case(server.socket(), "", args.count)?;
    ready.print("branch ready");
    let nobody = server.root().join("no.sock");
    let absent = hook.case(&nobody, "lakebase: daemon is not running", args.count)?;
    absent.print("daemon absent");
    match server.stopped() {
        None => println!("daemon stopped: left out, as this daemon is not ours to stop"),
        Some(_stopped) => {
            // Each run takes the hook's whole patience.
            let stopped = hook.case(
                server.socket(),
                "lakebase: daemon does not answer",
                args.count / 100,
            )?;
            stopped.print("daemon stopped (SIGSTOP)");
        }
    }
    Ok(())
}

struct Hook {
    program: PathBuf,
    cwd: PathBuf,
}

impl Hook {
    /// Measures one state, after a look that it is this state.
    fn case(&self, socket: &Path, line: &str, count: usize) -> anyhow::Result<Figures> {
        let said = self.command(socket).stderr(Stdio::piped()).output()?.stderr;
        let said = String::from_utf8_lossy(&said);
        ensure!(
            said.starts_with(line) && said.is_empty() == line.is_empty(),
            "the hook said `{}`, not `{line}`",
            said.trim_end()
        );
        let mut figures = Figures::default();
        for _ in 0..count.max(1) {
            figures
                .bare
                .push(timed(Command::new("/bin/true").current_dir(&self.cwd))?);
            figures.hook.push(timed(&mut self.command(socket))?);
        }
        Ok(figures)
    }

    fn command(&self, socket: &Path) -> Command {
        let mut command = Command::new(&self.program);
        let [previous, new] = ["1", "2"].map(|digit| digit.repeat(40));
        command
            .args([previous.as_str(), new.as_str(), "1"])
            .current_dir(&self.cwd)
            .env("LAKEBASE_SOCKET", socket)
            .env_remove("LAKEBASE_HOOK_WAIT")
            .env_remove("GIT_DIR");
        command
    }
}

fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.stderr(Stdio::null()).status()?;
    let took = begun.elapsed();
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(took)
}
