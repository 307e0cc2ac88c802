//! A daemon for one repository, with behaviour and without PostgreSQL: it registers, makes the branch of the main worktree
//! when there is a configuration, mints passwords, and goes when it is told to.

use lakebase_proto::v1::{self, WorktreeState, control_server};
use lakebase_proto::{PROTOCOL, Reason, status};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

pub(crate) const BRANCH: &str = "jane-main";
/// Every password begins with this, so that a test can look for one where none may be.
pub(crate) const PASSWORD: &str = "CANARY'pass word-";

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the daemon knows, and what a test wants of it.
pub(crate) struct World {
    /// Root of the one repository that there is.
    pub(crate) root: PathBuf,
    pub(crate) hooks_dir: PathBuf,
    pub(crate) registered: bool,
    pub(crate) state: WorktreeState,
    pub(crate) problem: Option<v1::Problem>,
    /// Branches that no worktree is on.
    pub(crate) unused: Vec<v1::UnusedBranch>,
    /// How long a branch takes to be made.
    pub(crate) making: Duration,
    /// What the daemon tells a hook to wait.
    pub(crate) hook_wait: Option<Duration>,
    /// What every call is refused with.
    pub(crate) refusal: Option<Reason>,
    pub(crate) protocol: u32,
    /// States of Local Lakebase, one for each time that they are asked for; the last one stays.
    pub(crate) local_states: Vec<v1::LocalState>,
    pub(crate) local_problems: Vec<v1::Problem>,
    /// What the file changes, and the proposals that were confirmed.
    pub(crate) proposed: Vec<v1::ConfigurationChange>,
    pub(crate) trusted: Vec<String>,
    pub(crate) rotations: u32,
    /// What hooks have sent.
    pub(crate) checkouts: Vec<v1::CheckoutRequest>,
}

impl World {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            hooks_dir: root.join(".git/hooks"),
            registered: false,
            state: WorktreeState::Pending,
            problem: None,
            unused: Vec::new(),
            making: Duration::ZERO,
            hook_wait: None,
            refusal: None,
            protocol: PROTOCOL,
            local_states: vec![v1::LocalState::Serving],
            local_problems: Vec::new(),
            proposed: Vec::new(),
            trusted: Vec::new(),
            rotations: 0,
            checkouts: Vec::new(),
        }
    }

    /// A repository that was registered before, with its branch ready.
    pub(crate) fn ready(root: &Path) -> Self {
        Self {
            registered: true,
            state: WorktreeState::Ready,
            ..Self::new(root)
        }
    }

    fn local_state(&mut self) -> v1::LocalState {
        if self.local_states.len() > 1 {
            self.local_states.remove(0)
        } else {
            self.local_states.first().copied().unwrap_or_default()
        }
    }

    fn config_path(&self) -> PathBuf {
        self.root.join("lakebase.config")
    }

    fn check(&self, path: &[u8]) -> Result<(), Status> {
        let path = PathBuf::from(String::from_utf8_lossy(path).into_owned());
        if let Some(reason) = self.refusal {
            return Err(status(reason, "refused by the test", "stop testing"));
        }
        if !path.starts_with(&self.root) {
            let text = format!("`{}` is in no git repository", path.display());
            return Err(status(Reason::NotARepository, text, ""));
        }
        if !self.registered {
            let fix = "run `lakebase init` in it";
            return Err(status(
                Reason::NotRegistered,
                "the repository is not registered",
                fix,
            ));
        }
        Ok(())
    }

    fn repository(&self) -> v1::Repository {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let config = std::fs::read_to_string(self.config_path()).unwrap_or_default();
        let project = config
            .lines()
            .find_map(|line| line.strip_prefix("LAKEBASE_PROJECT_ID="));
        v1::Repository {
            id: "r1".into(),
            common_dir: text(&self.root.join(".git")),
            main_worktree: text(&self.root),
            hooks_dir: text(&self.hooks_dir),
            config_path: text(&self.config_path()),
            config_exists: self.config_path().exists(),
            project_id: project.unwrap_or_default().trim_matches('"').into(),
            source_branch: "production".into(),
            service: "local".into(),
            watch_mode: v1::WatchMode::Events.into(),
            problems: Vec::new(),
            proposed_changes: self.proposed.clone(),
        }
    }

    fn branch(&self) -> Option<v1::Branch> {
        matches!(self.state, WorktreeState::Creating | WorktreeState::Ready).then(|| v1::Branch {
            branch_id: BRANCH.into(),
            name: format!("projects/shop/branches/{BRANCH}"),
            uid: "br-1".into(),
            source_branch: "projects/shop/branches/production".into(),
            expire_time: Some(timestamp(4_102_444_800)),
            ownership: v1::Ownership::Owned.into(),
            logical_size_bytes: 7_864_320,
            own_size_bytes: 1_048_576,
            create_time: Some(timestamp(1_700_000_000)),
        })
    }

    fn worktree(&self) -> v1::Worktree {
        v1::Worktree {
            repository_id: "r1".into(),
            worktree_id: String::new(),
            path: self.root.to_string_lossy().into_owned(),
            head: Some(v1::worktree::Head::GitBranch("main".into())),
            locked: false,
            state: self.state.into(),
            why: "the branch is there \u{202e}\x1b[31m".into(),
            branch: self.branch(),
            problem: self.problem.clone(),
        }
    }

    fn progress(&self) -> v1::CheckoutProgress {
        let hook_wait = self.hook_wait.map(|wait| wait.try_into().expect("a short wait"));
        v1::CheckoutProgress {
            state: self.state.into(),
            branch: self.branch().map(|branch| branch.branch_id).unwrap_or_default(),
            message: "the disk is full".into(),
            hook_wait,
        }
    }

    fn credential(&self) -> v1::Credential {
        v1::Credential {
            host: "127.0.1.5".into(),
            port: 5432,
            database: "databricks_postgres".into(),
            user: "jane@localhost".into(),
            password: format!("{PASSWORD}{}", self.rotations),
            sslmode: "verify-full".into(),
            ssl_root_cert: "/nowhere/ca.crt".into(),
            expire_time: Some(timestamp(4_102_444_800)),
            endpoint: format!("projects/shop/branches/{BRANCH}/endpoints/primary"),
            branch: self.branch(),
        }
    }
}

fn timestamp(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// The daemon, on threads of this process.
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    _runtime: Runtime,
}

impl Fake {
    /// Listens at `socket`.
    pub(crate) fn start(socket: &Path, world: World) -> Self {
        let world = Arc::new(Mutex::new(world));
        let runtime = Runtime::new().expect("runtime");
        runtime.spawn(serve(socket.to_owned(), world.clone()));
        wait_for(socket);
        Self {
            world,
            _runtime: runtime,
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panicked in it")
    }
}

/// Waits until somebody listens.
pub(crate) fn wait_for(socket: &Path) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(std::time::Instant::now() < deadline, "nobody listens");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Serves until it is told to end; then the socket is gone too.
pub(crate) async fn serve(socket: PathBuf, world: Arc<Mutex<World>>) {
    let (stop, mut stopped) = watch::channel(false);
    let service = control_server::ControlServer::new(Service {
        world,
        stop,
        socket: socket.clone(),
    });
    let listener = UnixListener::bind(&socket).expect("socket");
    Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
            stopped.wait_for(|is_stopped| *is_stopped).await.ok();
        })
        .await
        .expect("it serves");
    std::fs::remove_file(&socket).expect("the socket goes");
}

struct Service {
    world: Arc<Mutex<World>>,
    stop: watch::Sender<bool>,
    socket: PathBuf,
}

impl Service {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panicked in it")
    }

    /// Makes the branch if there is a configuration, in the time it takes.
    async fn make(&self) {
        let making = {
            let mut world = self.world();
            if world.state != WorktreeState::Pending || !world.config_path().exists() {
                return;
            }
            world.state = WorktreeState::Creating;
            world.making
        };
        tokio::time::sleep(making).await;
        self.world().state = WorktreeState::Ready;
    }
}

/// Methods that the client does not use.
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

    async fn checkout(
        &self,
        request: Request<v1::CheckoutRequest>,
    ) -> Result<Response<Self::CheckoutStream>, Status> {
        let request = request.into_inner();
        let mut world = self.world();
        world.check(&request.cwd)?;
        world.checkouts.push(request);
        let (making, first) = (world.making, world.progress());
        let (out, stream) = tokio::sync::mpsc::channel(2);
        let world = self.world.clone();
        tokio::spawn(async move {
            let is_coming = first.state() == WorktreeState::Creating;
            out.send(Ok(first)).await.ok();
            if is_coming {
                tokio::time::sleep(making).await;
                let ready = {
                    let mut world = world.lock().expect("no test panicked in it");
                    world.state = WorktreeState::Ready;
                    world.progress()
                };
                out.send(Ok(ready)).await.ok();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn get_credential(
        &self,
        request: Request<v1::GetCredentialRequest>,
    ) -> Result<Response<v1::Credential>, Status> {
        let request = request.into_inner();
        let mut world = self.world();
        world.check(&request.path)?;
        if world.state != WorktreeState::Ready {
            return Err(status(Reason::NotReady, "the branch is not ready", "try again"));
        }
        world.rotations += u32::from(request.rotate);
        Ok(Response::new(world.credential()))
    }

    async fn list_worktrees(
        &self,
        request: Request<v1::ListWorktreesRequest>,
    ) -> Result<Response<v1::ListWorktreesResponse>, Status> {
        let world = self.world();
        let path = request.into_inner().path;
        if !path.is_empty() {
            world.check(&path)?;
        }
        let worktrees = world.registered.then(|| world.worktree()).into_iter().collect();
        let unused = world.unused.clone();
        Ok(Response::new(v1::ListWorktreesResponse { worktrees, unused }))
    }

    async fn register_repository(
        &self,
        request: Request<v1::RegisterRepositoryRequest>,
    ) -> Result<Response<v1::Repository>, Status> {
        let mut world = self.world();
        let was_registered = std::mem::replace(&mut world.registered, true);
        world
            .check(&request.into_inner().path)
            .inspect_err(|_| world.registered = was_registered)?;
        Ok(Response::new(world.repository()))
    }

    async fn trust_configuration(
        &self,
        request: Request<v1::TrustConfigurationRequest>,
    ) -> Result<Response<v1::TrustConfigurationResponse>, Status> {
        let request = request.into_inner();
        let mut world = self.world();
        world.check(&request.path)?;
        if !world.config_path().exists() {
            return Err(status(Reason::NotConfigured, "there is no configuration", ""));
        }
        if !request.proposal.is_empty() {
            world.trusted.push(request.proposal);
        }
        Ok(Response::new(v1::TrustConfigurationResponse {
            changes: world.proposed.clone(),
            proposal: "the proposal".into(),
            is_first: false,
        }))
    }

    async fn list_repositories(
        &self,
        _: Request<v1::ListRepositoriesRequest>,
    ) -> Result<Response<v1::ListRepositoriesResponse>, Status> {
        let world = self.world();
        let repositories = world.registered.then(|| world.repository()).into_iter().collect();
        Ok(Response::new(v1::ListRepositoriesResponse { repositories }))
    }

    async fn reconcile(
        &self,
        request: Request<v1::ReconcileRequest>,
    ) -> Result<Response<v1::ReconcileResponse>, Status> {
        let request = request.into_inner();
        if !request.path.is_empty() {
            self.world().check(&request.path)?;
        }
        if request.wait {
            self.make().await;
        }
        Ok(Response::new(v1::ReconcileResponse {}))
    }

    async fn get_daemon_info(
        &self,
        _: Request<v1::GetDaemonInfoRequest>,
    ) -> Result<Response<v1::DaemonInfo>, Status> {
        let (protocol, problems, local_state) = {
            let mut world = self.world();
            (world.protocol, world.local_problems.clone(), world.local_state())
        };
        Ok(Response::new(v1::DaemonInfo {
            version: "9.8.7".into(),
            protocol,
            pid: std::process::id().cast_signed(),
            start_time: Some(timestamp(1_700_000_000)),
            socket: self.socket.to_string_lossy().into_owned(),
            state_dir: "/nowhere/state".into(),
            local: Some(v1::LocalLakebase {
                api_url: "http://127.0.0.1:7777".into(),
                postgres_version: "15.14".into(),
                ..v1::LocalLakebase::default()
            }),
            problems,
            local_state: local_state.into(),
            ledger_problem: None,
        }))
    }

    async fn shutdown(
        &self,
        _: Request<v1::ShutdownRequest>,
    ) -> Result<Response<v1::ShutdownResponse>, Status> {
        self.stop.send_replace(true);
        Ok(Response::new(v1::ShutdownResponse {}))
    }

    async fn diagnose(
        &self,
        request: Request<v1::DiagnoseRequest>,
    ) -> Result<Response<v1::DiagnoseResponse>, Status> {
        let world = self.world();
        let found = world.check(&request.into_inner().path);
        let check = |area: v1::Area, name: &str, state: v1::CheckState, message: &str, fix: &str| v1::Check {
            area: area.into(),
            name: name.into(),
            state: state.into(),
            message: message.into(),
            fix: fix.into(),
        };
        let repository = match found {
            Ok(()) => check(
                v1::Area::Repository,
                "repository",
                v1::CheckState::Ok,
                "it is registered",
                "",
            ),
            Err(status) => check(
                v1::Area::Repository,
                "repository",
                v1::CheckState::Failure,
                status.message(),
                "run `lakebase init`",
            ),
        };
        let git = check(
            v1::Area::Machine,
            "git",
            v1::CheckState::Warning,
            "an old git \u{202e}\x1b[31m",
            "install a newer one",
        );
        Ok(Response::new(v1::DiagnoseResponse {
            checks: vec![repository, git],
        }))
    }

    unused! {
        watch_credential(WatchCredentialRequest) -> BoxStream<v1::Credential>;
        watch_worktrees(WatchWorktreesRequest) -> BoxStream<v1::ListWorktreesResponse>;
        explain(ExplainRequest) -> v1::ExplainResponse;
        unregister_repository(UnregisterRepositoryRequest) -> v1::UnregisterRepositoryResponse;
        reset_branch(ResetBranchRequest) -> v1::Worktree;
        delete_branch(DeleteBranchRequest) -> v1::DeleteBranchResponse;
        keep_branch(KeepBranchRequest) -> v1::Worktree;
        collect_garbage(CollectGarbageRequest) -> v1::CollectGarbageResponse;
        list_events(ListEventsRequest) -> v1::ListEventsResponse;
        watch_events(WatchEventsRequest) -> BoxStream<v1::Event>;
        recover_ledger(RecoverLedgerRequest) -> v1::RecoverLedgerResponse;
        reset_ledger(ResetLedgerRequest) -> v1::ResetLedgerResponse;
    }
}
