//! Databases in PostgreSQL. What is asked for may be done already, by a try that was cut short; then it is left at that.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::activity::{self, Selection};
use super::{Access, identifier, open, refused, run};
use crate::engine::EngineError;

/// Limit on the removal of a database, which holds up the other changes of its project. It includes a checkpoint.
const DROP_LIMIT: Duration = Duration::from_secs(20);

/// Makes a database of this owner. Says whether there is one now: not if one of the name is somebody else's.
pub(crate) async fn create(access: &Access, name: &str, owner: &str) -> Result<bool, EngineError> {
    let mut session = open(access).await.map_err(refused)?;
    let is_owner = is_owner(&mut session, name, owner).await?;
    let quoted = identifier(name);
    if is_owner.is_none() {
        // Not from `template1`: users can connect to that one, and PostgreSQL waits for them.
        let owner = identifier(owner);
        let sql = format!("CREATE DATABASE {quoted} OWNER {owner} TEMPLATE template0");
        run(&mut session, sql).await?;
    }
    let is_there = is_owner.unwrap_or(true);
    if is_there {
        let sql = format!("ALTER DATABASE {quoted} SET timezone = 'UTC'");
        run(&mut session, sql).await?;
    }
    session.close().await?;
    Ok(is_there)
}

/// Gives a database another name and owner, where they are not that already.
pub(crate) async fn alter(access: &Access, before: &str, name: &str, owner: &str) -> Result<(), EngineError> {
    let mut session = open(access).await.map_err(refused)?;
    if before != name && is_owner(&mut session, before, owner).await?.is_some() {
        rename(&mut session, before, name).await?;
    }
    let sql = format!(
        "ALTER DATABASE {} OWNER TO {}",
        identifier(name),
        identifier(owner)
    );
    run(&mut session, sql).await?;
    Ok(session.close().await?)
}

/// PostgreSQL waits 5 seconds for the sessions in the database before it refuses.
async fn rename(session: &mut PgConnection, before: &str, name: &str) -> Result<(), EngineError> {
    if activity::count(session, Selection::in_database(before)).await? > 0 {
        let text = format!("database \"{before}\" is being accessed by other users");
        return Err(EngineError::Refused(text));
    }
    let sql = format!(
        "ALTER DATABASE {} RENAME TO {}",
        identifier(before),
        identifier(name)
    );
    run(session, "SET statement_timeout = '3s'".to_owned()).await?;
    run(session, sql).await?;
    run(session, "SET statement_timeout = 0".to_owned()).await
}

/// Removes a database, whoever uses it.
pub(crate) async fn remove(access: &Access, name: &str) -> Result<(), EngineError> {
    let mut session = open(access).await.map_err(refused)?;
    activity::end(&mut session, Selection::in_database(name)).await?;
    activity::check_readers(&mut session).await?;
    // For a client that stops reading just then.
    run(
        &mut session,
        format!("SET statement_timeout = '{}s'", DROP_LIMIT.as_secs()),
    )
    .await?;
    // `FORCE` is for those that have come since.
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name));
    run(&mut session, sql).await?;
    Ok(session.close().await?)
}

/// Returns whether a role owns a database; `None` if there is no such database.
async fn is_owner(session: &mut PgConnection, name: &str, owner: &str) -> Result<Option<bool>, EngineError> {
    let sql =
        "SELECT r.rolname = $2 FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
               WHERE d.datname = $1";
    let is_owner = sqlx::query_scalar(sql).bind(name).bind(owner);
    Ok(is_owner.fetch_optional(session).await?)
}
