//! What is measured: the built daemon in a scratch directory, before a control plane in memory, with a repository of so many
//! worktrees; and the bare echo beside it.

use crate::service::Service;
use anyhow::{Context, ensure};
use lakebase_proto::{Client, connect, v1};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(10);
/// The rule that keeps a `.env` out of git.
const IGNORED: &str = ".env\n";
const POLL: Duration = Duration::from_millis(1);

/// Ends with the value.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Process {
    fn proc(&self, file: &str) -> anyhow::Result<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{file}", self.0.id()))?)
    }

    /// Megabytes that are in memory now.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes.context("no VmRSS")?.parse::<f64>()? / 1024.0)
    }

    /// Time on processors so far.
    pub(crate) fn busy(&self) -> anyhow::Result<Duration> {
        let stat = self.proc("stat")?;
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let fields: Vec<&str> = after_name.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }
}

#[derive(Debug)]
pub(crate) struct Rig {
    dir: TempDir,
    pub(crate) service: Service,
    pub(crate) daemon: Option<Process>,
    /// How many linked worktrees the repository has.
    count: usize,
    /// Whether each has a `.env`.
    has_env_files: bool,
}

impl Rig {
    /// A repository with so many worktrees, each with its branch.
    pub(crate) async fn new(count: usize, has_env_files: bool) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("lakebase-bench-").tempdir()?;
        let (service, url) = Service::start().await?;
        fs::write(
            dir.path().join("databrickscfg"),
            format!("[bench]\nhost = {url}\ntoken = bench\n"),
        )?;
        let mut rig = Self {
            dir,
            service,
            daemon: None,
            count,
            has_env_files,
        };
        rig.make_repository()?;
        rig.start().await?;
        let path = bytes(&rig.main());
        let mut client = rig.client().await?;
        client
            .register_repository(v1::RegisterRepositoryRequest { path })
            .await?;
        rig.settle().await?;
        Ok(rig)
    }

    pub(crate) fn main(&self) -> PathBuf {
        self.dir.path().join("shop")
    }

    pub(crate) fn worktree(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("w{n}"))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("run/l.sock")
    }

    pub(crate) fn git(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("git")
            .args(["-c", "user.name=b", "-c", "user.email=b@example.com"])
            .args(args)
            .current_dir(self.main())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()?;
        ensure!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Real git, but for the linked worktrees: their files are written as git writes them, because ten thousand checkouts
    /// would take an hour.
    fn make_repository(&self) -> anyhow::Result<()> {
        fs::create_dir(self.main())?;
        self.git(&["init", "-q", "-b", "main"])?;
        let env_file = if self.has_env_files { ".env" } else { "" };
        let config = format!(
            "LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_PROFILE=\"bench\"\nLAKEBASE_ENV_FILE=\"{env_file}\"\n\
             LAKEBASE_WORKTREE_SOURCE=\"source\"\n"
        );
        fs::write(self.main().join("lakebase.config"), config)?;
        fs::write(self.main().join(".gitignore"), IGNORED)?;
        self.git(&["add", "."])?;
        self.git(&["commit", "-q", "-m", "first"])?;
        let commit = self.git(&["rev-parse", "HEAD"])?;
        for n in 0..self.count {
            let (root, admin) = (self.worktree(n), self.main().join(format!(".git/worktrees/w{n}")));
            fs::create_dir_all(&admin)?;
            fs::create_dir(&root)?;
            fs::write(root.join(".git"), format!("gitdir: {}\n", admin.display()))?;
            fs::write(admin.join("HEAD"), &commit)?;
            fs::write(admin.join("commondir"), "../..\n")?;
            fs::write(admin.join("gitdir"), format!("{}\n", root.join(".git").display()))?;
            if self.has_env_files {
                fs::write(root.join(".gitignore"), IGNORED)?;
                fs::copy(self.main().join(".git/index"), admin.join("index"))?;
            }
        }
        let listed = self.git(&["worktree", "list", "--porcelain"])?;
        let listed = listed
            .lines()
            .filter(|line| line.starts_with("worktree "))
            .count();
        ensure!(listed == self.count + 1, "git sees {listed} worktrees");
        Ok(())
    }

    /// Starts the daemon; returns how long it took to answer.
    pub(crate) async fn start(&mut self) -> anyhow::Result<Duration> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let begun = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_lakebased"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.dir.path())
            .env("LAKEBASE_SOCKET", self.socket())
            .env("LAKEBASE_STATE_DIR", self.dir.path().join("state"))
            .env("LAKEBASE_LOCAL_DIR", self.dir.path().join("local"))
            .env("DATABRICKS_CONFIG_FILE", self.dir.path().join("databrickscfg"))
            .env("DATABRICKS_CONFIG_PROFILE", "bench")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.daemon = Some(Process(child));
        loop {
            if let Ok(mut client) = connect(&self.socket(), Duration::from_secs(1)).await
                && client.get_daemon_info(v1::GetDaemonInfoRequest {}).await.is_ok()
            {
                return Ok(begun.elapsed());
            }
            ensure!(begun.elapsed() < PATIENCE, "the daemon does not answer");
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Ok(connect(&self.socket(), Duration::from_secs(10)).await?)
    }

    /// One look, and what follows from it.
    pub(crate) async fn reconcile(&self) -> anyhow::Result<Duration> {
        let mut client = self.client().await?;
        let path = bytes(&self.main());
        let begun = Instant::now();
        client
            .reconcile(v1::ReconcileRequest { path, wait: true })
            .await?;
        Ok(begun.elapsed())
    }

    /// Waits until every worktree has its branch.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            self.reconcile().await?;
            let mut client = self.client().await?.max_decoding_message_size(64 << 20);
            let request = v1::ListWorktreesRequest::default();
            let worktrees = client.list_worktrees(request).await?.into_inner().worktrees;
            let is_ready = |worktree: &&v1::Worktree| worktree.state() == v1::WorktreeState::Ready;
            let ready = worktrees.iter().filter(is_ready).count();
            if ready == worktrees.len() && ready > self.count {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "{ready} of {} worktrees are ready",
                worktrees.len()
            );
        }
    }
}

/// The bare echo, in a process of its own.
pub(crate) async fn echo(dir: &Path) -> anyhow::Result<(Process, PathBuf)> {
    let socket = dir.join("echo.sock");
    let child = Command::new(std::env::current_exe()?)
        .arg("--echo")
        .arg(&socket)
        .stdin(Stdio::null())
        .spawn()?;
    let process = Process(child);
    let begun = Instant::now();
    while connect(&socket, Duration::from_secs(1)).await.is_err() {
        ensure!(
            begun.elapsed() < Duration::from_secs(10),
            "the echo does not answer"
        );
        tokio::time::sleep(POLL).await;
    }
    Ok((process, socket))
}

pub(crate) fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
