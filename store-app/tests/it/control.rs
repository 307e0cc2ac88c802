//! A Control service that knows one credential. It has a runtime of its own, so that stopping it cuts every stream at
//! once, as a killed daemon does.

use lakebase_proto::v1::{self, control_server};
use lakebase_proto::{Reason, reason_of};
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

type Answer = Result<v1::Credential, Status>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(crate) struct Control {
    socket: PathBuf,
    /// `None`: the branch is not ready, callers wait.
    answer: watch::Sender<Option<Answer>>,
    runtime: Option<Runtime>,
}

impl Control {
    /// Listens at `socket` and has nothing to say yet.
    pub(crate) fn start(socket: &Path) -> Self {
        let mut control = Self {
            socket: socket.to_owned(),
            answer: watch::Sender::new(None),
            runtime: None,
        };
        control.resume();
        control
    }

    pub(crate) fn publish(&self, credential: v1::Credential) {
        self.answer.send_replace(Some(Ok(credential)));
    }

    /// Says no to whoever asks; what hinders only the branch is not said on a stream.
    pub(crate) fn refuse(&self, status: Status) {
        self.answer.send_replace(Some(Err(status)));
    }

    /// How many streams are open.
    pub(crate) fn watchers(&self) -> usize {
        self.answer.receiver_count()
    }

    /// Goes away without a word.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
            // Gone already when the directory of the test went first.
            fs::remove_file(&self.socket).ok();
        }
    }

    pub(crate) fn resume(&mut self) {
        let runtime = Runtime::new().expect("runtime");
        let service = control_server::ControlServer::new(Service(self.answer.clone()));
        let guard = runtime.enter();
        let listener = UnixListener::bind(&self.socket).expect("socket");
        drop(guard);
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        self.runtime = Some(runtime);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Service(watch::Sender<Option<Answer>>);

/// Methods that the store has no business with.
macro_rules! unused {
    ($($method:ident($request:ident) -> $response:ty;)*) => {$(
        fn $method<'a: 'b, 'b>(
            &'a self,
            _: Request<v1::$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'b>>
        where
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($method))) })
        }
    )*};
}

#[tonic::async_trait]
impl control_server::Control for Service {
    type CheckoutStream = BoxStream<v1::CheckoutProgress>;
    type WatchCredentialStream = BoxStream<v1::Credential>;
    type WatchWorktreesStream = BoxStream<v1::ListWorktreesResponse>;
    type WatchEventsStream = BoxStream<v1::Event>;

    async fn watch_credential(
        &self,
        request: Request<v1::WatchCredentialRequest>,
    ) -> Result<Response<Self::WatchCredentialStream>, Status> {
        if !request.into_inner().path.starts_with(b"/") {
            return Err(Status::invalid_argument("path is not absolute"));
        }
        let mut answers = self.0.subscribe();
        let is_said = |answer: &Option<Answer>| match answer {
            Some(Ok(_)) => true,
            Some(Err(status)) => !hinders_the_branch(status),
            None => false,
        };
        let first = answers.wait_for(is_said).await.map_err(ending)?.clone();
        if let Some(Err(status)) = first {
            return Err(status);
        }
        let stream = WatchStream::new(answers).filter_map(|answer| answer);
        let first = tokio_stream::iter(first);
        Ok(Response::new(Box::pin(first.chain(stream))))
    }

    async fn get_credential(
        &self,
        _: Request<v1::GetCredentialRequest>,
    ) -> Result<Response<v1::Credential>, Status> {
        let mut answers = self.0.subscribe();
        let answer = answers.wait_for(Option::is_some).await.map_err(ending)?.clone();
        answer.expect("waited for").map(Response::new)
    }

    unused! {
        diagnose(DiagnoseRequest) -> v1::DiagnoseResponse;
        checkout(CheckoutRequest) -> Self::CheckoutStream;
        list_worktrees(ListWorktreesRequest) -> v1::ListWorktreesResponse;
        watch_worktrees(WatchWorktreesRequest) -> Self::WatchWorktreesStream;
        explain(ExplainRequest) -> v1::ExplainResponse;
        register_repository(RegisterRepositoryRequest) -> v1::Repository;
        unregister_repository(UnregisterRepositoryRequest) -> v1::UnregisterRepositoryResponse;
        list_repositories(ListRepositoriesRequest) -> v1::ListRepositoriesResponse;
        reset_branch(ResetBranchRequest) -> v1::Worktree;
        delete_branch(DeleteBranchRequest) -> v1::DeleteBranchResponse;
        keep_branch(KeepBranchRequest) -> v1::Worktree;
        collect_garbage(CollectGarbageRequest) -> v1::CollectGarbageResponse;
        list_events(ListEventsRequest) -> v1::ListEventsResponse;
        watch_events(WatchEventsRequest) -> Self::WatchEventsStream;
        recover_ledger(RecoverLedgerRequest) -> v1::RecoverLedgerResponse;
        trust_configuration(TrustConfigurationRequest) -> v1::TrustConfigurationResponse;
        reset_ledger(ResetLedgerRequest) -> v1::ResetLedgerResponse;
        reconcile(ReconcileRequest) -> v1::ReconcileResponse;
        get_daemon_info(GetDaemonInfoRequest) -> v1::DaemonInfo;
        shutdown(ShutdownRequest) -> v1::ShutdownResponse;
    }
}

fn ending(_: watch::error::RecvError) -> Status {
    Status::unavailable("ending")
}

fn hinders_the_branch(status: &Status) -> bool {
    matches!(reason_of(status), Some(Reason::Blocked | Reason::NotReady))
}
