//! The pool that follows the credential. A new password goes into the pool at hand; another branch gets a pool of its own,
//! and is migrated before it serves. Knows no table of the shop.

use crate::credential::{Credential, Schema};
use crate::error::{Error, chain};
use crate::pool::{self, Lent, Pool};
use crate::source::News;
use futures_util::future::BoxFuture;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// How long a request waits for a connection, a switch of branches included.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one run of the migrations may take: another store on the same branch may be running them too.
const MIGRATION_PATIENCE: Duration = Duration::from_mins(1);
/// How often idle connections are looked at.
const TIDYING: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a database could not be brought to the newest schema.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// It cannot be reached.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// Where it should be.
        host: String,
        /// The reason.
        source: sqlx::Error,
    },
    /// There are no migrations where they should be.
    #[error("cannot read migrations in `{}`", directory.display())]
    Read {
        /// Where they should be.
        directory: PathBuf,
        /// The reason; nothing when there is simply none.
        source: Option<MigrateError>,
    },
    /// It was reached, and there is no place for tables.
    #[error("cannot make schema `{schema}`")]
    Schema {
        /// Which.
        schema: String,
        /// The reason.
        source: sqlx::Error,
    },
    /// It was reached, and a migration failed.
    #[error("cannot migrate database")]
    Run(#[from] MigrateError),
    /// It took too long.
    #[error("cannot migrate database within {0:?}")]
    TimedOut(Duration),
}

/// Returns the migrations of the shop. A branch may be ahead of this program, as it may be forked from one that ran
/// newer ones: what is unknown here is left alone.
pub fn migrations() -> Migrator {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.set_ignore_missing(true);
    migrator
}

/// Returns the migrations in a directory, with the same leniency.
pub(crate) async fn migrations_in(directory: PathBuf) -> Result<Migrator, MigrationError> {
    match Migrator::new(directory.as_path()).await {
        Ok(mut found) if found.iter().next().is_some() => {
            found.set_ignore_missing(true);
            Ok(found)
        }
        other => Err(MigrationError::Read {
            directory,
            source: other.err(),
        }),
    }
}

/// Brings the database up to the newest schema.
///
/// # Cancel safety
/// Runs on a connection of its own, not one of a pool: dropping it gives back the migrator's lock with the connection.
pub(crate) async fn migrate(credential: &Credential, migrations: &Migrator) -> Result<(), MigrationError> {
    let login = credential.login();
    let run = async {
        let mut connection =
            PgConnection::connect_with(login)
                .await
                .map_err(|source| MigrationError::Connect {
                    host: login.get_host().to_owned(),
                    source,
                })?;
        if let Some(schema) = credential.schema() {
            make_schema(schema, &mut connection).await?;
        }
        // `run` is the same, but its future is not `Send` enough for a spawned task.
        migrations.run_direct(None, &mut connection, false).await?;
        if let Err(error) = connection.close().await {
            warn!(%error, "cannot close the migrator's connection");
        }
        Ok(())
    };
    timeout(MIGRATION_PATIENCE, run)
        .await
        .unwrap_or(Err(MigrationError::TimedOut(MIGRATION_PATIENCE)))
}

async fn make_schema(schema: &Schema, connection: &mut PgConnection) -> Result<(), MigrationError> {
    let sql = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    match sqlx::query(AssertSqlSafe(sql)).execute(connection).await {
        Ok(_) => Ok(()),
        Err(error) if is_made_by_another(&error) => Ok(()),
        Err(source) => Err(MigrationError::Schema {
            schema: schema.to_string(),
            source,
        }),
    }
}

/// Returns whether another instance has created the schema since the check of `IF NOT EXISTS`: the catalog's unique index reports
/// that after the other transaction was committed.
fn is_made_by_another(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// A handle to the database of this worktree, whichever that is now.
#[derive(Debug, Clone)]
pub struct Database {
    serving: watch::Receiver<Option<Serving>>,
    trouble: watch::Receiver<Option<String>>,
    refused: Arc<Notify>,
}

#[derive(Debug, Clone)]
struct Serving {
    credential: Arc<Credential>,
    /// Counts the logins, from 1.
    number: u64,
    pool: Pool,
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Preparing,
    /// What went wrong at the last try; the next follows by itself.
    Failing(String),
    Ready,
}

impl Serving {
    fn new(credential: Arc<Credential>, number: u64, connection_life: Duration) -> Self {
        Self {
            pool: Pool::new(credential.login().clone(), connection_life),
            credential,
            number,
            phase: Phase::Preparing,
        }
    }

    fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }
}

impl Database {
    /// Returns the credential that is in use now, if there is one yet.
    pub fn credential(&self) -> Option<Arc<Credential>> {
        let serving = self.serving.borrow();
        serving.as_ref().map(|serving| Arc::clone(&serving.credential))
    }

    /// The same, and which one it is since the store began: the first has the number 1.
    ///
    /// # Errors
    /// An error that says what is waited for, when there is none yet.
    pub(crate) fn numbered_credential(&self) -> Result<(Arc<Credential>, u64), Error> {
        let found = self
            .serving
            .borrow()
            .as_ref()
            .map(|serving| (Arc::clone(&serving.credential), serving.number));
        found.ok_or_else(|| self.away(None))
    }

    /// Returns what keeps the credential from being renewed, if something does.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Runs a read, and returns its result with the credential of the database that answered. Waits while a branch is being
    /// prepared or a refused password is about to be replaced.
    ///
    /// A session may end between the pool's check and the read, as when a compute is suspended. A read returns all its rows
    /// together, so none has been given out by then, and it runs once more, on a fresh connection.
    ///
    /// # Errors
    /// An error that says why, when there is no connection in time or the read fails.
    pub(crate) async fn read<T>(
        &self,
        read: impl Fn(&mut PgConnection) -> BoxFuture<'_, sqlx::Result<T>>,
    ) -> Result<(T, Arc<Credential>), Error> {
        self.read_within(PATIENCE, read).await
    }

    /// The same, with another limit on the wait for each connection.
    pub(crate) async fn read_within<T>(
        &self,
        patience: Duration,
        read: impl Fn(&mut PgConnection) -> BoxFuture<'_, sqlx::Result<T>>,
    ) -> Result<(T, Arc<Credential>), Error> {
        let (mut connection, credential) = self.acquire(patience).await?;
        match read(&mut connection).await {
            Err(error) if has_ended(&error) => {
                debug!(%error, "a session ended under a read; repeating it");
                pool::discard(connection);
                let (mut connection, credential) = self.acquire(patience).await?;
                Ok((read(&mut connection).await?, credential))
            }
            answer => Ok((answer?, credential)),
        }
    }

    async fn acquire(&self, patience: Duration) -> Result<(Lent, Arc<Credential>), Error> {
        let mut refusal = None;
        let attempt = self.try_until_acquired(&mut refusal);
        match timeout_at(Instant::now() + patience, attempt).await {
            Ok(result) => result,
            Err(_) => Err(self.away(refusal)),
        }
    }

    async fn try_until_acquired(
        &self,
        refusal: &mut Option<String>,
    ) -> Result<(Lent, Arc<Credential>), Error> {
        let mut serving = self.serving.clone();
        loop {
            let ready = serving
                .wait_for(|serving| serving.as_ref().is_some_and(Serving::is_ready))
                .await;
            let ready = ready
                .map_err(|_| Error::Away("the store is ending".to_owned()))?
                .clone();
            let Some(Serving { pool, credential, .. }) = ready else {
                continue;
            };
            let acquired = tokio::select! {
                // Mostly one is at hand, and nothing has to be waited for.
                biased;
                acquired = pool.lend() => acquired,
                // Another password or another branch: no use in waiting on this one.
                _ = serving.changed() => continue,
            };
            match acquired {
                Ok(connection) => return Ok((connection, credential)),
                // The branch was switched meanwhile.
                Err(sqlx::Error::PoolClosed) => {}
                // The password has just been replaced; the new one is on its way.
                Err(error) if is_refused_login(&error) => {
                    self.refused.notify_one();
                    *refusal = Some(error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
            serving
                .changed()
                .await
                .map_err(|_| Error::Away("the store is ending".to_owned()))?;
        }
    }

    fn away(&self, refusal: Option<String>) -> Error {
        let phase = self
            .serving
            .borrow()
            .as_ref()
            .map(|serving| serving.phase.clone());
        let why = match (phase, refusal) {
            (None, _) => "no credential".to_owned(),
            (Some(Phase::Preparing), _) => "the branch is being prepared".to_owned(),
            (Some(Phase::Failing(why)), _) => why,
            (Some(Phase::Ready), Some(refusal)) => refusal,
            (Some(Phase::Ready), None) => "the database does not answer".to_owned(),
        };
        Error::Away(match self.trouble() {
            Some(trouble) => format!("{why}; {trouble}"),
            None => why,
        })
    }
}

/// SQLSTATE class 28: invalid authorization.
fn is_refused_login(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code.starts_with("28"))
}

/// Returns whether the session ended: its connection broke, or the server ended it (SQLSTATE 57P0x, see
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn has_ended(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("57P0") || code.starts_with("08")),
        _ => false,
    }
}

/// The task behind [`Database`]: follows the credential.
#[derive(Debug)]
pub(crate) struct Keeper {
    serving: watch::Sender<Option<Serving>>,
    credentials: watch::Receiver<Option<Arc<Credential>>>,
    refused: Arc<Notify>,
    connection_life: Duration,
    /// How many there were.
    logins: u64,
    retired: TaskTracker,
}

/// Returns a handle to the database of the newest credential, and the task that keeps it so. A connection is used for no
/// longer than `connection_life`.
pub(crate) fn open(news: News, connection_life: Duration) -> (Database, Keeper) {
    let News {
        mut credentials,
        trouble,
        refused,
    } = news;
    let first = credentials.borrow_and_update().clone();
    let serving = first.map(|first| Serving::new(first, 1, connection_life));
    let logins = serving.is_some().into();
    let serving = watch::Sender::new(serving);
    let database = Database {
        serving: serving.subscribe(),
        trouble,
        refused: Arc::clone(&refused),
    };
    let keeper = Keeper {
        serving,
        credentials,
        refused,
        connection_life,
        logins,
        retired: TaskTracker::new(),
    };
    (database, keeper)
}

impl Keeper {
    /// Follows the credential until `stop`, then closes every connection.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
        let last = self.serving.borrow().as_ref().map(|serving| serving.pool.clone());
        if let Some(last) = last {
            last.close().await;
        }
        self.retired.close();
        self.retired.wait().await;
    }

    async fn follow(&mut self) {
        loop {
            // A new credential ends an attempt to prepare: it may be for another branch, or mend what failed.
            let credential = tokio::select! {
                credential = next(&mut self.credentials) => credential,
                never = look_after(&self.serving, &self.refused, self.connection_life) => match never {},
            };
            match credential {
                Some(credential) => self.take_up(&credential),
                None => self.replace(None),
            }
        }
    }

    fn take_up(&mut self, credential: &Arc<Credential>) {
        let now = self.serving.borrow().clone();
        let is_same = |now: &Serving| now.credential.same_login(credential);
        self.logins += u64::from(!now.as_ref().is_some_and(is_same));
        if let Some(same) = now.filter(|now| now.credential.same_database(credential)) {
            same.pool.set_login(credential.login().clone());
            self.serving.send_replace(Some(Serving {
                credential: Arc::clone(credential),
                number: self.logins,
                ..same
            }));
        } else {
            info!(?credential, "this database serves from now on");
            let new = Serving::new(Arc::clone(credential), self.logins, self.connection_life);
            self.replace(Some(new));
        }
    }

    /// Lets another database serve, or none, and ends the connections to the last one.
    fn replace(&self, new: Option<Serving>) {
        if let Some(left) = self.serving.send_replace(new) {
            self.retired.spawn(async move { left.pool.close().await });
        }
    }
}

/// Waits for the next credential, or until there is none any more; for ever when neither will come.
async fn next(credentials: &mut watch::Receiver<Option<Arc<Credential>>>) -> Option<Arc<Credential>> {
    if credentials.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    credentials.borrow_and_update().clone()
}

/// Prepares the database, and then keeps its connections in order.
async fn look_after(
    serving: &watch::Sender<Option<Serving>>,
    refused: &Notify,
    connection_life: Duration,
) -> Infallible {
    prepare(serving, refused).await;
    loop {
        sleep(TIDYING.min(connection_life)).await;
        let pool = serving.borrow().as_ref().map(|serving| serving.pool.clone());
        if let Some(pool) = pool {
            pool.tidy().await;
        }
    }
}

/// Migrates the database until that works, unless it has been done or there is none yet.
async fn prepare(serving: &watch::Sender<Option<Serving>>, refused: &Notify) {
    let mut pause = FIRST_PAUSE;
    let unprepared = || serving.borrow().clone().filter(|serving| !serving.is_ready());
    let enter = |phase| {
        serving.send_modify(|serving| {
            if let Some(serving) = serving {
                serving.phase = phase;
            }
        });
    };
    while let Some(Serving { credential, .. }) = unprepared() {
        match migrate(&credential, &migrations()).await {
            Ok(()) => {
                info!("the database is ready");
                enter(Phase::Ready);
            }
            Err(error) => {
                let why = chain(&error);
                warn!(error = why, "cannot prepare the database; trying again");
                enter(Phase::Failing(why));
                if matches!(&error, MigrationError::Connect { source, .. } if is_refused_login(source)) {
                    refused.notify_one();
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
