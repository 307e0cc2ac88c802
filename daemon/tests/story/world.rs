//! A world for one test: a scratch directory with a real daemon, a real Local Lakebase and a real git repository. Everything
//! ends and goes with the value, also when the test fails. Shared by several test binaries.

#![allow(dead_code, reason = "each test binary that shares this uses a part of it")]

use lakebase_api::{AuthEnv, Branch, BranchName, Client, ProjectName};
use lakebase_proto::{Client as Daemon, connect, v1};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct World {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
    pg_bindir: Option<PathBuf>,
    /// Arguments of the daemon.
    args: Vec<String>,
    /// More of the daemon's environment.
    env: Vec<(&'static str, String)>,
}

impl World {
    /// A repository with one commit on main and a configuration; no daemon yet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        // PostgreSQL runs as another user when we are root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("changed");
        let world = Self {
            dir,
            daemon: None,
            pg_bindir: None,
            args: Vec::new(),
            env: vec![],
        };
        fs::create_dir(world.main()).expect("made");
        world.git(&["init", "-q", "-b", "main"]);
        fs::write(world.main().join(".gitignore"), ".env\n").expect("written");
        world.git(&["add", "."]);
        world.git(&["commit", "-q", "-m", "first"]);
        world.configure("LAKEBASE_PROJECT_ID=\"shop\"\n");
        world
    }

    /// The same, with a running daemon that knows the repository.
    pub(crate) async fn started() -> Self {
        let mut world = Self::new();
        world.start().await;
        world.register().await;
        world
    }

    pub(crate) fn without_postgres(mut self) -> Self {
        self.pg_bindir = Some("/nonexistent".into());
        self
    }

    pub(crate) fn with_args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    pub(crate) fn with_env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().expect("it is there").join(name)
    }

    pub(crate) fn main(&self) -> PathBuf {
        self.path("shop")
    }

    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.main().join("lakebase.config"), text).expect("written");
    }

    /// Confirms the configuration file as it is, as the user would.
    pub(crate) async fn trust(&self) {
        let mut request = v1::TrustConfigurationRequest {
            path: bytes(&self.main()),
            proposal: String::new(),
        };
        let mut client = self.client().await;
        let review = client.trust_configuration(request.clone()).await;
        request.proposal = review.expect("valid").into_inner().proposal;
        client.trust_configuration(request).await.expect("confirmed");
        self.reconcile().await;
    }

    pub(crate) fn git(&self, args: &[&str]) {
        self.git_in(&self.main(), args);
    }

    /// Runs git in a directory of this world.
    pub(crate) fn git_in(&self, dir: &Path, args: &[&str]) {
        assert!(
            dir.starts_with(self.path("")),
            "{} is not of this world",
            dir.display()
        );
        let output = clean(&mut Command::new("git"))
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.com",
                "-c",
                "advice.detachedHead=false",
            ])
            .args(args)
            .current_dir(dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("git is installed");
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    // ---- the daemon

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lakebased"));
        clean(&mut command)
            .args(&self.args)
            .env("HOME", self.dir.path())
            .env("LAKEBASE_SOCKET", self.socket())
            .env("LAKEBASE_STATE_DIR", self.path("state"))
            .env("LAKEBASE_LOCAL_DIR", self.path("local"))
            .env("LAKEBASE_LOCAL_USER", "jane.doe@example.com")
            .env("DATABRICKS_CONFIG_FILE", self.path("databrickscfg"))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        if let Some(dir) = &self.pg_bindir {
            command.env("LAKEBASE_PG_BINDIR", dir);
        }
        command
    }

    /// Runs the command line in a directory of this world.
    pub(crate) fn lakebase(&self, dir: &Path, args: &[&str]) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_lakebased")).with_file_name("lakebase");
        assert!(
            program.is_file(),
            "build the workspace first: there is no {}",
            program.display()
        );
        let daemon = self.command();
        let mut command = Command::new(program);
        clean(&mut command)
            .args(args)
            .current_dir(dir)
            .envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null());
        command.output().expect("it runs")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/l.sock")
    }

    pub(crate) async fn start(&mut self) {
        let command = self.command();
        self.start_as(command).await;
    }

    /// Starts the daemon by a command of the caller's, which ends up as the daemon.
    pub(crate) async fn start_as(&mut self, mut command: Command) {
        self.daemon = Some(command.spawn().expect("it starts"));
        let socket = self.socket();
        until("the daemon answers", async || answers(&socket).await).await;
    }

    /// Takes a daemon over that a test started by itself.
    pub(crate) fn take(&mut self, daemon: Child) {
        self.daemon = Some(daemon);
    }

    /// The daemon's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("it runs").id()
    }

    /// How the daemon ended, once it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let daemon = self.daemon.as_mut().expect("it ran");
        daemon.try_wait().expect("it was ours")
    }

    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        daemon.kill().expect("killed");
        daemon.wait().expect("it was ours");
    }

    pub(crate) async fn shut_down(&mut self) -> ExitStatus {
        self.client()
            .await
            .shutdown(v1::ShutdownRequest {})
            .await
            .expect("it answers");
        let mut daemon = self.daemon.take().expect("it runs");
        tokio::task::spawn_blocking(move || daemon.wait().expect("it was ours"))
            .await
            .expect("no panic")
    }

    pub(crate) async fn client(&self) -> Daemon {
        connect(&self.socket(), PATIENCE).await.expect("it answers")
    }

    pub(crate) async fn register(&self) {
        self.register_at(&self.main()).await;
    }

    pub(crate) async fn register_at(&self, dir: &Path) {
        let path = bytes(dir);
        let request = v1::RegisterRepositoryRequest { path };
        self.client()
            .await
            .register_repository(request)
            .await
            .expect("registered");
    }

    pub(crate) async fn reconcile(&self) {
        self.reconcile_at(&self.main()).await;
    }

    pub(crate) async fn reconcile_at(&self, dir: &Path) {
        let request = v1::ReconcileRequest {
            path: bytes(dir),
            wait: true,
        };
        self.client().await.reconcile(request).await.expect("reconciled");
    }

    // ---- what it says

    pub(crate) async fn credential(&self, dir: &Path) -> Result<v1::Credential, tonic::Status> {
        let request = v1::GetCredentialRequest {
            path: bytes(dir),
            rotate: false,
        };
        Ok(self.client().await.get_credential(request).await?.into_inner())
    }

    /// The branch of a worktree, once it can be used.
    pub(crate) async fn branch(&self, dir: &Path) -> String {
        let credential = self.credential(dir).await.expect("it is ready in time");
        credential.branch.expect("it has one").branch_id
    }

    pub(crate) async fn listing(&self) -> v1::ListWorktreesResponse {
        let request = v1::ListWorktreesRequest::default();
        let listed = self.client().await.list_worktrees(request).await;
        listed.expect("listed").into_inner()
    }

    pub(crate) async fn worktree(&self, dir: &Path) -> Option<v1::Worktree> {
        let path = dir.to_string_lossy();
        let all = self.listing().await;
        all.worktrees.into_iter().find(|worktree| worktree.path == path)
    }

    pub(crate) async fn repository(&self) -> v1::Repository {
        let all = self
            .client()
            .await
            .list_repositories(v1::ListRepositoriesRequest {})
            .await
            .expect("listed");
        all.into_inner().repositories.pop().expect("one is registered")
    }

    // ---- the truth

    /// A client of the service itself, past the daemon.
    pub(crate) fn service(&self) -> Client {
        let env = AuthEnv::with_profiles(&self.path("local/databrickscfg"));
        let workspace =
            lakebase_api::auth::profile::load(Some("local"), &env).expect("Local Lakebase wrote it");
        Client::new(workspace).expect("a client")
    }

    pub(crate) fn project() -> ProjectName {
        ProjectName::new("shop").expect("a name")
    }

    pub(crate) fn branch_name(id: &str) -> BranchName {
        BranchName::new(&Self::project(), id).expect("a name")
    }

    pub(crate) async fn service_branches(&self) -> Vec<Branch> {
        self.service()
            .list_branches(&Self::project())
            .await
            .expect("listed")
    }

    /// The names of all living branches, sorted.
    pub(crate) async fn service_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .service_branches()
            .await
            .iter()
            .map(|b| b.name.id().to_owned())
            .collect();
        names.sort();
        names
    }

    /// The processes that name this world's directory, by the first words of their command lines.
    pub(crate) fn processes(&self) -> Vec<String> {
        let output = Command::new("ps")
            .args(["-eo", "args="])
            .output()
            .expect("ps is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let here = self.dir.path().to_string_lossy().into_owned();
        text.lines()
            .filter(|line| line.contains(&here))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(self.path("state/log"))
                .into_iter()
                .flatten()
                .flatten()
            {
                eprintln!("{}", fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
        if let Some(mut daemon) = self.daemon.take() {
            drop(Command::new("kill").arg(daemon.id().to_string()).status());
            let deadline = Instant::now() + Duration::from_secs(10);
            while matches!(daemon.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            drop(daemon.kill());
            drop(daemon.wait());
        }
        // What a test killed on purpose left behind.
        drop(
            Command::new("pkill")
                .args(["-9", "-f", &*self.dir.path().to_string_lossy()])
                .status(),
        );
    }
}

/// Whether a daemon answers there. A connection alone proves nothing: a killed daemon's child still
/// holds the listening socket for a moment, between fork and exec.
pub(crate) async fn answers(socket: &Path) -> bool {
    let Ok(mut client) = connect(socket, Duration::from_secs(1)).await else {
        return false;
    };
    let asked = client.get_daemon_info(v1::GetDaemonInfoRequest {});
    matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(_)))
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFnMut() -> bool) {
    until_within(PATIENCE, what, is_so).await;
}

/// Waits until something is so that takes longer by design.
pub(crate) async fn until_within(patience: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Takes the caller's environment away, but for what programs are found by.
fn clean(command: &mut Command) -> &mut Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8")
}
