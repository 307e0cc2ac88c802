//! What we say to a compute ourselves, as its owner over its private socket.

pub(crate) mod activity;
pub(crate) mod database;
pub(crate) mod owner;
pub(crate) mod privileges;
pub(crate) mod role;
mod session;

pub(crate) use session::{
    Access, enter, is_final, is_wrong_password, open, try_open, try_open_without_password,
};

use crate::engine::EngineError;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The database that every project has.
pub(crate) const DATABASE: &str = "databricks_postgres";

/// What a fresh cluster gets, as the service has it: a role that owns the database and its public schema, and whose members
/// may do nearly everything.
pub(crate) const FURNISHING: [&str; 5] = [
    "CREATE ROLE databricks_superuser NOLOGIN CREATEDB CREATEROLE BYPASSRLS",
    "GRANT pg_read_all_data, pg_write_all_data TO databricks_superuser",
    "GRANT pg_monitor, pg_signal_backend TO databricks_superuser WITH ADMIN OPTION",
    "CREATE DATABASE databricks_postgres OWNER databricks_superuser",
    "ALTER DATABASE databricks_postgres SET timezone = 'UTC'",
];

/// Returns a time since which nothing was committed: the last commit's, or that of the start if there was none since.
pub(crate) async fn last_change(access: &Access) -> Result<DateTime<Utc>, sqlx::Error> {
    let mut session = open(access).await?;
    let sql = "SELECT coalesce((pg_last_committed_xact()).timestamp, pg_postmaster_start_time())";
    let last = sqlx::query_scalar(sql).fetch_one(&mut session).await?;
    session.close().await?;
    Ok(last)
}

/// Gives a fresh cluster its roles and its database.
pub(crate) async fn furnish(access: &Access) -> Result<(), EngineError> {
    let mut session = open(access).await?;
    for statement in FURNISHING {
        sqlx::query(statement).execute(&mut session).await?;
    }
    let mut inside = enter(&mut session, access, DATABASE).await?;
    sqlx::query("ALTER SCHEMA public OWNER TO databricks_superuser")
        .execute(&mut inside)
        .await?;
    inside.close().await?;
    Ok(session.close().await?)
}

/// Makes a role that can log in, if there is none of the name.
pub(crate) async fn ensure_role(
    access: &Access,
    role: &str,
    is_superuser_member: bool,
) -> Result<(), EngineError> {
    let mut session = open(access).await?;
    let exists: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1")
        .bind(role)
        .fetch_optional(&mut session)
        .await?;
    let name = identifier(role);
    if exists.is_none() {
        let rights = if is_superuser_member {
            " CREATEDB CREATEROLE BYPASSRLS"
        } else {
            ""
        };
        run(&mut session, format!("CREATE ROLE {name} LOGIN{rights}")).await?;
    }
    if is_superuser_member {
        let sql = format!("GRANT databricks_superuser TO {name} WITH ADMIN OPTION");
        run(&mut session, sql).await?;
    }
    Ok(session.close().await?)
}

/// Runs a statement that a caller of the API asked for. What PostgreSQL has against it is a refusal, in its words.
async fn run(session: &mut PgConnection, sql: String) -> Result<(), EngineError> {
    let done = sqlx::query(AssertSqlSafe(sql)).execute(session).await;
    done.map(drop).map_err(refused)
}

/// Distinguishes a refusal of a request from a failure.
fn refused(error: sqlx::Error) -> EngineError {
    let sqlx::Error::Database(said) = &error else {
        return error.into();
    };
    let detail = said
        .try_downcast_ref::<PgDatabaseError>()
        .and_then(PgDatabaseError::detail);
    let text = match detail {
        Some(detail) => format!("{}: {detail}", said.message()),
        None => said.message().to_owned(),
    };
    match said.code().as_deref() {
        code if is_refusal(code) => EngineError::Refused(text),
        code if is_busy(code, said.message()) => EngineError::Busy(text),
        _ => error.into(),
    }
}

/// Returns whether an SQLSTATE is about what was asked for, rather than about the state of the machine.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_refusal(code: Option<&str>) -> bool {
    // `object_not_in_prerequisite_state`: a database that allows no connections. `object_in_use`.
    let states = ["55000", "55006"];
    let classes = ["0A", "0L", "0P", "22", "23", "2B", "3D", "3F", "42", "54"];
    code.is_some_and(|code| states.contains(&code) || classes.iter().any(|class| code.starts_with(class)))
}

/// Returns whether other sessions are in the way: too many of them, or one with an open transaction.
fn is_busy(code: Option<&str>, message: &str) -> bool {
    // `too_many_connections`, `cannot_connect_now`, `lock_not_available`, `query_canceled`, `deadlock_detected`,
    // `serialization_failure`. The last one has no code of its own.
    let states = ["53300", "57P03", "55P03", "57014", "40P01", "40001"];
    code.is_some_and(|code| states.contains(&code))
        || code == Some("XX000") && message.starts_with("tuple concurrently")
}

/// A name as an identifier, whatever it holds.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(identifier("jane@example.com"), "\"jane@example.com\"");
        assert_eq!(
            identifier("x\"; DROP DATABASE postgres;--"),
            "\"x\"\"; DROP DATABASE postgres;--\""
        );
    }
}
