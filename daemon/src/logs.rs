//! Where the log goes: files of a bounded size below the state directory, and standard error when asked for.

mod files;
mod lines;

use self::files::Files;
use self::lines::{Lines, Plain};
use anyhow::Context;
use lakebased::config::Config;
use lakebased::socket;
use std::io::{self, Write};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging. What is still unwritten is written when the guard is dropped.
///
/// # Errors
/// When the directory cannot be made, or the filter is not one.
pub(crate) fn init(config: &Config) -> anyhow::Result<WorkerGuard> {
    let filter = filter(&config.log)?;
    let dir = config.state_dir.join("log");
    socket::state_dir(&config.state_dir)?;
    socket::private_dir(&dir)?;
    let files = Files::open(&dir).with_context(|| format!("cannot log to `{}`", dir.display()))?;
    let (file, guard) = tracing_appender::non_blocking(Lines::new(files));
    let to_file = tracing_subscriber::fmt::layer()
        .with_writer(file)
        .with_ansi(false);
    // Layers share the fields of a span as the first of them wrote them, and `Plain` escapes what colours a line: so no layer
    // writes colour.
    let to_stderr = config.log_stderr.then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(stderr)
            .with_ansi(false)
    });
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
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(false);
    tracing_subscriber::registry()
        .with(filter(log)?)
        .with(layer)
        .init();
    Ok(())
}

/// Standard error, whose reader may go away: that is no reason to end.
fn stderr() -> Plain<Forgiving> {
    Plain(Forgiving)
}

/// Writes to standard error as far as somebody reads it.
#[derive(Debug)]
struct Forgiving;

impl Write for Forgiving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        drop(io::stderr().flush());
        Ok(())
    }
}

fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    // It tells of each file event, also of those of the log itself: without end, if that is in a directory that is watched.
    let quiet = if text.contains("notify") {
        ""
    } else {
        ",notify=error"
    };
    format!("{text}{quiet}")
        .parse()
        .with_context(|| format!("cannot read log filter `{text}`"))
}
