//! Roles in PostgreSQL. What is asked for may be there already, from a try that was cut short: then it is made right.

use sqlx::{Connection, PgConnection};

use super::{Access, enter, identifier, open, run};
use crate::engine::{EngineError, RoleShape};

/// Makes a role, or makes the one that is there what it should be.
pub(crate) async fn shape(access: &Access, role: &RoleShape<'_>) -> Result<(), EngineError> {
    let mut session = open(access).await?;
    let mut transaction = session.begin().await?;
    let name = identifier(role.name);
    if oid(&mut transaction, role.name).await?.is_none() {
        run(&mut transaction, format!("CREATE ROLE {name}")).await?;
    }
    let options = [
        (role.can_log_in, "LOGIN"),
        (role.attributes.createdb, "CREATEDB"),
        (role.attributes.createrole, "CREATEROLE"),
        (role.attributes.bypassrls, "BYPASSRLS"),
    ];
    let options = options.map(|(on, option)| {
        if on {
            option.to_owned()
        } else {
            format!("NO{option}")
        }
    });
    run(
        &mut transaction,
        format!("ALTER ROLE {name} {}", options.join(" ")),
    )
    .await?;
    let membership = if role.is_superuser_member {
        format!("GRANT databricks_superuser TO {name}")
    } else {
        format!("REVOKE databricks_superuser FROM {name}")
    };
    run(&mut transaction, membership).await?;
    transaction.commit().await?;
    Ok(session.close().await?)
}

/// Removes a role. What it owns goes to the heir; without one, a role that owns something, or was granted something,
/// stays, and so does everything it has.
pub(crate) async fn remove(access: &Access, name: &str, heir: Option<&str>) -> Result<(), EngineError> {
    let mut session = open(access).await?;
    let Some(oid) = oid(&mut session, name).await? else {
        return Ok(session.close().await?);
    };
    if let Some(heir) = heir {
        // From here on it makes nothing new that the heir would not get.
        run(&mut session, format!("ALTER ROLE {} NOLOGIN", identifier(name))).await?;
        end_sessions(&mut session, oid).await?;
        let sql = "SELECT datname::text FROM pg_database WHERE datallowconn";
        let databases: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut session).await?;
        for database in databases {
            hand_over(&mut session, access, &database, name, heir).await?;
        }
    }
    run(&mut session, format!("DROP ROLE {}", identifier(name))).await?;
    end_sessions(&mut session, oid).await?;
    Ok(session.close().await?)
}

/// Gives what a role owns in one database to another one, and takes back what it was granted there.
async fn hand_over(
    outside: &mut PgConnection,
    access: &Access,
    database: &str,
    name: &str,
    heir: &str,
) -> Result<(), EngineError> {
    let mut session = enter(outside, access, database).await?;
    let mut transaction = session.begin().await?;
    let (name, heir) = (identifier(name), identifier(heir));
    run(&mut transaction, format!("REASSIGN OWNED BY {name} TO {heir}")).await?;
    run(&mut transaction, format!("DROP OWNED BY {name}")).await?;
    transaction.commit().await?;
    Ok(session.close().await?)
}

async fn oid(session: &mut PgConnection, name: &str) -> Result<Option<i64>, EngineError> {
    let sql = "SELECT oid::bigint FROM pg_roles WHERE rolname = $1";
    let oid = sqlx::query_scalar(sql).bind(name).fetch_optional(session).await?;
    Ok(oid)
}

async fn end_sessions(session: &mut PgConnection, oid: i64) -> Result<(), EngineError> {
    let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usesysid::bigint = $1";
    sqlx::query(sql).bind(oid).execute(session).await?;
    Ok(())
}
