//! Where the credential comes from: the daemon; if that has nothing to do with this worktree the workspace of a deployed
//! app, else the environment. Decides the order and nothing more.

use crate::config::Source;
use crate::credential::{Credential, Malformed};
use crate::daemon::{Daemon, DaemonError, Updates};
use crate::workspace::{MintError, Unusable, Workspace};
use lakebase_proto::SocketPathError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum NoCredential {
    /// No source has one.
    #[error("cannot find a database: lakebased gave none, and the environment names none")]
    Nowhere(#[source] DaemonError),
    /// The daemon has this worktree in hand, and no branch for it. What the environment names may be another's.
    #[error("cannot use the branch of this worktree")]
    Branch(#[source] DaemonError),
    /// The environment names a database of a workspace in a way that cannot be understood.
    #[error(transparent)]
    Workspace(#[from] Unusable),
    /// The workspace gave none.
    #[error("cannot get a credential from the workspace")]
    Refused(#[source] MintError),
    /// The environment names a database in a way that cannot be understood.
    #[error("cannot use the environment")]
    Environment(#[source] Malformed),
}

impl NoCredential {
    /// Returns what a person should try.
    pub fn fix(&self) -> String {
        match self {
            Self::Nowhere(daemon) => format!("{}, or set DATABASE_URL", daemon.fix()),
            Self::Branch(daemon) => daemon.fix(),
            Self::Workspace(unusable) => unusable.fix(),
            Self::Refused(_) => {
                "check the rights of the app's service principal on the Lakebase project".to_owned()
            }
            Self::Environment(_) => "correct DATABASE_URL or the PG* variables".to_owned(),
        }
    }
}

/// What those who use the credential see of its source, and tell it.
#[derive(Debug, Clone)]
pub(crate) struct News {
    /// The newest credential; `None` while there is none.
    pub(crate) credentials: watch::Receiver<Option<Arc<Credential>>>,
    /// What keeps the source from a newer one, in words for people.
    pub(crate) trouble: watch::Receiver<Option<String>>,
    /// To be woken when the database refuses the newest one.
    pub(crate) refused: Arc<Notify>,
}

/// The source's side of [`News`].
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) credentials: watch::Sender<Option<Arc<Credential>>>,
    pub(crate) trouble: watch::Sender<Option<String>>,
    pub(crate) refused: Arc<Notify>,
}

impl Desk {
    /// Returns the newest credential, once there is one and whenever it changes.
    pub(crate) fn news(&self) -> News {
        News {
            credentials: self.credentials.subscribe(),
            trouble: self.trouble.subscribe(),
            refused: Arc::clone(&self.refused),
        }
    }
}

/// A credential that changes.
#[derive(Debug)]
pub(crate) struct Feed {
    desk: Desk,
    giver: Giver,
}

#[derive(Debug)]
enum Giver {
    Daemon(Daemon, Updates),
    Workspace(Workspace),
    Environment,
}

impl Feed {
    /// Returns a credential for one use.
    ///
    /// # Errors
    /// [`NoCredential::Refused`] when the workspace gives none; the other sources have given theirs.
    pub(crate) async fn once(&self) -> Result<Arc<Credential>, NoCredential> {
        let known = self.desk.credentials.borrow().clone();
        match (known, &self.giver) {
            (None, Giver::Workspace(workspace)) => {
                let minted = workspace.mint().await.map_err(NoCredential::Refused)?;
                Ok(Arc::new(minted.credential))
            }
            (known, _) => Ok(known.expect("the daemon and the environment give theirs at once")),
        }
    }

    /// Keeps the credential up to date until `stop`. One from the environment never changes: a store that began without
    /// the daemon does not move to another database when the daemon appears.
    pub(crate) async fn run(self, stop: CancellationToken) {
        match self.giver {
            Giver::Daemon(daemon, updates) => daemon.follow(updates, self.desk, stop).await,
            Giver::Workspace(workspace) => {
                stop.run_until_cancelled(workspace.follow(&self.desk)).await;
            }
            Giver::Environment => stop.cancelled().await,
        }
    }
}

/// Finds the source, and its first credential unless that takes the workspace: a deployed app answers before that.
///
/// # Errors
/// [`NoCredential`] when no source has one.
pub(crate) async fn open(source: Source, desk: Desk) -> Result<Feed, NoCredential> {
    let asked = ask_daemon(source.socket, source.worktree, source.daemon_wait, &desk.trouble).await;
    desk.trouble.send_replace(None);
    let unanswered = match asked {
        Ok((credential, daemon, updates)) => {
            info!(?credential, "connected through lakebased");
            return Ok(feed(desk, Some(credential), Giver::Daemon(daemon, updates)));
        }
        Err(error) if error.leaves_the_choice() => error,
        Err(error) => return Err(NoCredential::Branch(error)),
    };
    if let Some(oauth) = source.oauth {
        let workspace = Workspace::new(oauth)?;
        info!(?workspace, "signing in to the workspace");
        return Ok(feed(desk, None, Giver::Workspace(workspace)));
    }
    info!(error = %unanswered, "looking at the environment instead");
    let found = Credential::from_environment(&source.environment).map_err(NoCredential::Environment)?;
    let credential = found.ok_or(NoCredential::Nowhere(unanswered))?;
    info!(?credential, "found in the environment");
    Ok(feed(desk, Some(credential), Giver::Environment))
}

async fn ask_daemon(
    socket: Result<PathBuf, SocketPathError>,
    worktree: PathBuf,
    wait: Duration,
    trouble: &watch::Sender<Option<String>>,
) -> Result<(Credential, Daemon, Updates), DaemonError> {
    if wait.is_zero() {
        return Err(DaemonError::NotAsked);
    }
    let daemon = Daemon {
        socket: socket.map_err(DaemonError::NoSocket)?,
        worktree,
    };
    let (credential, updates) = daemon.first(wait, trouble).await?;
    Ok((credential, daemon, updates))
}

fn feed(desk: Desk, first: Option<Credential>, giver: Giver) -> Feed {
    if let Some(first) = first {
        desk.credentials.send_replace(Some(Arc::new(first)));
    }
    Feed { desk, giver }
}
