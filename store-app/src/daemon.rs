//! Asks the daemon for this worktree's credential and follows its changes. The only user of the socket; knows nothing of
//! pools and SQL, and starts no daemon.

use crate::credential::{Credential, Malformed};
use crate::source::Desk;
use lakebase_proto::v1::{self, GetCredentialRequest, WatchCredentialRequest};
use lakebase_proto::{Client, ConnectError, Reason, SocketPathError, connect, fix_of, reason_of};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

/// How long to try one connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// The pause after the first failure, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause. The socket is on this machine: looking is cheap, and a person may be waiting.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why the daemon gave no credential.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// It was not asked.
    #[error("lakebased was not asked")]
    NotAsked,
    /// It is not known where its socket would be.
    #[error("cannot look for lakebased")]
    NoSocket(#[source] SocketPathError),
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It said no. The text is the daemon's.
    #[error("lakebased says: {}", .0.message())]
    Refused(Box<Status>),
    /// It hung up.
    #[error("lakebased ended the stream")]
    Ended,
    /// It said something that cannot be used.
    #[error("cannot use what lakebased said")]
    Malformed(#[from] Malformed),
    /// It kept silent: the branch is not ready yet.
    #[error("lakebased has no branch ready for `{}` in time", .0.display())]
    TimedOut(PathBuf),
}

impl From<Status> for DaemonError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl DaemonError {
    /// Returns what a person should try.
    pub fn fix(&self) -> String {
        let told = match self {
            Self::Refused(status) => fix_of(status),
            _ => None,
        };
        told.unwrap_or_else(|| self.own_fix().to_owned())
    }

    fn own_fix(&self) -> &'static str {
        if self.leaves_the_choice() {
            return "start the daemon with `lakebase up` and register this repository with `lakebase init`";
        }
        match self {
            Self::Refused(status) if reason_of(status) == Some(Reason::NotARepository) => {
                "run it in a worktree, or with `--daemon-wait 0s` to take what the environment names"
            }
            _ => "`lakebase why` tells what hinders the branch, `lakebase doctor` what hinders the daemon",
        }
    }

    /// Returns whether another database may serve: nobody has a branch for this worktree. A daemon that has one, or could
    /// not look, has the last word: what the environment names may be the branch of the worktree that it was set in.
    pub(crate) fn leaves_the_choice(&self) -> bool {
        match self {
            Self::NotAsked | Self::NoSocket(_) | Self::Connect(ConnectError::NotRunning(_)) => true,
            Self::Refused(status) => reason_of(status) == Some(Reason::NotRegistered),
            Self::Connect(_) | Self::Ended | Self::Malformed(_) | Self::TimedOut(_) => false,
        }
    }

    /// Returns whether the last credential is no longer the worktree's: another git branch is checked out, for which there is
    /// no branch. Said on a stream only.
    fn takes_back(&self) -> bool {
        let Self::Refused(status) = self else {
            return false;
        };
        matches!(
            reason_of(status),
            Some(Reason::Blocked | Reason::NotReady | Reason::NotConfigured)
        )
    }

    /// Returns whether waiting can help; otherwise a person must do something first.
    fn may_pass(&self) -> bool {
        match self {
            Self::NotAsked | Self::NoSocket(_) | Self::Connect(ConnectError::ForeignServer { .. }) => false,
            Self::Connect(_) | Self::Ended | Self::Malformed(_) | Self::TimedOut(_) => true,
            Self::Refused(status) => match reason_of(status) {
                // A worktree that was added this instant is seen by the daemon in the next.
                Some(
                    Reason::NotAWorktree
                    | Reason::NotReady
                    | Reason::ShuttingDown
                    | Reason::Refused
                    | Reason::Internal,
                ) => true,
                Some(
                    Reason::NotARepository | Reason::NotRegistered | Reason::NotConfigured | Reason::Blocked,
                ) => false,
                None => !matches!(
                    status.code(),
                    Code::NotFound | Code::Unimplemented | Code::PermissionDenied | Code::InvalidArgument
                ),
            },
        }
    }
}

/// What the daemon says from now on.
pub(crate) type Updates = Streaming<v1::Credential>;

/// Asks for the credential of one worktree.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// For which worktree.
    pub(crate) worktree: PathBuf,
}

impl Daemon {
    /// Returns the first credential and the stream of later ones, trying again for as long as `wait`. What is waited for
    /// becomes the `trouble`.
    pub(crate) async fn first(
        &self,
        wait: Duration,
        trouble: &watch::Sender<Option<String>>,
    ) -> Result<(Credential, Updates), DaemonError> {
        info!(worktree = %self.worktree.display(), socket = %self.socket.display(), "waiting up to {wait:?} for lakebased and the branch");
        let deadline = Instant::now() + wait;
        let mut last = DaemonError::TimedOut(self.worktree.clone());
        trouble.send_replace(Some("waiting for lakebased and the branch".to_owned()));
        let mut pause = FIRST_PAUSE;
        loop {
            match timeout_at(deadline, self.attempt(&mut last)).await {
                Err(_) => return Err(last),
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) if !error.may_pass() => return Err(error),
                Ok(Err(error)) => last = noted(error, &last, trouble),
            }
            if timeout_at(deadline, sleep(pause)).await.is_err() {
                return Err(last);
            }
            pause = longer(pause);
        }
    }

    /// Asks once. `last` is why the attempt before this one failed.
    async fn attempt(&self, last: &mut DaemonError) -> Result<(Credential, Updates), DaemonError> {
        let mut client = self.reach().await?;
        // Whoever is there now is no longer away.
        if let DaemonError::Connect(_) = last {
            *last = DaemonError::TimedOut(self.worktree.clone());
        }
        // A stream is silent until there is a branch; this call says what keeps it.
        let (path, rotate) = (self.path(), false);
        client
            .get_credential(GetCredentialRequest { path, rotate })
            .await?;
        let mut updates = self.subscribe(client).await?;
        let message = updates.message().await?.ok_or(DaemonError::Ended)?;
        Ok((message.try_into()?, updates))
    }

    async fn reach(&self) -> Result<Client, DaemonError> {
        Ok(connect(&self.socket, CONNECT_PATIENCE).await?)
    }

    async fn subscribe(&self, mut client: Client) -> Result<Updates, DaemonError> {
        let request = WatchCredentialRequest { path: self.path() };
        Ok(client.watch_credential(request).await?.into_inner())
    }

    async fn resubscribe(&self) -> Result<Updates, DaemonError> {
        self.subscribe(self.reach().await?).await
    }

    fn path(&self) -> Vec<u8> {
        self.worktree.as_os_str().as_bytes().to_vec()
    }

    /// Publishes each credential until `stop`. When the daemon goes away, the last one stands, and it is looked for again;
    /// when it takes the last one back, there is none until the next.
    pub(crate) async fn follow(self, updates: Updates, desk: Desk, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow_for_ever(updates, &desk))
            .await;
        debug!("stopped following lakebased");
    }

    async fn follow_for_ever(&self, updates: Updates, desk: &Desk) {
        let mut stream = Some(updates);
        let mut pause = FIRST_PAUSE;
        loop {
            let updates = match stream.take() {
                Some(updates) => Ok(updates),
                None => self.resubscribe().await,
            };
            let (relayed, error) = match updates {
                Ok(updates) => relay(updates, desk).await,
                Err(error) => (false, error),
            };
            if error.takes_back() {
                warn!(%error, "left the branch; waiting for another");
                desk.trouble.send_replace(Some(error.to_string()));
                desk.credentials.send_replace(None);
                pause = FIRST_PAUSE;
            } else if relayed {
                warn!(%error, "lost lakebased; going on with the last credential");
                pause = FIRST_PAUSE;
            } else {
                debug!(%error, "lakebased is still away");
            }
            sleep(pause).await;
            pause = longer(pause);
        }
    }
}

/// Publishes what comes in until the stream breaks. Returns whether anything came, and why it broke.
async fn relay(mut updates: Updates, desk: &Desk) -> (bool, DaemonError) {
    let mut relayed = false;
    loop {
        match updates.message().await {
            Ok(Some(message)) => {
                relayed = true;
                publish(message, desk);
            }
            Ok(None) => return (relayed, DaemonError::Ended),
            Err(status) => return (relayed, status.into()),
        }
    }
}

fn publish(message: v1::Credential, desk: &Desk) {
    match Credential::try_from(message) {
        Ok(credential) => {
            info!(?credential, "new credential");
            desk.credentials.send_replace(Some(Arc::new(credential)));
            desk.trouble.send_replace(None);
        }
        Err(error) => warn!(%error, "cannot use what lakebased said; going on with the last credential"),
    }
}

/// Says what is being waited for, once for each new reason.
fn noted(error: DaemonError, last: &DaemonError, trouble: &watch::Sender<Option<String>>) -> DaemonError {
    let why = error.to_string();
    if why != last.to_string() {
        info!("still waiting: {why}");
        trouble.send_replace(Some(format!("still waiting: {why}")));
    }
    error
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakebase_proto::status;

    #[test]
    fn only_what_needs_no_person_is_waited_for() {
        let refused = |reason| DaemonError::from(status(reason, "no", "")).may_pass();
        for reason in [
            Reason::NotAWorktree,
            Reason::NotReady,
            Reason::ShuttingDown,
            Reason::Internal,
        ] {
            assert!(refused(reason), "{reason:?}");
        }
        for reason in [
            Reason::NotARepository,
            Reason::NotRegistered,
            Reason::NotConfigured,
            Reason::Blocked,
        ] {
            assert!(!refused(reason), "{reason:?}");
        }
        assert!(DaemonError::from(Status::unavailable("x")).may_pass());
        assert!(!DaemonError::from(Status::unimplemented("x")).may_pass());
        assert!(DaemonError::from(ConnectError::NotRunning("/s".into())).may_pass());
    }

    #[test]
    fn another_database_may_serve_only_where_the_daemon_has_none_to_give() {
        let refused = |reason| DaemonError::from(status(reason, "no", ""));
        let no_answer = ConnectError::TimedOut {
            socket: "/s".into(),
            waited: CONNECT_PATIENCE,
        };
        let foreign = ConnectError::ForeignServer {
            socket: "/s".into(),
            uid: 7,
        };
        for choice in [
            DaemonError::NotAsked,
            DaemonError::NoSocket(SocketPathError::NoHome),
            ConnectError::NotRunning("/s".into()).into(),
            refused(Reason::NotRegistered),
        ] {
            assert!(choice.leaves_the_choice(), "{choice:?}");
        }
        for none in [
            no_answer.into(),
            foreign.into(),
            DaemonError::TimedOut("/w".into()),
            DaemonError::Ended,
            refused(Reason::Blocked),
            refused(Reason::NotReady),
            refused(Reason::NotConfigured),
            refused(Reason::NotARepository),
            refused(Reason::NotAWorktree),
            refused(Reason::ShuttingDown),
            Status::unimplemented("x").into(),
        ] {
            assert!(!none.leaves_the_choice(), "{none:?}");
        }
    }

    #[test]
    fn the_fix_is_the_daemons_own_if_it_named_one() {
        let named = DaemonError::from(status(Reason::Blocked, "no", "free some space"));
        assert_eq!(named.fix(), "free some space");
        assert!(DaemonError::NotAsked.fix().contains("`lakebase up`"));
        assert!(
            DaemonError::TimedOut("/w".into())
                .fix()
                .contains("`lakebase why`")
        );
    }
}
