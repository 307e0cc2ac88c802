//! The real server in a process of its own, and every process that it leaves: started, killed, stopped, found.

use crate::lake::{Lake, USER};
use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::{Instant, timeout};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A scratch directory with a server; both go with the value, and so do all processes of that directory.
#[derive(Debug)]
pub(crate) struct Server {
    dir: TempDir,
    program: PathBuf,
    lake: Lake,
    process: Option<Child>,
}

/// A process of the scratch directory.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) args: String,
}

impl Server {
    /// Starts `program` on an empty directory below `parent`.
    pub(crate) async fn start(program: &Path, parent: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("lake").tempdir_in(parent)?;
        // PostgreSQL runs as another user when we are root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let lake = Lake::new(dir.path().canonicalize()?.join("local"));
        let mut server = Self {
            dir,
            program: program.to_owned(),
            lake,
            process: None,
        };
        server.start_again().await?;
        Ok(server)
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Starts it and waits until it says that it is ready; returns how long that took.
    pub(crate) async fn start_again(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let log = self.dir.path().join("server.log");
        let log = OpenOptions::new().append(true).create(true).open(log)?;
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(["local", "serve", "--listen", "127.0.0.1:0", "--local-user", USER])
            .arg("--local-dir")
            .arg(self.lake.data_dir())
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "LAKEBASE_PG_BINDIR"))
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().context("it has a standard output")?;
        self.process = Some(process);
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line.starts_with("export DATABRICKS_CONFIG_FILE=") {
                    return Ok(());
                }
            }
            anyhow::bail!("the server ended: {}", self.last_words())
        };
        timeout(PATIENCE, ready)
            .await
            .context("the server is not ready")??;
        let took = begun.elapsed();
        // Read on, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(took)
    }

    /// Kills the server and nothing else.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("it runs")?;
        Ok(process.kill().await?)
    }

    /// Stops the server as a user does.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let mut process = self.process.take().context("it runs")?;
        signal(self::pid(&process)?, Signal::TERM);
        timeout(PATIENCE, process.wait())
            .await
            .context("it does not stop")?
            .context("it was ours")
    }

    /// The number of the server's process.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        pid(self.process.as_ref().context("it runs")?)
    }

    /// The end of what it logged.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// All processes whose command line names the scratch directory, but for the server itself.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let output = Command::new("ps").args(["-ww", "-eo", "pid=,args="]).output()?;
        ensure!(output.status.success(), "ps failed");
        let server = self.pid().ok();
        let here = self.dir.path().to_string_lossy().into_owned();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter(|line| line.contains(&here));
        let parsed = lines.filter_map(|line| {
            let (pid, args) = line.trim_start().split_once(' ')?;
            let (pid, args) = (pid.parse().ok()?, args.to_owned());
            Some(Process { pid, args })
        });
        Ok(parsed.filter(|process| server != Some(process.pid)).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's last words:\n{}", self.last_words());
        }
        if let Some(server) = &mut self.process {
            drop(server.start_kill());
        }
        // What a test killed or abandoned on purpose left behind.
        for process in self.processes().unwrap_or_default() {
            signal(process.pid, Signal::KILL);
        }
    }
}

fn pid(process: &Child) -> anyhow::Result<i32> {
    Ok(i32::try_from(process.id().context("it ended")?)?)
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended this very moment.
        kill_process(pid, signal).ok();
    }
}

/// The first line but `number` of a branch's `postmaster.pid`; `None` when it sleeps.
fn lock_line(pgdata: &Path, number: usize) -> Option<String> {
    let text = fs::read_to_string(pgdata.join("postmaster.pid")).ok()?;
    text.lines().nth(number).map(str::to_owned)
}

/// The number of a branch's postmaster.
pub(crate) fn postmaster(pgdata: &Path) -> Option<i32> {
    lock_line(pgdata, 0)?.trim().parse().ok()
}

/// The private directory of a running branch's socket.
pub(crate) fn socket_dir(pgdata: &Path) -> anyhow::Result<PathBuf> {
    Ok(lock_line(pgdata, 4).context("its compute sleeps")?.into())
}

/// The password of the role that owns a branch's cluster.
pub(crate) fn owner_password(pgdata: &Path) -> anyhow::Result<String> {
    let data_dir = pgdata.ancestors().nth(4).context("it is in no data directory")?;
    Ok(fs::read_to_string(data_dir.join("postgres.password"))?)
}

/// One of the PostgreSQL programs that are of the same make as a branch's running compute.
pub(crate) fn pg_program(pgdata: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let command = fs::read_to_string(pgdata.join("postmaster.opts"))?;
    let postgres = command.split(' ').next().context("it names its program")?;
    Ok(Path::new(postgres).with_file_name(name))
}
