//! Where the log goes: a file a day below the state directory, and standard error when asked for.

use anyhow::Context;
use lakebased::config::Config;
use lakebased::socket;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How many days are kept.
const DAYS: usize = 7;

/// Starts logging. What is still unwritten is written when the guard is dropped.
///
/// # Errors
/// When the directory cannot be made, or the filter is not one.
pub(crate) fn init(config: &Config) -> anyhow::Result<WorkerGuard> {
    let filter = filter(&config.log)?;
    let dir = config.state_dir.join("log");
    socket::private_dir(&config.state_dir)?;
    socket::private_dir(&dir)?;
    let file = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("lakebased")
        .filename_suffix("log")
        .max_log_files(DAYS)
        .build(&dir)
        .with_context(|| format!("cannot log to `{}`", dir.display()))?;
    let (file, guard) = tracing_appender::non_blocking(file);
    let to_file = tracing_subscriber::fmt::layer()
        .with_writer(file)
        .with_ansi(false);
    let to_stderr = config
        .log_stderr
        .then(|| tracing_subscriber::fmt::layer().with_writer(std::io::stderr));
    tracing_subscriber::registry()
        .with(filter)
        .with(to_file)
        .with(to_stderr)
        .init();
    Ok(guard)
}

/// Logs to standard error alone, for what runs in the foreground.
///
/// # Errors
/// When the filter is not one.
pub(crate) fn to_stderr(log: &str) -> anyhow::Result<()> {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(filter(log)?)
        .with(layer)
        .init();
    Ok(())
}

fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    text.parse()
        .with_context(|| format!("cannot read log filter `{text}`"))
}
