//! A PostgreSQL of one test: made in a temporary directory, stopped and removed with the value, also when the test fails.

use lakebase_proto::v1;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ADMIN: &str = "postgres";
const ADMIN_PASSWORD: &str = "admin-password";
/// The password of the role `jane` to begin with.
pub(crate) const JANE: &str = "first-password";

pub(crate) struct Postgres {
    dir: TempDir,
    bin: PathBuf,
    /// PostgreSQL refuses to run as root; then it runs as this user and group.
    user: Option<(u32, u32)>,
    pub(crate) port: u16,
    settings: Vec<String>,
    server: Option<Child>,
}

impl Postgres {
    /// Starts a server with the roles of the service: `databricks_superuser`, and `jane` and `joe` who are members of it.
    pub(crate) async fn start() -> Self {
        let mut postgres = Self::create();
        postgres.resume().await;
        let mut admin = postgres.admin("postgres").await;
        for statement in [
            "CREATE ROLE databricks_superuser NOLOGIN CREATEDB CREATEROLE BYPASSRLS",
            "GRANT pg_read_all_data, pg_write_all_data TO databricks_superuser",
            "CREATE ROLE jane LOGIN PASSWORD 'first-password' IN ROLE databricks_superuser",
            "CREATE ROLE joe LOGIN PASSWORD 'joes-password' IN ROLE databricks_superuser",
        ] {
            sqlx::query(statement).execute(&mut admin).await.expect(statement);
        }
        postgres
    }

    /// The same, with an empty database `shop` owned as on the service.
    pub(crate) async fn with_shop() -> Self {
        let postgres = Self::start().await;
        postgres.create_database("shop").await;
        postgres
    }

    fn create() -> Self {
        let dir = TempDir::with_prefix("store-pg-").expect("temporary directory");
        let user = is_root(dir.path()).then(postgres_user);
        // Its own user must be able to pass through to the data.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("permissions");
        let postgres = Self {
            bin: bin_dir(),
            user,
            port: free_port(),
            settings: Vec::new(),
            server: None,
            dir,
        };
        fs::create_dir(postgres.data()).expect("data directory");
        fs::set_permissions(postgres.data(), Permissions::from_mode(0o700)).expect("permissions");
        let password = postgres.dir.path().join("password");
        fs::write(&password, ADMIN_PASSWORD).expect("password file");
        postgres.give(&postgres.data());
        let output = postgres
            .command("initdb")
            .args([
                "-U",
                ADMIN,
                "-A",
                "scram-sha-256",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(postgres.data())
            .arg("--pwfile")
            .arg(password)
            .output()
            .expect("initdb runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Tests look often; proving a password the long way each time would starve what they look at.
        let rules = "host all postgres 127.0.0.1/32 password\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(postgres.data().join("pg_hba.conf"), rules).expect("rules");
        postgres
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a file or directory belong to the server.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).expect("chown");
        }
    }

    /// Sets a parameter from the next start on.
    pub(crate) fn set(&mut self, setting: String) {
        self.settings.push(setting);
    }

    /// Starts the server, again at the same port, and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("log");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "unix_socket_directories=",
        ] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let server = command
            .args(["-p", &self.port.to_string()])
            .stderr(log)
            .spawn()
            .expect("postgres runs");
        self.server = Some(server);
        let deadline = Instant::now() + Duration::from_secs(30);
        while PgConnection::connect_with(&self.admin_login("postgres"))
            .await
            .is_err()
        {
            assert!(Instant::now() < deadline, "no PostgreSQL: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops the server at once; every connection breaks.
    pub(crate) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let stopped = self
            .command("pg_ctl")
            .args(["stop", "-w", "-m", "immediate", "-D"])
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            server.kill().ok();
        }
        server.wait().ok();
    }

    /// What the server wrote to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.dir.path()).env("LC_ALL", "C");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Connects as the real superuser.
    pub(crate) async fn admin(&self, database: &str) -> PgConnection {
        PgConnection::connect_with(&self.admin_login(database))
            .await
            .expect("administrator")
    }

    fn admin_login(&self, database: &str) -> PgConnectOptions {
        self.login(database, ADMIN, ADMIN_PASSWORD)
    }

    pub(crate) fn login(&self, database: &str, user: &str, password: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .database(database)
            .username(user)
            .password(password)
    }

    /// Runs statements as the real superuser.
    pub(crate) async fn run(&self, database: &str, sql: &str) {
        let mut admin = self.admin(database).await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut admin)
            .await
            .expect(sql);
    }

    /// Returns one number, asked as the real superuser.
    pub(crate) async fn count(&self, database: &str, sql: &str) -> i64 {
        let mut admin = self.admin(database).await;
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut admin)
            .await
            .expect(sql)
    }

    /// Returns how many connections the store has.
    pub(crate) async fn connections(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'store-app'";
        self.count("shop", sql).await
    }

    /// Returns a session that keeps everybody from the products until it commits or is closed.
    pub(crate) async fn lock_products(&self) -> PgConnection {
        let mut admin = self.admin("shop").await;
        sqlx::raw_sql("BEGIN; LOCK TABLE products")
            .execute(&mut admin)
            .await
            .expect("locked");
        admin
    }

    /// Returns how many requests of the store wait for a lock.
    pub(crate) async fn blocked(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE application_name = 'store-app' AND wait_event_type = 'Lock'";
        self.count("shop", sql).await
    }

    pub(crate) async fn create_database(&self, name: &str) {
        let sql = format!("CREATE DATABASE {name} OWNER databricks_superuser");
        self.run("postgres", &sql).await;
    }

    /// The daemon's message for `jane` and one of the databases, as if each were a branch.
    pub(crate) fn credential(&self, database: &str) -> v1::Credential {
        let branch = format!("projects/shop/branches/jane-{database}");
        v1::Credential {
            host: "127.0.0.1".into(),
            port: self.port.into(),
            database: database.into(),
            user: "jane".into(),
            password: JANE.into(),
            sslmode: "disable".into(),
            endpoint: format!("{branch}/endpoints/primary"),
            branch: Some(v1::Branch {
                branch_id: format!("jane-{database}"),
                uid: format!("br-{database}"),
                name: branch,
                source_branch: "projects/shop/branches/production".into(),
                expire_time: Some(prost_types::Timestamp {
                    seconds: 1_900_000_000,
                    nanos: 0,
                }),
                ownership: v1::Ownership::Owned.into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// A `DATABASE_URL` for `jane`.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://jane:{JANE}@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root(own_file: &Path) -> bool {
    fs::metadata(own_file).expect("just made").uid() == 0
}

fn postgres_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = users
        .lines()
        .find_map(|line| line.strip_prefix("postgres:"))
        .expect("a user `postgres`, for PostgreSQL does not run as root");
    let mut ids = line.split(':').skip(1).map(|id| id.parse().expect("an id"));
    (ids.next().expect("uid"), ids.next().expect("gid"))
}

/// Finds the server's programs: `LAKEBASE_PG_BINDIR`, the usual places of Debian and Homebrew, `pg_config`.
fn bin_dir() -> PathBuf {
    let named = std::env::var_os("LAKEBASE_PG_BINDIR").map(PathBuf::from);
    let usual = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"]
        .into_iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let asked = Command::new("pg_config").arg("--bindir").output().ok();
    let asked = asked.map(|out| PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
    named
        .into_iter()
        .chain(usual)
        .chain(asked)
        .find(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file())
        .expect("PostgreSQL server programs: install them or set LAKEBASE_PG_BINDIR")
}

/// Finds a port below those that the system gives to whoever asks for any: nobody takes it while the server is stopped.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests may be processes of their own: each begins elsewhere.
    let process = u16::try_from(std::process::id() % 1000).expect("small");
    let candidates = (0..100).map(|_| 20_000 + process * 12 + NEXT.fetch_add(1, Ordering::Relaxed));
    candidates
        .into_iter()
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
