//! The control contract, answered: parse, ask once, convert. No policy, no SQL.

use crate::attempts;
use crate::board::{Repositories, RepositoryView};
use crate::convert;
use crate::credentials::{Credentials, Freshness};
use crate::ledger::{Ledger, LedgerError};
use crate::lookup::{Lookup, Now, is_hopeless, not_ready};
use crate::outlet::Outlet;
use crate::reconcile::Reconciler;
use crate::services::{Services, chain};
use crate::streams::progress;
use crate::view;
use daemon_core::Timestamp;
use daemon_core::ids::RepositoryId;
use daemon_core::plan::Standing;
use futures_util::Stream;
use lakebase_proto::v1::control_server::Control;
use lakebase_proto::{PROTOCOL, Reason, status, v1};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

/// How long a call without a deadline of its own waits for a branch.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How long a list waits for the first look at git after a start.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// How long the first message to a hook waits for the check of the `.env`. Once the hook has a message it waits for the end of
/// the check.
const CHECK_FIRST: Duration = Duration::from_millis(10);
/// How long the hook of a checkout of files waits for the check: there is only one message.
const CHECK_FILES: Duration = Duration::from_millis(900);

/// How long it waits for one that has just failed.
const FAILING_PATIENCE: Duration = Duration::from_secs(2);

/// How many events are listed unless the caller says otherwise.
const EVENTS_SHOWN: u32 = 50;

/// How many are listed at most: a message has its limit.
const MAX_EVENTS: u32 = 2000;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the calls are answered from.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) lookup: Lookup,
    pub(crate) reconciler: Arc<Reconciler>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) ledger: Ledger,
    pub(crate) services: Arc<Services>,
    /// The tasks behind open streams.
    pub(crate) streams: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) about: Arc<About>,
}

/// What the daemon tells about itself.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) started_at: Timestamp,
    pub(crate) socket: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// How long a client may leave a stream unread.
    pub(crate) unread: Duration,
}

impl Service {
    pub(crate) fn repositories(&self) -> Arc<Repositories> {
        self.lookup.board.repositories()
    }

    /// Waits until the branch of a path's worktree can be used.
    pub(crate) async fn ready(&self, path: &Path, mut deadline: Instant) -> Result<Now, Status> {
        let mut board = self.lookup.board.follow();
        loop {
            let repositories = board.borrow_and_update().clone();
            let now = self.lookup.now(&repositories, path).await?;
            match &now {
                Now::Ready(..) => return Ok(now),
                Now::Coming(view, worktree) if is_hopeless(view, worktree) => {
                    return Err(not_ready(view, Some(worktree)));
                }
                // The next attempt may help; the one after it is not waited for.
                Now::Coming(_, worktree) if worktree.standing == Standing::Failing => {
                    deadline = deadline.min(Instant::now() + FAILING_PATIENCE);
                }
                Now::Coming(..) | Now::Unseen(_) => {}
            }
            let changed = timeout_at(deadline, board.changed());
            let in_time = tokio::select! {
                changed = changed => changed.is_ok(),
                () = self.stop.cancelled() => return Err(shutting_down()),
            };
            if !in_time {
                return Err(self.waited_in_vain(&now));
            }
        }
    }

    fn waited_in_vain(&self, now: &Now) -> Status {
        match now {
            Now::Ready(view, worktree, _) | Now::Coming(view, worktree) => not_ready(view, Some(worktree)),
            Now::Unseen(id) => match self.lookup.board.repository(id) {
                Some(view) => not_ready(&view, None),
                None => status(
                    Reason::NotRegistered,
                    "the repository is no longer registered",
                    "",
                ),
            },
        }
    }

    async fn credential(&self, path: &Path, freshness: Freshness) -> Result<v1::Credential, Status> {
        let Now::Ready(_, worktree, target) = self.ready(path, Instant::now() + PATIENCE).await? else {
            return Err(status(Reason::NotReady, "the branch is not ready yet", ""));
        };
        let minted = self
            .credentials
            .fetch(&target, freshness)
            .await
            .map_err(|error| {
                status(
                    Reason::NotReady,
                    format!("cannot mint a credential: {}", chain(&error)),
                    attempts::fix(&error),
                )
            })?;
        Ok(convert::credential(&worktree, &target, &minted))
    }

    pub(crate) async fn selected(&self, path: &[u8]) -> Result<Vec<RepositoryId>, Status> {
        let repositories = self.repositories();
        if path.is_empty() {
            return Ok(repositories.keys().cloned().collect());
        }
        let path = self.lookup.resolve(path).await?;
        Ok(vec![self.lookup.repository_of(&repositories, &path).await?])
    }

    pub(crate) async fn worktrees(&self, path: &[u8]) -> Result<v1::ListWorktreesResponse, Status> {
        let ids = self.selected(path).await?;
        self.first_look(|id| ids.contains(id)).await;
        let repositories = self.repositories();
        let mut listed = v1::ListWorktreesResponse::default();
        for view in ids.iter().filter_map(|id| repositories.get(id)) {
            let worktrees = view.worktrees.iter();
            listed
                .worktrees
                .extend(worktrees.map(|worktree| convert::worktree(view, worktree)));
            let unused = view.unused.iter();
            listed
                .unused
                .extend(unused.map(|unused| convert::unused(view, unused)));
        }
        Ok(listed)
    }

    /// The repository that a path names; `None` for an empty path, which means all.
    async fn repository_asked(&self, path: &[u8]) -> Result<Option<RepositoryId>, Status> {
        if path.is_empty() {
            return Ok(None);
        }
        Ok(self.selected(path).await?.pop())
    }

    /// Waits for what git shows of repositories that nobody has looked at since the daemon began: until then they seem empty.
    async fn first_look(&self, is_asked: impl Fn(&RepositoryId) -> bool) {
        let is_seen = |view: &Arc<RepositoryView>| {
            view.passes > 0 || view.worktrees.iter().next().is_some() || !view.problems.is_empty()
        };
        let are_seen = |repositories: &Arc<Repositories>| {
            let mut asked = repositories.values().filter(|view| is_asked(&view.id));
            asked.all(is_seen)
        };
        let mut board = self.lookup.board.follow();
        drop(tokio::time::timeout(FIRST_LOOK, board.wait_for(are_seen)).await);
    }

    /// Waits for passes that began after now, and for what follows from them.
    pub(crate) async fn settled(&self, wanted: &[(RepositoryId, u64)]) {
        let mut board = self.lookup.board.follow();
        let is_done = |repositories: &Arc<Repositories>| {
            wanted.iter().all(|(id, pass)| {
                let is_settled = |view: &Arc<RepositoryView>| {
                    view.is_settled || view.settings.is_none() || view.hindrance.is_some()
                };
                repositories
                    .get(id)
                    .is_none_or(|view| view.passes >= *pass && is_settled(view))
            })
        };
        drop(tokio::time::timeout(PATIENCE, board.wait_for(is_done)).await);
    }
}

pub(crate) fn ledger_failed(error: &LedgerError) -> Status {
    status(Reason::Internal, chain(error), "see the daemon's log")
}

pub(crate) fn shutting_down() -> Status {
    status(
        Reason::ShuttingDown,
        "the daemon is ending",
        "start it again with `lakebase up`",
    )
}

#[tonic::async_trait]
impl Control for Service {
    type CheckoutStream = Streamed<v1::CheckoutProgress>;
    type WatchCredentialStream = Streamed<v1::Credential>;
    type WatchWorktreesStream = Streamed<v1::ListWorktreesResponse>;
    type WatchEventsStream = Streamed<v1::Event>;

    async fn checkout(
        &self,
        request: Request<v1::CheckoutRequest>,
    ) -> Result<Response<Self::CheckoutStream>, Status> {
        let path = self.lookup.resolve(&request.get_ref().cwd).await?;
        let repositories = self.repositories();
        let mut check = self.check_env_file(&repositories, &path);
        let now = self.lookup.now(&repositories, &path).await?;
        let is_of_files = !request.get_ref().branch_checkout;
        let patience = if is_of_files { CHECK_FILES } else { CHECK_FIRST };
        let is_checked = tokio::time::timeout(patience, check.done()).await.is_ok();
        if is_of_files || matches!(now, Now::Ready(..)) && is_checked {
            let only = Ok(progress(&repositories, &now));
            return Ok(Response::new(Box::pin(tokio_stream::once(only))));
        }
        let (out, stream) = Outlet::new(self.about.unread);
        self.streams.spawn(self.clone().follow_checkout(path, check, out));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn get_credential(
        &self,
        request: Request<v1::GetCredentialRequest>,
    ) -> Result<Response<v1::Credential>, Status> {
        let request = request.into_inner();
        let path = self.lookup.resolve(&request.path).await?;
        let freshness = if request.rotate {
            Freshness::New
        } else {
            Freshness::Usable
        };
        let credential = self.credential(&path, freshness).await?;
        if request.rotate {
            // The `.env` follows at the next pass.
            self.lookup.controller.hint_all();
        }
        Ok(Response::new(credential))
    }

    async fn watch_credential(
        &self,
        request: Request<v1::WatchCredentialRequest>,
    ) -> Result<Response<Self::WatchCredentialStream>, Status> {
        let path = self.lookup.resolve(&request.get_ref().path).await?;
        let (out, stream) = Outlet::new(self.about.unread);
        self.streams.spawn(self.clone().follow_credential(path, out));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn list_worktrees(
        &self,
        request: Request<v1::ListWorktreesRequest>,
    ) -> Result<Response<v1::ListWorktreesResponse>, Status> {
        Ok(Response::new(self.worktrees(&request.get_ref().path).await?))
    }

    async fn watch_worktrees(
        &self,
        request: Request<v1::WatchWorktreesRequest>,
    ) -> Result<Response<Self::WatchWorktreesStream>, Status> {
        let path = request.into_inner().path;
        let (out, stream) = Outlet::new(self.about.unread);
        self.streams.spawn(self.clone().follow_worktrees(path, out));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let path = self.lookup.resolve(&request.get_ref().path).await?;
        Ok(Response::new(self.explained(&path).await?))
    }

    async fn diagnose(
        &self,
        request: Request<v1::DiagnoseRequest>,
    ) -> Result<Response<v1::DiagnoseResponse>, Status> {
        Ok(Response::new(self.diagnosed(&request.get_ref().path).await))
    }

    async fn register_repository(
        &self,
        request: Request<v1::RegisterRepositoryRequest>,
    ) -> Result<Response<v1::Repository>, Status> {
        let path = self.lookup.resolve(&request.get_ref().path).await?;
        Ok(Response::new(self.register(path).await?))
    }

    async fn trust_configuration(
        &self,
        request: Request<v1::TrustConfigurationRequest>,
    ) -> Result<Response<v1::TrustConfigurationResponse>, Status> {
        let request = request.into_inner();
        let path = self.lookup.resolve(&request.path).await?;
        let answer = Service::trust_configuration(self, &path, &request.proposal).await?;
        Ok(Response::new(answer))
    }

    async fn unregister_repository(
        &self,
        request: Request<v1::UnregisterRepositoryRequest>,
    ) -> Result<Response<v1::UnregisterRepositoryResponse>, Status> {
        let request = request.into_inner();
        // Not resolved: the repository may be gone, which is a good reason to give it up.
        let path = PathBuf::from(OsString::from_vec(request.path));
        self.unregister(&path, request.delete_branches).await?;
        Ok(Response::new(v1::UnregisterRepositoryResponse {}))
    }

    async fn list_repositories(
        &self,
        _: Request<v1::ListRepositoriesRequest>,
    ) -> Result<Response<v1::ListRepositoriesResponse>, Status> {
        self.first_look(|_| true).await;
        let repositories = self
            .repositories()
            .values()
            .map(|view| convert::repository(view))
            .collect();
        Ok(Response::new(v1::ListRepositoriesResponse { repositories }))
    }

    async fn reset_branch(
        &self,
        request: Request<v1::ResetBranchRequest>,
    ) -> Result<Response<v1::Worktree>, Status> {
        let path = self.lookup.resolve(&request.get_ref().path).await?;
        Ok(Response::new(self.reset(&path).await?))
    }

    async fn delete_branch(
        &self,
        request: Request<v1::DeleteBranchRequest>,
    ) -> Result<Response<v1::DeleteBranchResponse>, Status> {
        let request = request.into_inner();
        let path = self.lookup.resolve(&request.path).await?;
        self.delete(&path, &request.branch_id).await?;
        Ok(Response::new(v1::DeleteBranchResponse {}))
    }

    async fn keep_branch(
        &self,
        request: Request<v1::KeepBranchRequest>,
    ) -> Result<Response<v1::Worktree>, Status> {
        let request = request.into_inner();
        let path = self.lookup.resolve(&request.path).await?;
        Ok(Response::new(self.keep(&path, request.release).await?))
    }

    async fn collect_garbage(
        &self,
        request: Request<v1::CollectGarbageRequest>,
    ) -> Result<Response<v1::CollectGarbageResponse>, Status> {
        let request = request.into_inner();
        let collected = Service::collect_garbage(self, &request.path, request.apply).await?;
        Ok(Response::new(collected))
    }

    async fn recover_ledger(
        &self,
        request: Request<v1::RecoverLedgerRequest>,
    ) -> Result<Response<v1::RecoverLedgerResponse>, Status> {
        let request = request.into_inner();
        let recovered = Service::recover_ledger(self, &request.path, request.apply).await?;
        Ok(Response::new(recovered))
    }

    async fn reset_ledger(
        &self,
        request: Request<v1::ResetLedgerRequest>,
    ) -> Result<Response<v1::ResetLedgerResponse>, Status> {
        let left = Service::reset_ledger(self, request.into_inner().apply).await?;
        Ok(Response::new(left))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let request = request.into_inner();
        let repository = self.repository_asked(&request.path).await?;
        let limit = match request.limit {
            0 => EVENTS_SHOWN,
            limit => limit.min(MAX_EVENTS),
        };
        let events = self.ledger.events(repository.as_ref(), 0, limit).await;
        let events = events.map_err(|error| ledger_failed(&error))?;
        let events = events.iter().map(convert::event).collect();
        Ok(Response::new(v1::ListEventsResponse { events }))
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let repository = self.repository_asked(&request.into_inner().path).await?;
        let (out, stream) = mpsc::channel(16);
        self.streams.spawn(self.clone().follow_events(repository, out));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn reconcile(
        &self,
        request: Request<v1::ReconcileRequest>,
    ) -> Result<Response<v1::ReconcileResponse>, Status> {
        let request = request.into_inner();
        let ids = self.selected(&request.path).await?;
        let wanted: Vec<_> = ids
            .iter()
            .map(|id| (id.clone(), self.reconciler.begun(id) + 1))
            .collect();
        self.lookup.controller.retry(ids).await;
        if request.wait {
            self.settled(&wanted).await;
        }
        Ok(Response::new(v1::ReconcileResponse {}))
    }

    async fn get_daemon_info(
        &self,
        _: Request<v1::GetDaemonInfoRequest>,
    ) -> Result<Response<v1::DaemonInfo>, Status> {
        Ok(Response::new(v1::DaemonInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            pid: std::process::id().cast_signed(),
            start_time: Some(convert::timestamp(self.about.started_at)),
            socket: convert::path(&self.about.socket),
            state_dir: convert::path(&self.about.state_dir),
            local: self.services.local_info().as_ref().map(convert::local),
            problems: self
                .services
                .local_problem()
                .iter()
                .chain(&self.services.local_data_problems())
                .map(convert::problem)
                .collect(),
            ledger_problem: self
                .ledger
                .is_unconfirmed()
                .then(|| convert::problem(&view::unconfirmed_ledger())),
            local_state: convert::local_state(self.services.local_state()).into(),
        }))
    }

    async fn shutdown(
        &self,
        _: Request<v1::ShutdownRequest>,
    ) -> Result<Response<v1::ShutdownResponse>, Status> {
        tracing::info!("asked to end");
        self.stop.cancel();
        Ok(Response::new(v1::ShutdownResponse {}))
    }
}
