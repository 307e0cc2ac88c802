//! Which session a cancel key belongs to. PostgreSQL gives each session a key; whoever shows it may stop what that
//! session does, and nobody else.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::startup::{self, CancelKey};

const PATIENCE: Duration = Duration::from_secs(5);

/// The keys of all open sessions. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct CancelKeys {
    sockets: Arc<Mutex<HashMap<CancelKey, PathBuf>>>,
}

/// Keeps a key known for as long as its session is open.
#[derive(Debug)]
pub(super) struct Known {
    keys: CancelKeys,
    key: CancelKey,
}

impl CancelKeys {
    /// Remembers the socket of the compute that gave this key.
    pub(super) fn remember(&self, key: CancelKey, socket: &Path) -> Known {
        self.with(|sockets| sockets.insert(key.clone(), socket.to_owned()));
        Known {
            keys: self.clone(),
            key,
        }
    }

    /// Passes a cancel request on to the compute that gave its key; an unknown key is ignored.
    pub(super) async fn cancel(&self, key: &CancelKey) {
        let Some(socket) = self.with(|sockets| sockets.get(key).cloned()) else {
            return;
        };
        if let Err(error) = tokio::time::timeout(PATIENCE, send(&socket, key)).await {
            tracing::debug!(%error, "a compute did not take a cancel request in time");
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<CancelKey, PathBuf>) -> T) -> T {
        act(&mut self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.keys.with(|sockets| sockets.remove(&self.key));
    }
}

/// PostgreSQL answers nothing and closes; waiting for that keeps the order a client relies on.
async fn send(socket: &Path, key: &CancelKey) {
    let Ok(mut stream) = UnixStream::connect(socket).await else {
        return;
    };
    if stream.write_all(&startup::cancel(key)).await.is_ok() {
        let mut end = [0; 1];
        let closed = stream.read(&mut end).await;
        tracing::trace!(?closed, "cancel request passed on");
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn pg_04_a_key_reaches_the_compute_that_gave_it_while_its_session_lives() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let compute = UnixListener::bind(&socket).unwrap();
        let keys = CancelKeys::default();
        let key = CancelKey(vec![0, 0, 0, 7, 1, 2, 3, 4]);
        let known = keys.remember(key.clone(), &socket);
        let asked = async {
            let (mut stream, _) = compute.accept().await.unwrap();
            let mut packet = [0; 16];
            stream.read_exact(&mut packet).await.unwrap();
            packet
        };
        let ((), packet) = tokio::join!(keys.cancel(&key), asked);
        assert_eq!(packet.to_vec(), startup::cancel(&key));
        drop(known);
        assert!(keys.with(|sockets| sockets.is_empty()));
        keys.cancel(&key).await;
    }
}
