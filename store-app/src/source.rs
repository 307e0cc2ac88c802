//! Where the credential comes from: the daemon, else the environment. Decides the order and nothing more.

use crate::config::Source;
use crate::credential::{Credential, Malformed};
use crate::daemon::{Daemon, DaemonError, Updates};
use lakebase_proto::SocketPathError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum NoCredential {
    /// Neither source has one.
    #[error("cannot find a database: lakebased gave none, and the environment names none")]
    Nowhere(#[source] DaemonError),
    /// The environment names a database in a way that cannot be understood.
    #[error("cannot use the environment")]
    Environment(#[source] Malformed),
}

impl NoCredential {
    /// Returns what a person should try.
    pub fn fix(&self) -> String {
        match self {
            Self::Nowhere(daemon) => format!("{}, or set DATABASE_URL", daemon.fix()),
            Self::Environment(_) => "correct DATABASE_URL or the PG* variables".to_owned(),
        }
    }
}

/// A credential that changes.
#[derive(Debug)]
pub(crate) struct Feed {
    credentials: watch::Sender<Arc<Credential>>,
    daemon: Option<(Daemon, Updates)>,
}

impl Feed {
    /// Returns the newest credential, now and whenever it changes.
    pub(crate) fn credentials(&self) -> watch::Receiver<Arc<Credential>> {
        self.credentials.subscribe()
    }

    /// Keeps the credential up to date until `stop`. One from the environment never changes: a store that began without
    /// the daemon does not move to another database when the daemon appears.
    pub(crate) async fn run(self, stop: CancellationToken) {
        match self.daemon {
            Some((daemon, updates)) => daemon.follow(updates, self.credentials, stop).await,
            None => stop.cancelled().await,
        }
    }
}

/// Finds the first credential.
///
/// # Errors
/// [`NoCredential`] when neither the daemon nor the environment has one.
pub(crate) async fn open(source: Source) -> Result<Feed, NoCredential> {
    let unanswered = match ask_daemon(source.socket, source.worktree, source.daemon_wait).await {
        Ok((credential, daemon, updates)) => {
            info!(?credential, "connected through lakebased");
            return Ok(feed(credential, Some((daemon, updates))));
        }
        Err(error) => error,
    };
    info!(error = %unanswered, "looking at the environment instead");
    let found = Credential::from_environment(&source.environment).map_err(NoCredential::Environment)?;
    let credential = found.ok_or(NoCredential::Nowhere(unanswered))?;
    info!(?credential, "found in the environment");
    Ok(feed(credential, None))
}

async fn ask_daemon(
    socket: Result<PathBuf, SocketPathError>,
    worktree: PathBuf,
    wait: Duration,
) -> Result<(Credential, Daemon, Updates), DaemonError> {
    if wait.is_zero() {
        return Err(DaemonError::NotAsked);
    }
    let daemon = Daemon {
        socket: socket.map_err(DaemonError::NoSocket)?,
        worktree,
    };
    let (credential, updates) = daemon.first(wait).await?;
    Ok((credential, daemon, updates))
}

fn feed(credential: Credential, daemon: Option<(Daemon, Updates)>) -> Feed {
    Feed {
        credentials: watch::Sender::new(Arc::new(credential)),
        daemon,
    }
}
