//! Databases that are renamed, closed, marked or named so that a session of the service might stumble.

use std::ffi::OsStr;

use serde_json::{Value, json};

use super::{DATABASES, HEIR, OWNER, ROLES};
use crate::lake::{Lake, USER};

impl Lake {
    /// Runs a statement of any bytes, as a user with a name of any bytes, in a database without an encoding.
    async fn in_bytes(&self, sql: &[u8], user: &[u8]) {
        use std::os::unix::ffi::OsStrExt;
        let output = tokio::process::Command::new("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "bytes", "-h"])
            .arg(self.socket_dir().await)
            .args([
                OsStr::new("-U"),
                OsStr::from_bytes(user),
                OsStr::new("-c"),
                OsStr::from_bytes(sql),
            ])
            .env("PGCLIENTENCODING", "SQL_ASCII")
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

const DEFAULT: &str = "projects/shop/branches/production/databases/databricks-postgres";

#[tokio::test]
async fn pg_25_a_default_database_that_is_renamed_or_dropped_is_missed_by_what_needs_it_only() {
    let lake = Lake::start().await;
    lake.shop().await;
    for role in ["first", "second"] {
        lake.role_with_tables(role, &["databricks_postgres", "shop"])
            .await;
    }
    let rename = "ALTER DATABASE databricks_postgres RENAME TO elsewhere";
    lake.as_owner("postgres", rename).await;
    lake.call_all("first").await;
    let path = format!("{DEFAULT}?update_mask=spec.role");
    let spec = json!({"spec": {"role": OWNER}});
    let refused = lake.expect(400, "PATCH", &path, spec.clone()).await;
    assert_eq!(
        (refused.code(), refused.message()),
        ("BAD_REQUEST", "database \"databricks_postgres\" does not exist")
    );
    let password = lake.password("production").await;
    let said = lake.login("production", USER, &password, "SELECT 1").await;
    assert!(
        said.err.contains("\"databricks_postgres\" does not exist"),
        "{said:?}"
    );

    lake.as_owner("postgres", "DROP DATABASE elsewhere").await;
    lake.call_all("second").await;
    lake.expect(400, "PATCH", &path, spec).await;
    lake.stop().await;
}

#[tokio::test]
async fn pg_25_databases_that_are_closed_or_marked_or_in_use_are_refused_in_postgresqls_words() {
    let lake = Lake::start().await;
    lake.shop().await;
    lake.role_with_tables("first", &["shop"]).await;
    lake.as_owner("postgres", "ALTER DATABASE shop ALLOW_CONNECTIONS false")
        .await;
    let delete = format!("{ROLES}/first?reassign_owned_to={HEIR}");
    let refused = lake.expect(400, "DELETE", &delete, Value::Null).await;
    let text = "database \"shop\" is not currently accepting connections";
    assert_eq!((refused.code(), refused.message()), ("BAD_REQUEST", text));
    let can_log_in = "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'first'";
    assert_eq!(
        lake.as_owner("postgres", can_log_in).await,
        "t",
        "it stays as it was"
    );
    for open in ["ALLOW_CONNECTIONS true", "CONNECTION LIMIT 0", "IS_TEMPLATE true"] {
        lake.as_owner("postgres", &format!("ALTER DATABASE shop {open}"))
            .await;
    }
    lake.as_owner("postgres", "REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
        .await;
    lake.expect(200, "DELETE", &delete, Value::Null).await;
    let refused = lake
        .expect(400, "DELETE", &format!("{DATABASES}/shop"), Value::Null)
        .await;
    assert_eq!(refused.message(), "cannot drop a template database");
    lake.as_owner("postgres", "ALTER DATABASE shop IS_TEMPLATE false")
        .await;
    lake.as_owner("postgres", "GRANT CONNECT ON DATABASE shop TO PUBLIC; ")
        .await;
    lake.as_owner("postgres", "ALTER DATABASE shop CONNECTION LIMIT -1")
        .await;

    // Sessions in the way: PostgreSQL waits for them for 5 seconds before it refuses.
    let mut in_shop = lake.user_session("shop").await;
    let mut in_template = lake.user_session("template1").await;
    let rename = format!("{DATABASES}/shop?update_mask=spec.postgres_database");
    let spec = json!({"spec": {"postgres_database": "moved"}});
    let refused = lake.expect(400, "PATCH", &rename, spec).await;
    assert_eq!(
        refused.message(),
        "database \"shop\" is being accessed by other users"
    );
    lake.call_databases().await;
    let used = "SELECT 1";
    assert!(sqlx::query(used).execute(&mut in_shop).await.is_ok());
    lake.expect(200, "DELETE", &format!("{DATABASES}/shop"), Value::Null)
        .await;
    assert!(
        sqlx::query(used).execute(&mut in_shop).await.is_err(),
        "it went with its database"
    );
    assert!(sqlx::query(used).execute(&mut in_template).await.is_ok());
    lake.stop().await;
}

#[tokio::test]
async fn pg_25_odd_names_and_encodings_are_not_stumbled_over() {
    let lake = Lake::start().await;
    lake.shop().await;
    lake.as_owner(
        "postgres",
        "CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
    )
    .await;
    lake.in_bytes(b"CREATE ROLE \"r\xff\" LOGIN CREATEDB", USER.as_bytes())
        .await;
    lake.in_bytes(b"CREATE DATABASE \"d\xff\"", b"r\xff").await;
    for name in ["a\"b", "x'; DROP ROLE app; --", "with space"] {
        let sql = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        lake.as_owner("postgres", &sql).await;
    }
    lake.role_with_tables("first", &["a\"b", "x'; DROP ROLE app; --", "with space", "bytes"])
        .await;
    lake.call_all("first").await;
    lake.as_owner("postgres", "ALTER ROLE databricks_superuser RENAME TO other")
        .await;
    let member = json!({"spec": {"postgres_role": "late", "membership_roles": ["DATABRICKS_SUPERUSER"]}});
    let refused = lake.expect(400, "POST", ROLES, member).await;
    assert_eq!(refused.message(), "role \"databricks_superuser\" does not exist");
    lake.stop().await;
}
