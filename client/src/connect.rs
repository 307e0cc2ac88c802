//! A session with the running daemon: one method for each call that a command makes, each with the time it may take and
//! with errors for people. It never starts a daemon; only `lakebase up` does.

use crate::failure::{Exit, Failure, HUNG};
use crate::terminal;
use lakebase_proto::v1::{
    Check, CollectGarbageRequest, CollectGarbageResponse, Credential, DaemonInfo, DeleteBranchRequest,
    DiagnoseRequest, Event, ExplainRequest, ExplainResponse, GetCredentialRequest, GetDaemonInfoRequest,
    KeepBranchRequest, ListEventsRequest, ListRepositoriesRequest, ListWorktreesRequest,
    ListWorktreesResponse, LocalState, ReconcileRequest, RecoverLedgerRequest, RecoverLedgerResponse,
    RegisterRepositoryRequest, Repository, ResetBranchRequest, ResetLedgerRequest, ResetLedgerResponse,
    ShutdownRequest, TrustConfigurationRequest, TrustConfigurationResponse, UnregisterRepositoryRequest,
    WatchEventsRequest, Worktree,
};
use lakebase_proto::{Client, ConnectError, PROTOCOL, SocketEnv, connect, socket_path};
use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::{Response, Status, Streaming};

/// For calls that the daemon answers from memory.
pub(crate) const PROMPT: Duration = Duration::from_secs(10);
/// For calls that wait for a branch. Longer than the daemon's own patience, so that its reason is what people read.
const PATIENT: Duration = Duration::from_secs(90);

/// A connection to a daemon that has answered.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    client: Client,
    pub(crate) info: DaemonInfo,
}

/// Returns where the daemon listens.
pub(crate) fn socket() -> Result<PathBuf, Failure> {
    Ok(socket_path(&SocketEnv::from_process())?)
}

/// Says that no daemon runs. One that hangs does run.
pub(crate) async fn nobody_listens() -> Result<bool, Failure> {
    let connected = connect(&socket()?, PROMPT).await;
    Ok(matches!(connected, Err(ConnectError::NotRunning(_))))
}

impl Session {
    /// Connects, and warns when the daemon is of another time.
    pub(crate) async fn open() -> Result<Self, Failure> {
        let session = Self::try_open(PROMPT).await?;
        if let Some(warning) = mismatch(session.info.protocol, &session.info.version) {
            terminal::warn(&warning);
        }
        Ok(session)
    }

    /// Connects, with this much patience.
    pub(crate) async fn try_open(patience: Duration) -> Result<Self, Failure> {
        let mut client = connect(&socket()?, patience).await?;
        let call = client.get_daemon_info(GetDaemonInfoRequest {});
        let info = within(patience, "cannot speak to lakebased", call).await?;
        Ok(Self { client, info })
    }

    /// Reads once more what the daemon says of itself.
    pub(crate) async fn refresh(&mut self) -> Result<(), Failure> {
        let call = self.client.get_daemon_info(GetDaemonInfoRequest {});
        self.info = within(PROMPT, "cannot speak to lakebased", call).await?;
        Ok(())
    }

    /// Fails while the daemon waits for the user: its ledger was lost, or Local Lakebase is refused.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.check_ledger()?;
        self.check_local()
    }

    fn check_ledger(&self) -> Result<(), Failure> {
        let Some(problem) = &self.info.ledger_problem else {
            return Ok(());
        };
        let failure = Failure::new(Exit::Failed, "the ledger is not confirmed");
        Err(failure.cause(&problem.message).hint(&problem.fix))
    }

    fn check_local(&self) -> Result<(), Failure> {
        if self.info.local_state() != LocalState::Refused {
            return Ok(());
        }
        let failure = Failure::new(Exit::Failed, "Local Lakebase serves nothing");
        Err(match self.info.problems.first() {
            Some(problem) => failure.cause(&problem.message).hint(&problem.fix),
            None => failure,
        })
    }

    /// Lists what the configuration file of a repository changes, or confirms such a list.
    pub(crate) async fn trust(
        &mut self,
        path: &Path,
        proposal: &str,
    ) -> Result<TrustConfigurationResponse, Failure> {
        let path = bytes(Some(path));
        let proposal = proposal.to_owned();
        let call = self
            .client
            .trust_configuration(TrustConfigurationRequest { path, proposal });
        within(PROMPT, "cannot confirm the configuration", call).await
    }

    /// The worktrees of the repository that holds the path, or of all.
    pub(crate) async fn worktrees(&mut self, path: Option<&Path>) -> Result<Vec<Worktree>, Failure> {
        Ok(self.listing(path).await?.worktrees)
    }

    /// The same, and the branches that no worktree is on.
    pub(crate) async fn listing(&mut self, path: Option<&Path>) -> Result<ListWorktreesResponse, Failure> {
        let path = bytes(path);
        let call = self.client.list_worktrees(ListWorktreesRequest { path });
        within(PROMPT, "cannot list worktrees", call).await
    }

    pub(crate) async fn repositories(&mut self) -> Result<Vec<Repository>, Failure> {
        let call = self.client.list_repositories(ListRepositoriesRequest {});
        let answer = within(PROMPT, "cannot list repositories", call).await?;
        Ok(answer.repositories)
    }

    pub(crate) async fn register(&mut self, path: &Path) -> Result<Repository, Failure> {
        let path = bytes(Some(path));
        let call = self
            .client
            .register_repository(RegisterRepositoryRequest { path });
        within(PROMPT, "cannot register the repository", call).await
    }

    /// Looks again, and waits for what follows from it if told to.
    pub(crate) async fn reconcile(&mut self, path: Option<&Path>, wait: bool) -> Result<(), Failure> {
        let path = bytes(path);
        let call = self.client.reconcile(ReconcileRequest { path, wait });
        within(PATIENT, "cannot reconcile", call).await.map(drop)
    }

    /// The credential of the worktree that holds the path, once its branch is ready.
    pub(crate) async fn credential(&mut self, path: &Path, rotate: bool) -> Result<Credential, Failure> {
        let path = bytes(Some(path));
        let call = self.client.get_credential(GetCredentialRequest { path, rotate });
        within(PATIENT, "cannot get a credential", call).await
    }

    /// Makes the worktree's branch anew.
    pub(crate) async fn reset(&mut self, path: &Path) -> Result<Worktree, Failure> {
        let path = bytes(Some(path));
        let call = self.client.reset_branch(ResetBranchRequest { path });
        within(PATIENT, "cannot reset the branch", call).await
    }

    /// Deletes a branch of the path's repository that no worktree uses.
    pub(crate) async fn delete(&mut self, path: &Path, branch: &str) -> Result<(), Failure> {
        let request = DeleteBranchRequest {
            path: bytes(Some(path)),
            branch_id: branch.to_owned(),
        };
        let call = self.client.delete_branch(request);
        within(PATIENT, "cannot delete the branch", call).await.map(drop)
    }

    /// Keeps the worktree's branch for good, or gives it back.
    pub(crate) async fn keep(&mut self, path: &Path, release: bool) -> Result<Worktree, Failure> {
        let path = bytes(Some(path));
        let call = self.client.keep_branch(KeepBranchRequest { path, release });
        within(PATIENT, "cannot change how the branch is kept", call).await
    }

    /// The branches without a worktree; deleted when told to.
    pub(crate) async fn collect_garbage(
        &mut self,
        path: Option<&Path>,
        apply: bool,
    ) -> Result<CollectGarbageResponse, Failure> {
        let path = bytes(path);
        let call = self.client.collect_garbage(CollectGarbageRequest { path, apply });
        within(PATIENT, "cannot collect branches without a worktree", call).await
    }

    /// Lists what a lost ledger can be rebuilt from; with `apply` rebuilds it.
    pub(crate) async fn recover_ledger(
        &mut self,
        path: &Path,
        apply: bool,
    ) -> Result<RecoverLedgerResponse, Failure> {
        let path = bytes(Some(path));
        let call = self.client.recover_ledger(RecoverLedgerRequest { path, apply });
        within(PATIENT, "cannot recover the ledger", call).await
    }

    /// Lists what a lost ledger leaves behind when it starts over; with `apply` starts over.
    pub(crate) async fn reset_ledger(&mut self, apply: bool) -> Result<ResetLedgerResponse, Failure> {
        let call = self.client.reset_ledger(ResetLedgerRequest { apply });
        within(PATIENT, "cannot start over", call).await
    }

    pub(crate) async fn explain(&mut self, path: &Path) -> Result<ExplainResponse, Failure> {
        let path = bytes(Some(path));
        let call = self.client.explain(ExplainRequest { path });
        within(PROMPT, "cannot explain", call).await
    }

    /// What is wrong with what the worktree at the path needs.
    pub(crate) async fn diagnose(&mut self, path: &Path) -> Result<Vec<Check>, Failure> {
        let path = bytes(Some(path));
        let call = self.client.diagnose(DiagnoseRequest { path });
        Ok(within(PATIENT, "cannot diagnose", call).await?.checks)
    }

    pub(crate) async fn events(&mut self, path: Option<&Path>, limit: u32) -> Result<Vec<Event>, Failure> {
        let path = bytes(path);
        let call = self.client.list_events(ListEventsRequest { path, limit });
        Ok(within(PROMPT, "cannot list events", call).await?.events)
    }

    /// Events from now on; [`next_event`] returns them.
    pub(crate) async fn watch_events(&mut self, path: Option<&Path>) -> Result<Streaming<Event>, Failure> {
        let path = bytes(path);
        let call = self.client.watch_events(WatchEventsRequest { path });
        within(PROMPT, "cannot follow events", call).await
    }

    /// Stops watching the repository.
    pub(crate) async fn unregister(&mut self, path: &Path, delete_branches: bool) -> Result<(), Failure> {
        let request = UnregisterRepositoryRequest {
            path: bytes(Some(path)),
            delete_branches,
        };
        let call = self.client.unregister_repository(request);
        within(PATIENT, "cannot give the repository up", call)
            .await
            .map(drop)
    }

    pub(crate) async fn shutdown(mut self) -> Result<(), Failure> {
        let call = self.client.shutdown(ShutdownRequest {});
        within(PROMPT, "cannot stop lakebased", call).await.map(drop)
    }
}

/// Returns the next event of a stream; `None` when the daemon has ended.
pub(crate) async fn next_event(stream: &mut Streaming<Event>) -> Result<Option<Event>, Failure> {
    let next = stream.message().await;
    next.map_err(|status| Failure::call("cannot follow events", &status))
}

fn bytes(path: Option<&Path>) -> Vec<u8> {
    path.map(|path| path.as_os_str().as_bytes().to_vec())
        .unwrap_or_default()
}

async fn within<T>(
    patience: Duration,
    doing: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Failure::call(doing, &status)),
        Err(_) => {
            let text = format!("{doing}: no answer within {} s", patience.as_secs());
            Err(Failure::new(Exit::NotRunning, text).hint(HUNG))
        }
    }
}

pub(crate) fn mismatch(protocol: u32, version: &str) -> Option<String> {
    let ours = env!("CARGO_PKG_VERSION");
    match protocol.cmp(&PROTOCOL) {
        Ordering::Equal => None,
        Ordering::Greater => Some(format!(
            "lakebased {version} is newer than this lakebase {ours}; install the newer one to use all of it"
        )),
        Ordering::Less => Some(format!(
            "lakebased {version} is older than this lakebase {ours}; restart it: `lakebase down && lakebase up`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_protocol_is_worth_a_warning() {
        assert_eq!(mismatch(PROTOCOL, "9.9.9"), None);
        assert!(mismatch(PROTOCOL + 1, "9.9.9").is_some_and(|text| text.contains("newer")));
        assert!(mismatch(PROTOCOL - 1, "0.0.1").is_some_and(|text| text.contains("older")));
    }
}
