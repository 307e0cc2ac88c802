//! The password of the owner of a cluster.

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
