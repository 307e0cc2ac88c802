//! The owner of a cluster: its password and its sessions.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::postgres::OwnerPassword;
use crate::storage::OWNER;

/// Returns the statement that gives the owner our password. It holds a verifier and not the password, so nothing that
/// records statements learns it.
pub(crate) fn set_password(password: &OwnerPassword) -> String {
    format!("ALTER ROLE {OWNER} PASSWORD '{}'", password.verifier())
}

/// Gives the owner our password unless it has it.
pub(crate) async fn ensure_password(
    session: &mut PgConnection,
    password: &OwnerPassword,
) -> Result<(), sqlx::Error> {
    let sql = "SELECT coalesce(rolpassword, '') FROM pg_catalog.pg_authid WHERE rolname = $1";
    let verifier: String = sqlx::query_scalar(sql)
        .bind(OWNER)
        .fetch_one(&mut *session)
        .await?;
    if !password.is_verifier(&verifier) {
        let sql = AssertSqlSafe(set_password(password));
        sqlx::query(sql).execute(session).await?;
    }
    Ok(())
}

/// Ends all sessions of the owner but this one, and all replication.
pub(crate) async fn end_other_sessions(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
               WHERE pid <> pg_catalog.pg_backend_pid()
               AND (backend_type = 'walsender' OR backend_type = 'client backend' AND usename = $1)";
    sqlx::query(sql).bind(OWNER).execute(session).await?;
    Ok(())
}
