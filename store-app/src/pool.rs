//! The connections to one database: made by sqlx, kept by deadpool. Sqlx's own pool asks each connection that comes back
//! whether it lives, in a task of its own; under load that is a second round trip for every query. Here it is asked when it
//! is lent again, unless it was lent a moment ago. Knows nothing of branches and credentials but the login.

use backon::{ExponentialBuilder, Retryable};
use deadpool::managed::{self, Metrics, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use std::io::ErrorKind;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::timeout;

const MAX_CONNECTIONS: usize = 8;
/// A connection that was lent so lately is lent as it is.
const LENT_LATELY: Duration = Duration::from_millis(100);
/// How long a connection may take to show that it lives. A request that finds all of them dead has time left for a new one.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
/// A connection that nobody wanted for so long is ended.
const UNWANTED: Duration = Duration::from_mins(5);
/// Between attempts to connect to a server that is starting.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection that goes back when it is dropped.
pub(crate) type Lent = managed::Object<Connector>;

/// A handle to the connections.
#[derive(Debug, Clone)]
pub(crate) struct Pool(managed::Pool<Connector>);

impl Pool {
    /// Returns a pool without a connection yet. None will be used for longer than `life`.
    pub(crate) fn new(login: PgConnectOptions, life: Duration) -> Self {
        let connector = Connector {
            login: RwLock::new(Arc::new(login)),
            life,
        };
        // The one that came back last is lent first, so that in quiet times the others are not wanted.
        let pool = managed::Pool::builder(connector)
            .max_size(MAX_CONNECTIONS)
            .queue_mode(QueueMode::Lifo);
        Self(
            pool.build()
                .expect("only deadpool's own time-outs need a runtime"),
        )
    }

    /// Lends a connection, however long it takes to get one.
    ///
    /// # Errors
    /// `PoolClosed` when it was closed, and what time alone does not mend.
    pub(crate) async fn lend(&self) -> sqlx::Result<Lent> {
        self.0.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Closed => sqlx::Error::PoolClosed,
            // Neither deadpool's time-outs nor its hooks are in use.
            other => sqlx::Error::Configuration(Box::new(other)),
        })
    }

    /// Uses another login from now on; connections that are there stay.
    pub(crate) fn set_login(&self, login: PgConnectOptions) {
        let mut current = self
            .0
            .manager()
            .login
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(login);
    }

    /// Ends the connections that are too old, and those that nobody wants: they would keep a compute awake.
    pub(crate) async fn tidy(&self) {
        let life = self.0.manager().life;
        let is_kept = |metrics: Metrics| metrics.age() < life && metrics.last_used() < UNWANTED;
        end(self.0.retain(|_, metrics| is_kept(metrics)).removed).await;
    }

    /// Lends no more, and ends all connections; those that are lent, when they come back.
    pub(crate) async fn close(&self) {
        let idle = self.0.retain(|_, _| false).removed;
        self.0.close();
        end(idle).await;
    }
}

/// Drops a connection whose session has ended, and the idle ones with it: what ended one session, such as a compute that is
/// suspended, has most likely ended them all.
pub(crate) fn discard(ended: Lent) {
    let pool = Lent::pool(&ended);
    drop(Lent::take(ended));
    if let Some(pool) = pool {
        pool.retain(|_, _| false);
    }
}

/// Says goodbye, as far as the server still listens.
async fn end(connections: Vec<PgConnection>) {
    for connection in connections {
        drop(timeout(SIGN_OF_LIFE, connection.close()).await);
    }
}

/// Makes connections, and looks at them before they are lent again.
#[derive(Debug)]
pub(crate) struct Connector {
    login: RwLock<Arc<PgConnectOptions>>,
    life: Duration,
}

impl Connector {
    fn login(&self) -> Arc<PgConnectOptions> {
        // A panic while holding the lock cannot have left half a login.
        Arc::clone(&self.login.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl managed::Manager for Connector {
    type Type = PgConnection;
    type Error = sqlx::Error;

    /// Goes on until whoever asked gives up, as long as the server may only be starting.
    async fn create(&self) -> sqlx::Result<PgConnection> {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times()
            .with_jitter();
        let connect = async || PgConnection::connect_with(&self.login()).await;
        connect.retry(pauses).when(may_be_starting).await
    }

    /// A compute that was suspended has hung up on idle ones: find out before a request does.
    async fn recycle(&self, connection: &mut PgConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.age() >= self.life {
            return Err(RecycleError::message("too old"));
        }
        // A request that was given up left its answer unread. Nobody waits for that: there may be none for long. Sqlx hides
        // `flush` from its documentation; nothing else can tell.
        let is_quiet = timeout(Duration::ZERO, connection.flush()).await;
        is_quiet.map_err(|_| RecycleError::message("still busy"))??;
        if metrics.last_used() >= LENT_LATELY {
            let lives = timeout(SIGN_OF_LIFE, connection.ping()).await;
            lives.map_err(|_| RecycleError::message("no sign of life"))??;
        }
        Ok(())
    }
}

/// Nobody listens yet, it has no room for another, or it says that it is starting.
fn may_be_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("53300" | "57P03")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_starting_is_waited_for_and_nothing_else_is() {
        assert!(may_be_starting(&sqlx::Error::Io(
            ErrorKind::ConnectionRefused.into()
        )));
        assert!(!may_be_starting(&sqlx::Error::Io(
            ErrorKind::ConnectionReset.into()
        )));
        assert!(!may_be_starting(&sqlx::Error::PoolClosed));
    }
}
