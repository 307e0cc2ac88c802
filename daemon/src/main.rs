//! The binary: logs, configuration, run, exit code.

use clap::Parser;
use lakebased::config::{Args, Command, Config, Local};
use lakebased::socket::SocketError;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

mod local;
mod logs;
mod signals;

#[tokio::main]
async fn main() -> ExitCode {
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(SocketError::AlreadyRunning)) => {
            eprintln!("{error}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> anyhow::Result<()> {
    let config = Config::load(Args::parse())?;
    let stop = CancellationToken::new();
    if let Some(Command::Local(Local::Serve { listen })) = config.command {
        logs::to_stderr(&config.log)?;
        signals::watch(stop.clone())?;
        return local::serve(config.local, listen, stop).await;
    }
    let _writing = logs::init(&config)?;
    signals::watch(stop.clone())?;
    lakebased::run(config, stop)
        .await
        .inspect_err(|error| tracing::error!("{error:#}"))
}
