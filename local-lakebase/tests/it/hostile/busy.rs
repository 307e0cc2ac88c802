//! Sessions of a user that hold what a method needs: seats, locks, rows of the catalogs.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{DATABASES, HEIR, ROLES};
use crate::lake::{Lake, USER, until};

impl Lake {
    /// Opens a session as the listener does for the owner of the project.
    pub(super) async fn user_session(&self, database: &str) -> PgConnection {
        self.try_user_session(database).await.unwrap()
    }

    async fn try_user_session(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        let socket = self.socket_dir().await;
        PgConnection::connect_with(
            &sqlx::postgres::PgConnectOptions::new_without_pgpass()
                .socket(socket)
                .username(USER)
                .database(database),
        )
        .await
    }
}

impl Lake {
    /// Since PostgreSQL 16 a role may alter only those that it created itself.
    async fn may_alter_every_role(&self) -> bool {
        let sql = "SELECT current_setting('server_version_num')::int < 160000";
        self.as_owner("postgres", sql).await == "t"
    }
}

async fn run(session: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(session).await.unwrap();
}

#[tokio::test]
async fn pg_28_a_user_who_takes_every_seat_does_not_keep_us_out() {
    let lake = Lake::start().await;
    lake.shop().await;
    lake.role_with_tables("first", &["databricks_postgres", "shop"])
        .await;
    let socket = lake.socket_dir().await;
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .socket(socket)
        .username(USER)
        .database("postgres");
    let mut sessions = Vec::new();
    let full = loop {
        match PgConnection::connect_with(&options).await {
            Ok(session) => sessions.push(session),
            Err(error) => break error.to_string(),
        }
    };
    assert!(full.contains("remaining connection slots are reserved"), "{full}");
    lake.call_roles("first").await;
    lake.call_databases().await;
    lake.call_branches().await;
    for session in sessions {
        session.close().await.unwrap();
    }
    lake.stop().await;
}

#[tokio::test]
async fn pg_28_a_lock_of_a_user_is_not_waited_for() {
    let lake = Lake::start().await;
    lake.shop().await;
    let databases = ["databricks_postgres", "shop"];
    for role in ["app", "first"] {
        lake.role_with_tables(role, &databases).await;
    }
    let mut session = lake.user_session("databricks_postgres").await;
    let patch = (
        "PATCH",
        format!("{ROLES}/app?update_mask=spec.attributes"),
        json!({"spec": {"attributes": {"createdb": true}}}),
    );
    let fresh = (
        "POST",
        ROLES.to_owned(),
        json!({"spec": {"postgres_role": "fresh"}}),
    );
    let delete = (
        "DELETE",
        format!("{ROLES}/first?reassign_owned_to={HEIR}"),
        Value::Null,
    );
    let mut holds = vec![
        ("CREATE ROLE fresh", &fresh),
        ("LOCK TABLE bait_of_first IN ACCESS SHARE MODE", &delete),
    ];
    if lake.may_alter_every_role().await {
        holds.push(("ALTER ROLE app CONNECTION LIMIT 5", &patch));
    }
    for (hold, (method, path, body)) in holds {
        run(&mut session, "BEGIN").await;
        run(&mut session, hold).await;
        let busy = lake.expect(409, method, path, body.clone()).await;
        assert_eq!(busy.code(), "ABORTED", "{hold}");
        assert!(
            busy.message()
                .ends_with("canceling statement due to lock timeout"),
            "{busy:?}"
        );
        run(&mut session, "ROLLBACK").await;
        lake.expect(200, method, path, body.clone()).await;
    }
    // What only reads is in the way of nothing.
    run(
        &mut session,
        "BEGIN; LOCK TABLE pg_authid, pg_auth_members, pg_database IN ACCESS SHARE MODE",
    )
    .await;
    run(
        &mut session,
        "SET ROLE databricks_superuser; SELECT count(*) FROM pg_authid",
    )
    .await;
    lake.call_databases().await;
    lake.call_branches().await;
    session.close().await.unwrap();
    lake.stop().await;
}

/// A pager that nobody scrolls is enough: PostgreSQL waits for all sessions before it removes the files of a database.
#[tokio::test]
async fn pg_29_a_client_that_stops_reading_holds_up_no_change() {
    let lake = Lake::start().await;
    lake.shop().await;
    lake.call_databases().await;
    let password = lake.password("production").await;
    let (host, port) = lake.address("production").await;
    let ca = lake.local.ca_file().display();
    let mut reader = Command::new("psql")
        .args(["-X", "-c", "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT"])
        .arg(format!(
            "host={host} port={port} user={USER} dbname=databricks_postgres sslmode=verify-full sslrootcert={ca}"
        ))
        .env("PGPASSWORD", password)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stalled = "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'ClientWrite'";
    until("the session waits for its client", || async {
        lake.as_owner("postgres", stalled).await == "t"
    })
    .await;
    let shop = format!("{DATABASES}/shop");
    let busy = lake.expect(409, "DELETE", &shop, Value::Null).await;
    assert_eq!(busy.code(), "ABORTED", "{busy:?}");
    assert!(busy.message().contains("does not read its result"), "{busy:?}");
    lake.call_branches().await;
    reader.kill().unwrap();
    reader.wait().unwrap();
    lake.expect(200, "DELETE", &shop, Value::Null).await;
    lake.stop().await;
}
