//! Calls on a socket: how many in a second, how long each, and a thousand clients at once.

use crate::rig::bytes;
use lakebase_proto::{Client, connect, v1};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Calls for a while with so many in flight on one connection; returns how long each took.
pub(crate) async fn storm(
    socket: &Path,
    path: &Path,
    in_flight: usize,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let client = connect(socket, Duration::from_secs(10)).await?;
    let until = Instant::now() + time;
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        let (mut client, path) = (client.clone(), bytes(path));
        callers.spawn(async move {
            let mut took = vec![];
            while Instant::now() < until {
                let begun = Instant::now();
                ask(&mut client, path.clone()).await?;
                took.push(begun.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    let mut all = vec![];
    while let Some(took) = callers.join_next().await {
        all.extend(took??);
    }
    Ok(all)
}

/// So many clients at once, each with a connection of its own and one question; returns when the last is answered.
pub(crate) async fn crowd(socket: &Path, path: &Path, clients: usize) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..clients {
        let (socket, path) = (socket.to_owned(), bytes(path));
        callers.spawn(async move {
            let mut client = connect(&socket, Duration::from_mins(1)).await?;
            ask(&mut client, path).await
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(begun.elapsed())
}

async fn ask(client: &mut Client, path: Vec<u8>) -> anyhow::Result<()> {
    let request = v1::GetCredentialRequest { path, rotate: false };
    client.get_credential(request).await?;
    Ok(())
}

/// The time that all but one in a hundred keep.
pub(crate) fn p99(took: &[Duration]) -> Duration {
    let mut took = took.to_vec();
    took.sort();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}
