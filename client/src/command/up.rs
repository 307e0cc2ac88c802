//! `lakebase up`: starts the daemon and waits until it answers.

use crate::connect::{Session, nobody_listens};
use crate::daemon::{self, Started};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::terminal::{self, Output};
use crate::text::plain;
use crate::words;
use lakebase_proto::v1::LocalState;
use std::io;
use std::os::unix::process::CommandExt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(20);
/// One that runs already has no such excuse.
const PROMPT: Duration = Duration::from_secs(5);
/// Limit on the exit of a daemon that was killed or is shutting down.
const EXITING: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stay in the foreground and log to the terminal; Ctrl-C stops the daemon
    #[arg(long)]
    foreground: bool,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    if let Some(session) = running().await? {
        let session = settled(session).await?;
        return tell(output, &session, "is running already");
    }
    if args.foreground {
        let error = daemon::command().arg("--log-stderr").exec();
        return Err(cannot_start(error).into());
    }
    terminal::progress("starting lakebased ...");
    let mut started = daemon::start().map_err(cannot_start)?;
    let session = settled(answering(&mut started).await?).await?;
    tell(output, &session, "is running")
}

/// Returns a session with the daemon, if one runs. One that was just killed, or is shutting down, still accepts connections
/// for a moment and breaks them.
async fn running() -> Result<Option<Session>, Failure> {
    let deadline = Instant::now() + EXITING;
    while !nobody_listens().await? {
        match Session::try_open(PROMPT).await {
            Ok(session) => return Ok(Some(session)),
            Err(failure) if failure.is_not_running() && Instant::now() < deadline => sleep(LOOK).await,
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

/// Waits until Local Lakebase has started, or cannot be.
async fn settled(mut session: Session) -> anyhow::Result<Session> {
    let deadline = Instant::now() + PATIENCE;
    while session.info.local_state() == LocalState::Starting && Instant::now() < deadline {
        sleep(LOOK).await;
        session.refresh().await?;
    }
    Ok(session)
}

fn cannot_start(error: io::Error) -> Failure {
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    let hint = "install `lakebased` into the directory of `lakebase`, or into one on PATH";
    let failure = Failure::new(Exit::Failed, "cannot start `lakebased`").source(error);
    if is_missing { failure.hint(hint) } else { failure }
}

/// Waits until the daemon answers, or has ended.
async fn answering(started: &mut Started) -> anyhow::Result<Session> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match started.exited()? {
            Some(status) if !status.success() => return Err(ended(started, &status.to_string()).into()),
            // The other daemon that it found was exiting.
            Some(_) if nobody_listens().await? => *started = daemon::start().map_err(cannot_start)?,
            Some(_) | None => {}
        }
        match Session::try_open(PATIENCE).await {
            Ok(session) => return Ok(session),
            Err(failure) if Instant::now() >= deadline => {
                show(&started.last_words());
                return Err(failure.into());
            }
            Err(_) => sleep(LOOK).await,
        }
    }
}

fn ended(started: &mut Started, death: &str) -> Failure {
    show(&started.last_words());
    let failure = Failure::new(
        Exit::Failed,
        format!("lakebased ended before it answered: {death}"),
    );
    match daemon::log_dir() {
        Some(dir) => failure.hint(format!("its log is in `{}`", dir.display())),
        None => failure,
    }
}

fn show(lines: &[String]) {
    for line in lines {
        terminal::progress(&format!("  | {}", plain(line)));
    }
}

fn tell(output: Output, session: &Session, how: &str) -> anyhow::Result<()> {
    let info = &session.info;
    if output.is_json() {
        terminal::print_json(&json::Daemon::from(info))?;
        return Ok(session.check()?);
    }
    terminal::print(format!(
        "lakebased {how} (version {}, pid {})",
        plain(&info.version),
        info.pid
    ))?;
    // Where it is refused, its problem is the first, and the error that this command ends with.
    let refused = usize::from(info.local_state() == LocalState::Refused);
    for problem in info.problems.iter().skip(refused) {
        for line in words::problem(problem) {
            terminal::warn(&plain(&line));
        }
    }
    Ok(session.check()?)
}
