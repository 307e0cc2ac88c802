//! Privileges that would let a user leave the database: PostgreSQL's defaults and grants of before are checked at each start,
//! in one query, and corrected where they are wrong.

use std::ops::RangeInclusive;

use sqlx::{AssertSqlSafe, PgConnection};

use super::activity::{self, Selection};
use crate::engine::EngineError;

/// A correction and the condition for it.
struct Rule {
    /// The releases of PostgreSQL that need it.
    releases: RangeInclusive<u32>,
    /// A condition that is true while it is needed.
    broken: &'static str,
    repair: &'static str,
    /// Whether running sessions could have the privilege: `SET ROLE` lasts until the end of a session.
    ends_sessions: bool,
}

const EVERY: RangeInclusive<u32> = 0..=u32::MAX;
const BEFORE_16: RangeInclusive<u32> = 0..=15;
const SINCE_16: RangeInclusive<u32> = 16..=u32::MAX;

/// Members of these roles run programs, and read and write files, as the user that PostgreSQL runs as.
/// <https://www.postgresql.org/docs/current/predefined-roles.html>
macro_rules! program_roles {
    () => {
        "('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')"
    };
}

/// Memberships that lead out of the database, by `SET ROLE` if not by inheritance.
macro_rules! memberships {
    () => {
        concat!(
            "pg_catalog.pg_auth_members m WHERE m.roleid IN (SELECT oid FROM pg_catalog.pg_authid
             WHERE rolsuper OR rolname IN ",
            program_roles!(),
            ")"
        )
    };
}

/// Roles that are superusers or replicate. Only `initdb` creates such a role here, and its number is 10.
macro_rules! superusers {
    () => {
        concat!(
            "oid <> 10 AND (rolreplication OR rolsuper AND rolname NOT IN ",
            program_roles!(),
            ")"
        )
    };
}

/// Members of `databricks_superuser` by our own grant that create roles and cannot pass the membership on.
macro_rules! creators_without_admin_option {
    () => {
        "pg_catalog.pg_auth_members m
         JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles u ON u.oid = m.member
         WHERE r.rolname = 'databricks_superuser' AND u.rolcreaterole AND m.grantor = 10 AND NOT m.admin_option"
    };
}

const RULES: [Rule; 6] = [
    Rule {
        releases: BEFORE_16,
        broken: concat!("EXISTS (SELECT FROM ", memberships!(), ")"),
        repair: concat!("DELETE FROM ", memberships!()),
        ends_sessions: true,
    },
    // Each grant has a grantor, and an entry in `pg_shdepend`.
    Rule {
        releases: SINCE_16,
        broken: concat!("EXISTS (SELECT FROM ", memberships!(), ")"),
        repair: concat!(
            "DO $$ DECLARE g record; BEGIN FOR g IN
                 SELECT m.roleid::regrole AS role, m.member::regrole AS member, m.grantor::regrole AS grantor FROM ",
            memberships!(),
            " LOOP
                 EXECUTE pg_catalog.format('REVOKE %s FROM %s GRANTED BY %s CASCADE', g.role, g.member, g.grantor);
             END LOOP; END $$"
        ),
        ends_sessions: true,
    },
    Rule {
        releases: EVERY,
        broken: concat!("EXISTS (SELECT FROM pg_catalog.pg_authid WHERE ", superusers!(), ")"),
        repair: concat!(
            "UPDATE pg_catalog.pg_authid SET rolsuper = false, rolreplication = false WHERE ",
            superusers!()
        ),
        ends_sessions: true,
    },
    // Before 16, a role that creates roles may grant every role that is no superuser. No member is left to become one.
    Rule {
        releases: BEFORE_16,
        broken: concat!(
            "EXISTS (SELECT FROM pg_catalog.pg_authid WHERE NOT rolsuper AND rolname IN ",
            program_roles!(),
            ")"
        ),
        repair: concat!(
            "UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname IN ",
            program_roles!()
        ),
        ends_sessions: true,
    },
    // Since 16, such a role may not even grant `databricks_superuser`.
    Rule {
        releases: SINCE_16,
        broken: concat!("EXISTS (SELECT FROM ", creators_without_admin_option!(), ")"),
        repair: concat!(
            "DO $$ DECLARE g record; BEGIN FOR g IN SELECT u.oid::regrole AS member FROM ",
            creators_without_admin_option!(),
            " LOOP
                 EXECUTE pg_catalog.format('GRANT databricks_superuser TO %s WITH ADMIN OPTION', g.member);
             END LOOP; END $$"
        ),
        ends_sessions: false,
    },
    // Our own sessions are in this database. Every role may connect to it, and no more.
    Rule {
        releases: EVERY,
        broken: "EXISTS (SELECT FROM pg_catalog.pg_database d,
                 pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
                 WHERE d.datname = 'postgres' AND a.grantee = 0 AND a.privilege_type <> 'CONNECT')",
        repair: "REVOKE TEMPORARY, CREATE ON DATABASE postgres FROM PUBLIC",
        ends_sessions: false,
    },
];

/// Corrects what is wrong in a cluster.
pub(crate) async fn correct(session: &mut PgConnection, release: u32) -> Result<(), EngineError> {
    let rules: Vec<&Rule> = RULES
        .iter()
        .filter(|rule| rule.releases.contains(&release))
        .collect();
    let conditions: Vec<&str> = rules.iter().map(|rule| rule.broken).collect();
    let sql = AssertSqlSafe(format!("SELECT ARRAY[{}]", conditions.join(", ")));
    let broken: Vec<bool> = sqlx::query_scalar(sql).fetch_one(&mut *session).await?;
    for (rule, _) in rules.iter().zip(broken).filter(|(_, broken)| *broken) {
        // Before: no session may gain a privilege by the repair. After: none may keep what the repair revokes.
        if rule.ends_sessions {
            activity::end(session, Selection::ALL).await?;
        }
        sqlx::query(rule.repair).execute(&mut *session).await?;
        if rule.ends_sessions {
            activity::end(session, Selection::ALL).await?;
        }
        tracing::info!(repair = rule.repair, "privileges corrected");
    }
    Ok(())
}

/// Returns the text of all repairs, which names the template that they made.
pub(crate) fn text() -> String {
    RULES.map(|rule| rule.repair).join("\n")
}
