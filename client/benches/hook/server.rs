//! The daemon that answers the hook: one that runs already, a scratch one, or the fake of the tests in a process of its own.

use crate::fake::{World, serve, wait_for};
use anyhow::{Context, ensure};
use lakebase_proto::v1::{
    ListWorktreesRequest, ReconcileRequest, RegisterRepositoryRequest, ShutdownRequest, WorktreeState,
};
use lakebase_proto::{connect, socket_path};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    socket: PathBuf,
    root: PathBuf,
    what: String,
    /// Ours to stop and to end.
    own: Option<Own>,
}

struct Own {
    process: Child,
    /// Kept until the process is gone.
    _dir: TempDir,
}

impl Server {
    pub(crate) fn choose(fake: bool, daemon: Option<&Path>) -> anyhow::Result<Self> {
        let named = std::env::var_os("LAKEBASE_SOCKET").filter(|path| !path.is_empty());
        match (fake, named, daemon) {
            (false, Some(_), _) => Self::live(),
            (false, None, Some(daemon)) => Self::scratch(daemon),
            _ => Self::fake(),
        }
    }

    fn live() -> anyhow::Result<Self> {
        let socket = socket_path(&lakebase_proto::SocketEnv::from_process())?;
        let root = std::env::current_dir()?;
        Runtime::new()?.block_on(is_ready(&socket, &root))?;
        Ok(Self {
            what: format!("the one at {}", socket.display()),
            socket,
            root,
            own: None,
        })
    }

    fn scratch(daemon: &Path) -> anyhow::Result<Self> {
        let (dir, socket, root) = place()?;
        fs::write(
            root.join("lakebase.config"),
            "LAKEBASE_PROJECT_ID=\"bench\"\nLAKEBASE_PROFILE=\"local\"\n",
        )?;
        let process = Command::new(daemon)
            .arg("--socket")
            .arg(&socket)
            .arg("--state-dir")
            .arg(dir.path().join("state"))
            .arg("--local-dir")
            .arg(dir.path().join("local"))
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{}`", daemon.display()))?;
        let what = format!("a scratch one, {}", daemon.display());
        let server = Self::own(socket, root, what, process, dir);
        wait_for(&server.socket);
        Runtime::new()?.block_on(async {
            register(&server.socket, &server.root).await?;
            is_ready(&server.socket, &server.root).await
        })?;
        Ok(server)
    }

    fn fake() -> anyhow::Result<Self> {
        let (dir, socket, root) = place()?;
        let process = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .args([&socket, &root])
            .spawn()?;
        let server = Self::own(
            socket,
            root,
            "a fake, without git or PostgreSQL".into(),
            process,
            dir,
        );
        wait_for(&server.socket);
        Ok(server)
    }

    fn own(socket: PathBuf, root: PathBuf, what: String, process: Child, dir: TempDir) -> Self {
        Self {
            socket,
            root,
            what,
            own: Some(Own { process, _dir: dir }),
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A worktree whose branch is ready.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn describe(&self) -> &str {
        &self.what
    }

    /// Stops the process until the answer is dropped; `None` when it is not ours.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        let pid = Pid::from_child(&self.own.as_ref()?.process);
        kill_process(pid, Signal::STOP).ok()?;
        Some(Stopped(pid))
    }
}

pub(crate) struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).expect("it is our child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else {
            return;
        };
        let asked = Runtime::new().map(|runtime| runtime.block_on(shutdown(&self.socket)));
        let deadline = Instant::now() + PATIENCE;
        while matches!(asked, Ok(Ok(()))) && Instant::now() < deadline {
            if matches!(own.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        own.process.kill().ok();
        own.process.wait().ok();
    }
}

/// A scratch directory with a git repository. Open to others, as PostgreSQL may have to run as another user.
fn place() -> anyhow::Result<(TempDir, PathBuf, PathBuf)> {
    let dir = tempfile::Builder::new()
        .prefix("lakebase-bench-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()?;
    let base = dir.path().canonicalize()?;
    let root = base.join("shop");
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=Bench", "-c", "user.email=bench@localhost"];
        let mut command = Command::new("git");
        let status = command.args(identity).args(args).current_dir(&base).status()?;
        ensure!(status.success(), "{command:?} failed");
        Ok(())
    };
    git(&["init", "--quiet", "--initial-branch=main", "shop"])?;
    git(&["-C", "shop", "commit", "--quiet", "--allow-empty", "-m", "first"])?;
    let run = base.join("run");
    fs::create_dir(&run)?;
    fs::set_permissions(&run, Permissions::from_mode(0o700))?;
    Ok((dir, run.join("l.sock"), root))
}

async fn register(socket: &Path, root: &Path) -> anyhow::Result<()> {
    let path = root.as_os_str().as_bytes().to_vec();
    let mut client = connect(socket, PATIENCE).await?;
    let register = RegisterRepositoryRequest { path: path.clone() };
    client.register_repository(register).await?;
    client.reconcile(ReconcileRequest { path, wait: true }).await?;
    Ok(())
}

async fn is_ready(socket: &Path, root: &Path) -> anyhow::Result<()> {
    let path = root.as_os_str().as_bytes().to_vec();
    let mut client = connect(socket, PATIENCE).await?;
    let listed = client.list_worktrees(ListWorktreesRequest { path }).await?;
    let worktrees = listed.into_inner().worktrees;
    let here = worktrees.iter().find(|worktree| root.starts_with(&worktree.path));
    let here = here.with_context(|| format!("`{}` is no worktree of the daemon's", root.display()))?;
    let (why, problem) = (&here.why, &here.problem);
    ensure!(
        here.state() == WorktreeState::Ready,
        "its branch is not ready: {why} {problem:?}"
    );
    Ok(())
}

async fn shutdown(socket: &Path) -> anyhow::Result<()> {
    let mut client = connect(socket, PATIENCE).await?;
    client.shutdown(ShutdownRequest {}).await?;
    Ok(())
}

/// Is the fake until it is told to end.
pub(crate) fn be_fake(socket: &Path, root: &Path) -> anyhow::Result<()> {
    let world = Arc::new(Mutex::new(World::ready(root)));
    Runtime::new()?.block_on(serve(socket.to_owned(), world));
    Ok(())
}
