//! Roles in PostgreSQL. What is asked for may be there already, from a try that was cut short: then it is made right.

use sqlx::{Connection, PgConnection};

use super::activity::{self, Selection};
use super::{Access, enter, identifier, open, refused, run};
use crate::engine::{EngineError, RoleShape};

/// Takes the membership of the role that `lakebase.member` names, whoever granted it. From PostgreSQL 16 on, `REVOKE` alone
/// takes only what its own user granted.
const REVOKE_MEMBERSHIP: &str = "DO $$ DECLARE m record; BEGIN
    FOR m IN SELECT a.member::regrole AS member, a.grantor::regrole AS grantor FROM pg_catalog.pg_auth_members a
        JOIN pg_catalog.pg_roles r ON r.oid = a.roleid JOIN pg_catalog.pg_roles u ON u.oid = a.member
        WHERE r.rolname = 'databricks_superuser'
        AND u.rolname = pg_catalog.current_setting('lakebase.member')
    LOOP
        EXECUTE pg_catalog.format(
            'REVOKE databricks_superuser FROM %s GRANTED BY %s CASCADE', m.member, m.grantor);
    END LOOP; END $$";

/// A role that is there.
#[derive(Debug, sqlx::FromRow)]
struct Found {
    oid: i64,
    can_log_in: bool,
}

/// Makes a role, or makes the one that is there what it should be.
pub(crate) async fn shape(access: &Access, role: &RoleShape<'_>) -> Result<(), EngineError> {
    let mut session = open(access).await.map_err(refused)?;
    let mut transaction = session.begin().await?;
    let name = identifier(role.name);
    if find(&mut transaction, role.name).await?.is_none() {
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
    shape_membership(&mut transaction, role).await?;
    transaction.commit().await.map_err(refused)?;
    Ok(session.close().await?)
}

/// A member that creates roles may make them members. Before PostgreSQL 16, CREATEROLE implies it; since then the membership
/// needs the admin option.
async fn shape_membership(session: &mut PgConnection, role: &RoleShape<'_>) -> Result<(), EngineError> {
    let name = identifier(role.name);
    if !role.is_superuser_member {
        let sql = "SELECT pg_catalog.set_config('lakebase.member', $1, true)";
        sqlx::query(sql).bind(role.name).execute(&mut *session).await?;
        return run(session, REVOKE_MEMBERSHIP.to_owned()).await;
    }
    run(session, format!("GRANT databricks_superuser TO {name}")).await?;
    let admin_option = if role.attributes.createrole {
        format!("GRANT databricks_superuser TO {name} WITH ADMIN OPTION")
    } else {
        format!("REVOKE ADMIN OPTION FOR databricks_superuser FROM {name}")
    };
    run(session, admin_option).await
}

/// Removes a role. What it owns goes to the heir; without one, a role that owns something, or was granted something,
/// stays, and so does everything it has.
pub(crate) async fn remove(access: &Access, name: &str, heir: Option<&str>) -> Result<(), EngineError> {
    let mut session = open(access).await.map_err(refused)?;
    let Some(role) = find(&mut session, name).await? else {
        return Ok(session.close().await?);
    };
    match heir {
        Some(heir) => remove_in_favor(&mut session, access, name, &role, heir).await?,
        None => run(&mut session, format!("DROP ROLE {}", identifier(name))).await?,
    }
    activity::end(&mut session, Selection::of_role(role.oid)).await?;
    Ok(session.close().await?)
}

/// The role cannot log in meanwhile, so that it creates nothing that the heir would not get. If the role cannot be removed,
/// it can log in as before.
async fn remove_in_favor(
    outside: &mut PgConnection,
    access: &Access,
    name: &str,
    role: &Found,
    heir: &str,
) -> Result<(), EngineError> {
    let quoted = identifier(name);
    run(outside, format!("ALTER ROLE {quoted} NOLOGIN")).await?;
    let removed = async {
        activity::end(outside, Selection::of_role(role.oid)).await?;
        for database in databases_of(outside, role.oid).await? {
            let mut inside = enter(outside, access, &database).await.map_err(refused)?;
            hand_over(&mut inside, name, heir).await?;
            inside.close().await?;
        }
        // Objects that are in no database, such as databases.
        hand_over(outside, name, heir).await?;
        run(outside, format!("DROP ROLE {quoted}")).await
    };
    let removed = removed.await;
    if removed.is_err()
        && role.can_log_in
        && let Err(error) = run(outside, format!("ALTER ROLE {quoted} LOGIN")).await
    {
        tracing::warn!(%error, role = name, "a role that was not deleted cannot log in");
    }
    removed
}

/// Gives what a role owns in one database to another one, and takes back what it was granted there.
async fn hand_over(session: &mut PgConnection, name: &str, heir: &str) -> Result<(), EngineError> {
    let mut transaction = session.begin().await?;
    let (name, heir) = (identifier(name), identifier(heir));
    run(&mut transaction, format!("REASSIGN OWNED BY {name} TO {heir}")).await?;
    run(&mut transaction, format!("DROP OWNED BY {name}")).await?;
    transaction.commit().await.map_err(refused)
}

/// The databases in which a role owns something or was granted something. No other is entered.
async fn databases_of(outside: &mut PgConnection, oid: i64) -> Result<Vec<String>, EngineError> {
    // As bytes: the name of a database can be anything, if it was created in one of another encoding.
    let sql = "SELECT pg_catalog.namesend(datname) FROM pg_catalog.pg_database WHERE oid IN (
               SELECT dbid FROM pg_catalog.pg_shdepend
               WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND refobjid::bigint = $1)";
    let names: Vec<Vec<u8>> = sqlx::query_scalar(sql).bind(oid).fetch_all(outside).await?;
    let names = names.into_iter().map(|name| {
        String::from_utf8(name).map_err(|error| {
            let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
            EngineError::Refused(format!("database \"{name}\" has a name that is not UTF-8"))
        })
    });
    names.collect()
}

async fn find(session: &mut PgConnection, name: &str) -> Result<Option<Found>, EngineError> {
    let sql = "SELECT oid::bigint, rolcanlogin AS can_log_in FROM pg_catalog.pg_roles WHERE rolname = $1";
    let found = sqlx::query_as(sql).bind(name).fetch_optional(session).await?;
    Ok(found)
}
