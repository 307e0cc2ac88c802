//! The store's program: arguments, logs, run, exit code. Decides nothing.

use clap::Parser;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use store_app::RunError;
use store_app::config::{Cli, Command};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Every answer is made of pieces that live as long as it does; this one keeps them at hand for the next.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    match run(Cli::parse().command()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(fix) = error.downcast_ref().and_then(RunError::fix) {
                eprintln!("hint: {fix}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    match command {
        Command::Serve(args) => Ok(store_app::serve(args.try_into()?, announce, stop).await?),
        Command::Migrate(args) => Ok(store_app::migrate(args.database.try_into()?, args.source, stop).await?),
        Command::Openapi => Ok(io::stdout().write_all(store_app::openapi()?.as_bytes())?),
    }
}

/// Tells scripts where the store listens. A closed stdout is no reason not to serve.
fn announce(addr: std::net::SocketAddr) {
    if let Err(error) = writeln!(io::stdout(), "listening on http://{addr}") {
        tracing::warn!(%error, "cannot write to stdout");
    }
}

/// Returns a token that is cancelled by the first SIGTERM or SIGINT; a second one ends the process at once.
fn stop_on_signal() -> io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        cancel.cancel();
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(130);
    });
    Ok(stop)
}
