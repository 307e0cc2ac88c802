//! The binary: logs, configuration, run, exit code.

use anyhow::Context;
use clap::Parser;
use lakebased::config::{Args, Command, Config, Local};
use lakebased::hardening;
use lakebased::socket::SocketError;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

mod command {
    pub(crate) mod recover_local;
}
mod local;
mod logs;
mod signals;
mod store;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long work that hangs on a dead disk may hold the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run());
    runtime.shutdown_timeout(LAST_WAIT);
    code
}

async fn run() -> ExitCode {
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
    hardening::harden().context("cannot harden the process")?;
    let stop = CancellationToken::new();
    match config.command {
        Some(Command::Local(Local::Serve { listen })) => {
            logs::to_stderr(&config.log)?;
            signals::watch(stop.clone())?;
            return local::serve(config.local, listen, stop).await;
        }
        Some(Command::Local(Local::Recover(args))) => {
            logs::to_stderr(&config.log)?;
            return command::recover_local::recover(&config.local.data_dir, &args).await;
        }
        Some(Command::Local(Local::SetupStore(args))) => return store::set_up(&config.local.data_dir, &args),
        None => {}
    }
    let _writing = logs::init(&config)?;
    signals::watch(stop.clone())?;
    lakebased::run(config, stop)
        .await
        .inspect_err(|error| tracing::error!("{error:#}"))
}
