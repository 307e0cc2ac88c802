//! Counts and ends the sessions of clients.

use std::time::{Duration, Instant};

use sqlx::PgConnection;

use crate::engine::EngineError;

/// How long sessions may take to end.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);

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
