//! `lakebase down`: asks the daemon to end, and waits until it has.

use crate::connect::{Session, nobody_listens};
use crate::daemon;
use crate::failure::{Exit, Failure};
use crate::terminal::{self, Output};
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The daemon finishes what it is doing first.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Serialize)]
struct Stopped {
    was_running: bool,
    pid: Option<i32>,
}

pub(crate) async fn run(output: Output) -> anyhow::Result<()> {
    if nobody_listens().await? {
        return tell(output, None);
    }
    let session = Session::try_open(PATIENCE).await?;
    let pid = session.info.pid;
    session.shutdown().await?;
    gone(pid).await?;
    tell(output, Some(pid))
}

/// Waits until nobody listens and the process is gone: then another can be started.
async fn gone(pid: i32) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if nobody_listens().await? && !daemon::is_alive(pid) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let text = format!(
                "lakebased (pid {pid}) has not ended within {} s",
                PATIENCE.as_secs()
            );
            return Err(Failure::new(Exit::Failed, text)
                .hint("its log says what it waits for")
                .into());
        }
        sleep(LOOK).await;
    }
}

fn tell(output: Output, pid: Option<i32>) -> anyhow::Result<()> {
    let was_running = pid.is_some();
    if output.is_json() {
        return Ok(terminal::print_json(&Stopped { was_running, pid })?);
    }
    match pid {
        Some(pid) => terminal::print(format!("lakebased stopped (pid {pid})"))?,
        None => terminal::print("lakebased is not running")?,
    }
    Ok(())
}
