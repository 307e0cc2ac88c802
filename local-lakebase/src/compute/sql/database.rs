//! Databases in PostgreSQL. What is asked for may be done already, by a try that was cut short; then it is left at that.

use sqlx::{Connection, PgConnection};

use super::{Access, identifier, open, run};
use crate::engine::EngineError;

/// Makes a database of this owner. Says whether there is one now: not if one of the name is somebody else's.
pub(crate) async fn create(access: &Access, name: &str, owner: &str) -> Result<bool, EngineError> {
    let mut session = open(access).await?;
    let owner_before = owner_of(&mut session, name).await?;
    if owner_before.is_none() {
        let (name, owner) = (identifier(name), identifier(owner));
        run(&mut session, format!("CREATE DATABASE {name} OWNER {owner}")).await?;
    }
    let is_there = owner_before.is_none_or(|before| before == owner);
    if is_there {
        let name = identifier(name);
        run(
            &mut session,
            format!("ALTER DATABASE {name} SET timezone = 'UTC'"),
        )
        .await?;
    }
    session.close().await?;
    Ok(is_there)
}

/// Gives a database another name and owner, where they are not that already.
pub(crate) async fn alter(access: &Access, before: &str, name: &str, owner: &str) -> Result<(), EngineError> {
    let mut session = open(access).await?;
    if before != name && owner_of(&mut session, before).await?.is_some() {
        let sql = format!(
            "ALTER DATABASE {} RENAME TO {}",
            identifier(before),
            identifier(name)
        );
        run(&mut session, sql).await?;
    }
    let sql = format!(
        "ALTER DATABASE {} OWNER TO {}",
        identifier(name),
        identifier(owner)
    );
    run(&mut session, sql).await?;
    Ok(session.close().await?)
}

/// Removes a database, whoever uses it.
pub(crate) async fn remove(access: &Access, name: &str) -> Result<(), EngineError> {
    let mut session = open(access).await?;
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name));
    run(&mut session, sql).await?;
    Ok(session.close().await?)
}

async fn owner_of(session: &mut PgConnection, name: &str) -> Result<Option<String>, EngineError> {
    let sql = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1";
    let owner = sqlx::query_scalar(sql).bind(name).fetch_optional(session).await?;
    Ok(owner)
}
