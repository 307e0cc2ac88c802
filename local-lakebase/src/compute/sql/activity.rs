//! Counts and ends the sessions of clients.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sqlx::PgConnection;

use crate::engine::EngineError;

/// How long sessions may take to end.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
/// A client that reads nothing for this long has stopped reading.
const READING: Duration = Duration::from_secs(1);

/// The user that `initdb` creates.
const OWNER_OID: i64 = 10;

/// Selects sessions of clients; never our own one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection<'a> {
    role: Option<i64>,
    database: Option<&'a str>,
}

impl<'a> Selection<'a> {
    /// All of them.
    pub(crate) const ALL: Selection<'static> = Selection {
        role: None,
        database: None,
    };

    /// Those of the owner of the cluster.
    pub(crate) const OF_OWNER: Selection<'static> = Selection {
        role: Some(OWNER_OID),
        database: None,
    };

    pub(crate) fn of_role(oid: i64) -> Self {
        Self {
            role: Some(oid),
            database: None,
        }
    }

    pub(crate) fn in_database(name: &'a str) -> Self {
        Self {
            role: None,
            database: Some(name),
        }
    }
}

/// The sessions of a selection: `$1` is the role, `$2` the database.
macro_rules! selected {
    () => {
        " FROM pg_catalog.pg_stat_activity
         WHERE pid <> pg_catalog.pg_backend_pid() AND backend_type IN ('client backend', 'walsender')
         AND ($1 IS NULL OR usesysid::bigint = $1) AND ($2 IS NULL OR datname = $2::text)"
    };
}

/// Counts sessions.
pub(crate) async fn count(session: &mut PgConnection, selection: Selection<'_>) -> Result<i64, EngineError> {
    let sql = concat!("SELECT pg_catalog.count(*)", selected!());
    let query = sqlx::query_scalar(sql)
        .bind(selection.role)
        .bind(selection.database);
    Ok(query.fetch_one(session).await?)
}

/// Ends sessions, and returns when there are none.
///
/// # Errors
/// `Busy` if a session goes on, as in a function that does not check for interrupts.
pub(crate) async fn end(session: &mut PgConnection, selection: Selection<'_>) -> Result<(), EngineError> {
    let sql = concat!("SELECT pg_catalog.pg_terminate_backend(pid)", selected!());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let query = sqlx::query(sql).bind(selection.role).bind(selection.database);
        let found = query.fetch_all(&mut *session).await?.len();
        if found == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(EngineError::Busy(format!("{found} sessions do not end")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Checks that every client reads what it is sent. Until one does, its session takes no notice of others, and `DROP DATABASE` waits
/// for all sessions of the cluster (wait events `ClientWrite` and `ProcSignalBarrier` in
/// <https://www.postgresql.org/docs/current/monitoring-stats.html>).
///
/// # Errors
/// `Busy` if a session waits for its client all the time.
pub(crate) async fn check_readers(session: &mut PgConnection) -> Result<(), EngineError> {
    let sql = "SELECT pid FROM pg_catalog.pg_stat_activity WHERE wait_event = 'ClientWrite'";
    let deadline = Instant::now() + READING;
    let mut stalled: Option<BTreeSet<i32>> = None;
    loop {
        let waiting: Vec<i32> = sqlx::query_scalar(sql).fetch_all(&mut *session).await?;
        let mut waiting: BTreeSet<i32> = waiting.into_iter().collect();
        if let Some(before) = &stalled {
            waiting.retain(|pid| before.contains(pid));
        }
        let Some(pid) = waiting.first() else {
            return Ok(());
        };
        if Instant::now() > deadline {
            let text = format!("the client of session {pid} does not read its result");
            return Err(EngineError::Busy(text));
        }
        stalled = Some(waiting);
        tokio::time::sleep(POLL * 10).await;
    }
}
