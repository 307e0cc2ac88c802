//! The pool that follows the credential. A new password goes into the pool at hand; another branch gets a pool of its own,
//! and is migrated before it serves. Knows no table of the shop.

use crate::credential::Credential;
use crate::error::{Error, chain};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// How long a request waits for a connection, a switch of branches included.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one run of the migrations may take: another store on the same branch may be running them too.
const MIGRATION_PATIENCE: Duration = Duration::from_mins(1);
/// How long the last requests on a branch that was left may take.
const RETIREMENT: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: u32 = 8;
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
pub(crate) async fn migrate(login: &PgConnectOptions, migrations: &Migrator) -> Result<(), MigrationError> {
    let run = async {
        let mut connection =
            PgConnection::connect_with(login)
                .await
                .map_err(|source| MigrationError::Connect {
                    host: login.get_host().to_owned(),
                    source,
                })?;
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

/// A handle to the database of this worktree, whichever that is now.
#[derive(Debug, Clone)]
pub struct Database {
    serving: watch::Receiver<Serving>,
}

#[derive(Debug, Clone)]
struct Serving {
    credential: Arc<Credential>,
    /// Counts the logins, from 1.
    number: u64,
    pool: PgPool,
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
    fn new(credential: Arc<Credential>, number: u64) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(PATIENCE)
            // A compute that was suspended has hung up on idle connections: find out before a request does.
            .test_before_acquire(true)
            .connect_lazy_with(credential.login().clone());
        Self {
            credential,
            number,
            pool,
            phase: Phase::Preparing,
        }
    }
}

impl Database {
    /// Returns the credential that is in use now.
    pub fn credential(&self) -> Arc<Credential> {
        self.numbered_credential().0
    }

    /// The same, and which one it is since the store began: the first has the number 1.
    pub(crate) fn numbered_credential(&self) -> (Arc<Credential>, u64) {
        let serving = self.serving.borrow();
        (Arc::clone(&serving.credential), serving.number)
    }

    /// Returns a connection, and the credential of the database it leads to. Waits while a branch is being prepared or a
    /// refused password is about to be replaced.
    ///
    /// # Errors
    /// An error that says why, when there is no connection in time.
    pub async fn acquire(&self) -> Result<(PoolConnection<Postgres>, Arc<Credential>), Error> {
        self.acquire_within(PATIENCE).await
    }

    /// The same, with a patience of one's own.
    pub(crate) async fn acquire_within(
        &self,
        patience: Duration,
    ) -> Result<(PoolConnection<Postgres>, Arc<Credential>), Error> {
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
    ) -> Result<(PoolConnection<Postgres>, Arc<Credential>), Error> {
        let mut serving = self.serving.clone();
        loop {
            let Serving { pool, credential, .. } = serving
                .wait_for(|serving| serving.phase == Phase::Ready)
                .await
                .map_err(|_| Error::Away("the store is ending".to_owned()))?
                .clone();
            let acquired = tokio::select! {
                acquired = pool.acquire() => acquired,
                // Another password or another branch: no use in waiting on this one.
                _ = serving.changed() => continue,
            };
            match acquired {
                Ok(connection) => return Ok((connection, credential)),
                // The branch was switched meanwhile.
                Err(sqlx::Error::PoolClosed) => {}
                // The password has just been replaced; the new one is on its way.
                Err(error) if is_refused_login(&error) => *refusal = Some(error.to_string()),
                Err(error) => return Err(error.into()),
            }
            serving
                .changed()
                .await
                .map_err(|_| Error::Away("the store is ending".to_owned()))?;
        }
    }

    fn away(&self, refusal: Option<String>) -> Error {
        Error::Away(match (&self.serving.borrow().phase, refusal) {
            (Phase::Preparing, _) => "the branch is being prepared".to_owned(),
            (Phase::Failing(why), _) => why.clone(),
            (Phase::Ready, Some(refusal)) => refusal,
            (Phase::Ready, None) => "the database does not answer".to_owned(),
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

/// The task behind [`Database`]: follows the credential.
#[derive(Debug)]
pub(crate) struct Keeper {
    serving: watch::Sender<Serving>,
    credentials: watch::Receiver<Arc<Credential>>,
    retired: TaskTracker,
}

/// Returns a handle to the database of the newest credential, and the task that keeps it so.
pub(crate) fn open(mut credentials: watch::Receiver<Arc<Credential>>) -> (Database, Keeper) {
    let first = Arc::clone(&credentials.borrow_and_update());
    let serving = watch::Sender::new(Serving::new(first, 1));
    let database = Database {
        serving: serving.subscribe(),
    };
    let keeper = Keeper {
        serving,
        credentials,
        retired: TaskTracker::new(),
    };
    (database, keeper)
}

impl Keeper {
    /// Follows the credential until `stop`, then closes every connection.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
        let last = self.serving.borrow().pool.clone();
        last.close().await;
        self.retired.close();
        self.retired.wait().await;
    }

    async fn follow(&mut self) {
        loop {
            // A new credential ends an attempt to prepare: it may be for another branch, or mend what failed.
            let credential = tokio::select! {
                credential = next(&mut self.credentials) => credential,
                () = prepare(&self.serving) => next(&mut self.credentials).await,
            };
            self.take_up(credential);
        }
    }

    fn take_up(&self, credential: Arc<Credential>) {
        let (same, number) = {
            let serving = self.serving.borrow();
            let repeated = serving.credential.same_login(&credential);
            (
                serving.credential.same_database(&credential),
                serving.number + u64::from(!repeated),
            )
        };
        if same {
            self.serving.send_modify(|serving| {
                serving.pool.set_connect_options(credential.login().clone());
                serving.credential = credential;
                serving.number = number;
            });
        } else {
            info!(?credential, "another database serves from now on");
            let left = self.serving.send_replace(Serving::new(credential, number));
            self.retired.spawn(retire(left.pool));
        }
    }
}

/// Waits for the next credential; for ever when there will be none.
async fn next(credentials: &mut watch::Receiver<Arc<Credential>>) -> Arc<Credential> {
    if credentials.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    Arc::clone(&credentials.borrow_and_update())
}

/// Migrates the database until that works, unless it has been done.
async fn prepare(serving: &watch::Sender<Serving>) {
    let mut pause = FIRST_PAUSE;
    let now = || serving.borrow().clone();
    while now().phase != Phase::Ready {
        match migrate(now().credential.login(), &migrations()).await {
            Ok(()) => {
                info!("the database is ready");
                serving.send_modify(|serving| serving.phase = Phase::Ready);
            }
            Err(error) => {
                let why = chain(&error);
                warn!(error = why, "cannot prepare the database; trying again");
                serving.send_modify(|serving| serving.phase = Phase::Failing(why));
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Lets the last requests on a branch finish, then closes its connections.
async fn retire(pool: PgPool) {
    if timeout(RETIREMENT, pool.close()).await.is_err() {
        warn!("some connections of the branch that was left are still busy");
    }
}
