//! What goes on at production all the while: money that moves, tables that come and go, and a list of numbers of which
//! each is remembered once its commit was acknowledged. All of it goes on after the server was away.

use crate::lake::{DATABASE, Door, Lake, USER};
use crate::server::{PATIENCE, owner_password, pg_program, socket_dir};
use anyhow::ensure;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long to stay away from a server that does not answer.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two checkpoints.
const CHURN_PERIOD: Duration = Duration::from_millis(150);
/// Between two numbers, so that the list stays short.
const NUMBER_PERIOD: Duration = Duration::from_millis(2);

/// What a single session wrote, one number after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// The last one that was sent.
    pub(crate) tried: i64,
    /// The last one whose commit was acknowledged.
    pub(crate) acknowledged: i64,
    /// Those of which nobody knows, because the session broke.
    pub(crate) unknown: Vec<i64>,
    /// How often tables came and went.
    pub(crate) churned: u64,
}

/// The load; it ends with the value.
#[derive(Debug)]
pub(crate) struct Load {
    numbers: Arc<Mutex<Numbers>>,
    _tasks: JoinSet<()>,
}

impl Load {
    /// Fills production and begins.
    pub(crate) async fn start(lake: &Lake, production: PathBuf, scale: u32) -> anyhow::Result<Self> {
        let door = lake.door("production").await?;
        let mut session = open(&door).await?;
        let create = "CREATE TABLE numbers (n bigint PRIMARY KEY)";
        sqlx::query(create).execute(&mut session).await?;
        let bindir = pg_program(&production, "pgbench")?;
        let scale = scale.to_string();
        let filled = pgbench(&bindir, &door).args(["-i", "-q", "-s", &scale]).output();
        let filled = filled.await?;
        let said = String::from_utf8_lossy(&filled.stderr);
        ensure!(filled.status.success(), "pgbench -i: {said}");
        let numbers: Arc<Mutex<Numbers>> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(transfer(lake.clone(), bindir));
        tasks.spawn(churn(production, Arc::clone(&numbers)));
        tasks.spawn(count(lake.clone(), Arc::clone(&numbers)));
        Ok(Self {
            numbers,
            _tasks: tasks,
        })
    }

    pub(crate) fn numbers<T>(&self, look: impl FnOnce(&Numbers) -> T) -> T {
        change(&self.numbers, |numbers| look(numbers))
    }
}

fn change<T>(numbers: &Mutex<Numbers>, change: impl FnOnce(&mut Numbers) -> T) -> T {
    change(&mut numbers.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Opens a session at a branch's endpoint.
pub(crate) async fn open(door: &Door) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&door.host)
        .port(door.port)
        .username(USER)
        .password(&door.password)
        .database(DATABASE)
        .ssl_mode(PgSslMode::Require)
        .disable_statement_logging();
    Ok(timeout(PATIENCE, options.connect()).await??)
}

/// pgbench at a branch's endpoint, with a token and TLS.
pub(crate) fn pgbench(program: &Path, door: &Door) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "-h",
            &door.host,
            "-p",
            &door.port.to_string(),
            "-U",
            USER,
            DATABASE,
        ])
        .env("PGPASSWORD", &door.password)
        .env("PGSSLMODE", "require")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Moves money, for ever. The server's death ends pgbench; its return begins it anew.
async fn transfer(lake: Lake, program: PathBuf) {
    loop {
        if let Ok(door) = lake.door("production").await {
            let mut command = pgbench(&program, &door);
            command.args(["-n", "-c", "4", "-R", "300", "-M", "prepared", "-T", "86400"]);
            drop(command.output().await);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Makes, empties and drops tables, and writes checkpoints, past the server: that needs the rights of the owner.
async fn churn(pgdata: PathBuf, numbers: Arc<Mutex<Numbers>>) {
    loop {
        // A compute that was started anew ends the session.
        if let Err(error) = churn_until_it_breaks(&pgdata, &numbers).await {
            eprintln!("# tables come and go in a new session: {error:#}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn churn_until_it_breaks(pgdata: &Path, numbers: &Mutex<Numbers>) -> anyhow::Result<()> {
    let mut session = PgConnectOptions::new_without_pgpass()
        .socket(socket_dir(pgdata)?)
        .username("cloud_admin")
        .password(&owner_password(pgdata)?)
        .database(DATABASE)
        .disable_statement_logging()
        .connect()
        .await?;
    loop {
        let turn = change(numbers, |numbers| {
            numbers.churned += 1;
            numbers.churned
        });
        let (new, old, oldest) = (turn, turn.saturating_sub(3), turn.saturating_sub(6));
        for statement in [
            format!(
                "CREATE TABLE churn_{new} AS SELECT g AS n, repeat('x', 100) AS t FROM generate_series(1, 500) g"
            ),
            format!("CREATE INDEX ON churn_{new} (n)"),
            "CHECKPOINT".to_owned(),
            format!(
                "DO $$ BEGIN IF to_regclass('churn_{old}') IS NOT NULL THEN TRUNCATE churn_{old}; END IF; END $$"
            ),
            format!("DROP TABLE IF EXISTS churn_{oldest}"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut session)
                .await?;
        }
        tokio::time::sleep(CHURN_PERIOD).await;
    }
}

/// Writes one number after the other, each in a transaction of its own.
async fn count(lake: Lake, numbers: Arc<Mutex<Numbers>>) {
    let mut number = 0_i64;
    loop {
        if let Ok(door) = lake.door("production").await
            && let Ok(mut session) = open(&door).await
        {
            loop {
                number += 1;
                change(&numbers, |numbers| numbers.tried = number);
                let insert = sqlx::query("INSERT INTO numbers VALUES ($1)").bind(number);
                if insert.execute(&mut session).await.is_err() {
                    change(&numbers, |numbers| numbers.unknown.push(number));
                    break;
                }
                change(&numbers, |numbers| numbers.acknowledged = number);
                tokio::time::sleep(NUMBER_PERIOD).await;
            }
            drop(session.close_hard().await);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
