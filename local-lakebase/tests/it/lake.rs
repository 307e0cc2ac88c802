//! A Local Lakebase of its own for each test, in a directory that goes with it.

use std::process::Stdio;
use std::time::Duration;

use local_lakebase::{Clock, Config, Limits, LocalLakebase};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use crate::http::{Answer, send};

pub(crate) const USER: &str = "jane.doe@example.com";

pub(crate) struct Lake {
    pub(crate) local: LocalLakebase,
    pub(crate) clock: Clock,
    pub(crate) dir: TempDir,
    pub(crate) limits: Limits,
}

/// A Local Lakebase that is stopped, and its directory.
pub(crate) struct Stopped {
    clock: Clock,
    dir: TempDir,
    limits: Limits,
}

impl Stopped {
    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        config(&self.dir, &self.limits).data_dir
    }

    pub(crate) async fn try_start(&self) -> Result<LocalLakebase, local_lakebase::StartError> {
        LocalLakebase::start_at(config(&self.dir, &self.limits), self.clock.clone()).await
    }

    pub(crate) async fn start(self) -> Lake {
        let local = self.try_start().await.unwrap();
        let Self { clock, dir, limits } = self;
        Lake {
            local,
            clock,
            dir,
            limits,
        }
    }
}

/// What `psql` came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Lake {
    pub(crate) async fn start() -> Self {
        let limits = Limits {
            sweep_period: Duration::from_millis(100),
            purge_delay: Duration::ZERO,
            ..Limits::default()
        };
        Self::start_with(limits).await
    }

    pub(crate) async fn start_with(limits: Limits) -> Self {
        let (dir, clock) = (open_dir(), Clock::default());
        let local = LocalLakebase::start_at(config(&dir, &limits), clock.clone())
            .await
            .unwrap();
        Self {
            local,
            clock,
            dir,
            limits,
        }
    }

    /// Stops it and starts it again on the same directory.
    pub(crate) async fn restart(self) -> Self {
        self.halt().await.start().await
    }

    /// Stops it; its directory stays.
    pub(crate) async fn halt(self) -> Stopped {
        self.local.stop().await;
        let Self {
            clock, dir, limits, ..
        } = self;
        Stopped { clock, dir, limits }
    }

    pub(crate) async fn stop(self) {
        self.local.stop().await;
    }

    pub(crate) fn config(&self) -> Config {
        config(&self.dir, &self.limits)
    }

    /// Sends a request below `/api/2.0/postgres/`.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send_text(method, path, &body).await
    }

    /// Sends a request below `/api/2.0/postgres/` with whatever body.
    pub(crate) async fn send_text(&self, method: &str, path: &str, body: &str) -> Answer {
        let path = format!("/api/2.0/postgres/{path}");
        let token = self.local.token().expose_secret();
        send(self.local.api_url(), method, &path, Some(token), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Value::Null).await
    }

    /// Sends a request that must succeed.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.send(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        answer.body
    }

    pub(crate) async fn project(&self) {
        self.ok(
            "POST",
            "projects?project_id=shop",
            json!({"spec": {"display_name": "Shop"}}),
        )
        .await;
    }

    /// Makes a branch of production that lives for six hours.
    pub(crate) async fn branch(&self, id: &str) -> Value {
        let path = format!("projects/shop/branches?branch_id={id}");
        let operation = self.ok("POST", &path, json!({"spec": {"ttl": "21600s"}})).await;
        operation["response"].clone()
    }

    /// Makes a password for a branch's endpoint.
    pub(crate) async fn password(&self, branch: &str) -> String {
        let endpoint = format!("projects/shop/branches/{branch}/endpoints/primary");
        let credential = self
            .ok("POST", "credentials", json!({"endpoint": endpoint}))
            .await;
        credential["token"].as_str().unwrap().to_owned()
    }

    /// Returns host and port of a branch's endpoint.
    pub(crate) async fn address(&self, branch: &str) -> (String, u16) {
        let path = format!("projects/shop/branches/{branch}/endpoints/primary");
        let endpoint = self.ok("GET", &path, Value::Null).await;
        let hosts = &endpoint["status"]["hosts"];
        let port = hosts["port"]
            .as_u64()
            .map_or(5432, |port| u16::try_from(port).unwrap());
        (hosts["host"].as_str().unwrap().to_owned(), port)
    }

    /// Runs SQL on a branch as its owner, with a fresh password.
    pub(crate) async fn sql(&self, branch: &str, sql: &str) -> String {
        let password = self.password(branch).await;
        let said = self.psql(branch, &password, "", sql).await;
        assert!(said.ok, "{sql}: {}", said.err);
        said.out.trim().to_owned()
    }

    /// Runs `psql` against a branch's endpoint; `more` adds to the connection string.
    pub(crate) async fn psql(&self, branch: &str, password: &str, more: &str, sql: &str) -> Said {
        let (host, port) = self.address(branch).await;
        let ca = self.local.ca_file().display();
        let connection = format!(
            "host={host} port={port} user={USER} dbname=databricks_postgres connect_timeout=20 \
             sslmode=verify-full sslrootcert={ca} {more}"
        );
        psql(&connection, password, sql).await
    }
}

pub(crate) async fn psql(connection: &str, password: &str, sql: &str) -> Said {
    let output = Command::new("psql")
        .args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
            connection,
        ])
        .env("PGPASSWORD", password)
        .env_remove("PGSSLMODE")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("psql is installed with PostgreSQL");
    Said {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until something is so, and fails if it takes too long.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn config(dir: &TempDir, limits: &Limits) -> Config {
    Config {
        data_dir: dir.path().join("local"),
        api_addr: ([127, 0, 0, 1], 0).into(),
        public_url: None,
        user_name: USER.to_owned(),
        pg_bindir: std::env::var_os("LAKEBASE_PG_BINDIR").map(Into::into),
        limits: limits.clone(),
    }
}

/// A directory that the user PostgreSQL runs as can pass through.
fn open_dir() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("lake").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}
