//! PostgreSQL by itself, on a copy of a branch's files: what everything is compared with.

use crate::lake::{DATABASE, USER};
use crate::place::run;
use crate::server::{PATIENCE, signal};
use anyhow::{Context, ensure};
use rustix::process::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(1);
pub(crate) const PASSWORD: &str = "bench";

/// A copy of a data directory, with nothing of ours around it.
#[derive(Debug)]
pub(crate) struct Bare {
    bindir: PathBuf,
    dir: PathBuf,
}

/// A running one; it ends with the value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) socket_dir: PathBuf,
}

impl Bare {
    /// Copies a stopped data directory with `cp`, which shares blocks where it can. Returns how long the copy took.
    pub(crate) fn copy(pgdata: &Path, to: &Path, bindir: &Path) -> anyhow::Result<(Self, Duration)> {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        let begun = Instant::now();
        run(Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .args([pgdata, to]))?;
        let bare = Self {
            bindir: bindir.to_owned(),
            dir: to.to_owned(),
        };
        let took = begun.elapsed();
        // Ours asks the owner for a password.
        fs::write(to.join("pg_hba.conf"), "local all all trust\n")?;
        Ok((bare, took))
    }

    /// Starts it and waits for the first answer; returns how long that took.
    pub(crate) async fn start(&self, options: &[String]) -> anyhow::Result<(Running, Duration)> {
        // The data directory itself is closed to everybody else, which is what a socket's directory should be.
        let socket_dir = self.dir.clone();
        let owner = fs::metadata(&self.dir)?;
        let log = File::create(self.dir.with_extension("log"))?;
        let mut command = Command::new(self.bindir.join("postgres"));
        command
            .arg("-D")
            .arg(&self.dir)
            .args(["-c", &format!("unix_socket_directories={}", socket_dir.display())])
            .args(options.iter().flat_map(|option| ["-c", option]))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let begun = Instant::now();
        let child = command.spawn()?;
        let mut running = Running { child, socket_dir };
        loop {
            if let Ok(session) = running.open("postgres").await {
                session.close().await?;
                return Ok((running, begun.elapsed()));
            }
            ensure!(running.child.try_wait()?.is_none(), "the bare PostgreSQL ended");
            ensure!(begun.elapsed() < PATIENCE, "the bare PostgreSQL does not answer");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts it with TLS and SCRAM on a port of this machine. `None` when there is no `openssl` to make a certificate.
    pub(crate) async fn start_with_tls(&self, port: u16) -> anyhow::Result<Option<Running>> {
        let [key, cert] = ["bare.key", "bare.crt"].map(|name| self.dir.join(name));
        let made = run(Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ])
            .args(["-subj", "/CN=localhost", "-days", "2", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&cert));
        if let Err(error) = made {
            eprintln!("# no TLS by PostgreSQL itself: {error:#}");
            return Ok(None);
        }
        let owner = fs::metadata(&self.dir)?;
        for file in [&key, &cert] {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
            chown(file, Some(owner.uid()), Some(owner.gid()))?;
        }
        let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(self.dir.join("pg_hba.conf"), hba)?;
        let options = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "ssl=on".to_owned(),
            format!("ssl_key_file={}", key.display()),
            format!("ssl_cert_file={}", cert.display()),
        ];
        let (running, _) = self.start_on(port, &options).await?;
        let mut session = running.open_on("postgres", port).await?;
        let alter = format!("ALTER ROLE \"{USER}\" PASSWORD '{PASSWORD}'");
        sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut session).await?;
        session.close().await?;
        Ok(Some(running))
    }

    async fn start_on(&self, port: u16, options: &[String]) -> anyhow::Result<(Running, Duration)> {
        // The socket is named after the port.
        let link = self.dir.join(".s.PGSQL.5432");
        drop(fs::remove_file(&link));
        std::os::unix::fs::symlink(self.dir.join(format!(".s.PGSQL.{port}")), &link)?;
        self.start(options).await
    }
}

impl Running {
    async fn open(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        self.open_on(database, 5432).await
    }

    async fn open_on(&self, database: &str, port: u16) -> Result<PgConnection, sqlx::Error> {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket_dir)
            .port(port)
            .username("cloud_admin")
            .database(database)
            .disable_statement_logging()
            .connect()
            .await
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        signal(i32::try_from(self.child.id())?, Signal::INT);
        self.child.wait().context("it was ours").map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Its children end with it.
            signal(i32::try_from(self.child.id()).unwrap_or_default(), Signal::QUIT);
            drop(self.child.wait());
        }
    }
}

/// pgbench, wherever it connects to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) password: String,
    pub(crate) ssl: &'static str,
}

impl Target {
    pub(crate) fn pgbench(&self, bindir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(bindir.join("pgbench"));
        command
            .args(["-h", &self.host, "-p", &self.port.to_string(), "-U", USER])
            .args(args)
            .arg(DATABASE)
            .env("PGPASSWORD", &self.password)
            .env("PGSSLMODE", self.ssl)
            .stdin(Stdio::null());
        command
    }

    /// Runs it and returns the transactions in a second.
    pub(crate) fn tps(&self, bindir: &Path, args: &[&str]) -> anyhow::Result<f64> {
        let text = run(&mut self.pgbench(bindir, args))?;
        let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
        let number = line.and_then(|line| line.split(' ').next());
        Ok(number.context("pgbench names no tps")?.parse()?)
    }
}
