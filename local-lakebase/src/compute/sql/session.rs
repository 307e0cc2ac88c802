//! The only constructors of our own sessions. They have the rights of a superuser, so no setting that a user stored may reach
//! them: settings of a database or a role are applied at login, those of the start-up packet override them.
//!
//! - `open`: database `postgres`, which users cannot change. Everything that can be done there is done there.
//! - `enter`: a user's database, for statements that work on the database they run in.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::postgres::OwnerPassword;
use crate::storage::{OWNER, PORT, socket};

/// The database that users cannot change, rename or drop.
const OUTSIDE: &str = "postgres";

/// Settings of every session of ours. `lock_timeout`: a user's open transaction must not hold up a request.
///
/// `role` and `session_authorization` are settings like others here, though `pg_settings` does not list them.
const PINNED: [(&str, &str); 20] = [
    ("search_path", "pg_catalog, pg_temp"),
    ("role", "none"),
    ("session_authorization", OWNER),
    ("session_replication_role", "origin"),
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("default_tablespace", ""),
    ("temp_tablespaces", ""),
    ("lock_timeout", "2s"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("row_security", "on"),
    ("client_min_messages", "warning"),
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_min_error_statement", "panic"),
];

/// How long to retry a login that fails for a reason that passes.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

/// A compute's socket, and the password of the owner.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    socket_dir: PathBuf,
    password: OwnerPassword,
}

impl Access {
    pub(crate) fn new(socket_dir: PathBuf, password: OwnerPassword) -> Self {
        Self { socket_dir, password }
    }

    /// The directory of the socket, as libpq wants it.
    pub(crate) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.socket_dir)
    }

    pub(crate) fn password(&self) -> &OwnerPassword {
        &self.password
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        self.options_without_password(database)
            .password(self.password.expose())
    }

    fn options_without_password(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket_dir)
            .port(PORT)
            .username(OWNER)
            .database(database)
            .application_name("lakebase")
            .options(PINNED)
            .disable_statement_logging()
    }
}

/// Opens a session in the database `postgres`.
pub(crate) async fn open(access: &Access) -> Result<PgConnection, sqlx::Error> {
    patiently(&access.options(OUTSIDE)).await
}

/// Opens a session in the database `postgres`, or fails immediately.
pub(crate) async fn try_open(access: &Access) -> Result<PgConnection, sqlx::Error> {
    access.options(OUTSIDE).connect().await
}

/// Tries to log in without the password.
pub(crate) async fn try_open_without_password(access: &Access) -> Result<PgConnection, sqlx::Error> {
    access.options_without_password(OUTSIDE).connect().await
}

/// Opens a session in a user's database. Each setting that a user could have stored has the value that it has in the session
/// from outside.
pub(crate) async fn enter(
    outside: &mut PgConnection,
    access: &Access,
    database: &str,
) -> Result<PgConnection, sqlx::Error> {
    // Read from the server, because releases differ in the settings that they have. Those that are left out are settings of
    // one transaction, and end with that of the login.
    let sql = "SELECT name, coalesce(reset_val, '') FROM pg_catalog.pg_settings
               WHERE context IN ('user', 'superuser')
               AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')";
    let settings: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(outside).await?;
    patiently(&access.options(database).options(settings)).await
}

/// Connects, and retries while all seats are taken or the server recovers from a crash. A client takes a seat that is
/// reserved for superusers only for as long as its login takes to be refused.
async fn patiently(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match options.connect().await {
            Err(error) if is_passing(&error) && Instant::now() < deadline => tokio::time::sleep(POLL).await,
            connected => return connected,
        }
    }
}

/// `too_many_connections`, `cannot_connect_now`.
fn is_passing(error: &sqlx::Error) -> bool {
    has_code(error, &["53300", "57P03"])
}

/// Returns whether PostgreSQL refused a login for a reason that does not pass: neither start, recovery nor shutdown.
pub(crate) fn is_final(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some() && !is_passing(error) && !has_code(error, &["57P01", "57P02"])
}

/// Returns whether it is a refused login: `invalid_password`.
pub(crate) fn is_wrong_password(error: &sqlx::Error) -> bool {
    has_code(error, &["28P01"])
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| codes.contains(&&*code))
}
