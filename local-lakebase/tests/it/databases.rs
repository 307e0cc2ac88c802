//! Databases: over HTTP, and as PostgreSQL has them.

use serde_json::{Value, json};

use crate::api::{BAD, INVALID, Refusal};
use crate::lake::{Lake, USER};

const DATABASES: &str = "projects/shop/branches/production/databases";
const ROLES: &str = "projects/shop/branches/production/roles";
const CREATOR: &str = "projects/shop/branches/production/roles/jane-doe-example-com";

#[tokio::test]
async fn a_database_lives_from_create_to_delete() {
    let lake = Lake::start().await;
    lake.project().await;
    let spec = json!({"spec": {"postgres_database": "app", "role": CREATOR}});
    let path = format!("{DATABASES}?database_id=app-db");
    let operation = lake.ok("POST", &path, spec.clone()).await;
    let again = lake
        .ok("GET", operation["name"].as_str().unwrap(), Value::Null)
        .await;
    assert_eq!(again, operation);
    check_shown(&lake).await;
    let password = lake.password("production").await;
    let create = "CREATE TABLE t AS SELECT 7 AS n; SHOW timezone";
    let said = lake.login_to("production", "app", USER, &password, create).await;
    assert_eq!((said.ok, said.out.trim()), (true, "UTC"), "{said:?}");

    let role = json!({"spec": {"postgres_role": "owner", "auth_method": "NO_LOGIN"}});
    lake.ok("POST", &format!("{ROLES}?role_id=owner"), role).await;
    let mask = "update_mask=spec.postgresDatabase,spec.role";
    let change = json!({"spec": {"postgres_database": "store", "role": format!("{ROLES}/owner")}});
    lake.ok("PATCH", &format!("{DATABASES}/app-db?{mask}"), change)
        .await;
    let owner =
        "SELECT datname || ' ' || pg_get_userbyid(datdba) FROM pg_database WHERE datname IN ('app', 'store')";
    assert_eq!(lake.sql("production", owner).await, "store owner");

    lake.branch("dev").await;
    let lake = lake.restart().await;
    let inherited = lake
        .ok("GET", "projects/shop/branches/dev/databases/app-db", Value::Null)
        .await;
    assert_eq!(
        inherited["status"]["role"],
        "projects/shop/branches/dev/roles/owner"
    );
    let password = lake.password("dev").await;
    let said = lake
        .login_to("dev", "store", USER, &password, "SELECT n FROM t")
        .await;
    assert_eq!((said.ok, said.out.trim()), (true, "7"), "{said:?}");

    let heir = CREATOR.replace('/', "%2F");
    let path = format!("{ROLES}/owner?reassign_owned_to={heir}");
    lake.ok("DELETE", &path, Value::Null).await;
    let shown = lake.ok("GET", &format!("{DATABASES}/app-db"), Value::Null).await;
    assert_eq!(shown["status"]["role"], CREATOR);
    let expected = format!("store {USER}");
    assert_eq!(lake.sql("production", owner).await, expected, "PostgreSQL agrees");
    let deleted = lake
        .ok("DELETE", &format!("{DATABASES}/app-db"), Value::Null)
        .await;
    assert_eq!(deleted["done"], true);
    assert_eq!(lake.get(&format!("{DATABASES}/app-db")).await.status, 404);
    assert_eq!(lake.sql("production", owner).await, "");
    let still = lake
        .ok("GET", "projects/shop/branches/dev/databases", Value::Null)
        .await;
    assert_eq!(still["databases"].as_array().unwrap().len(), 2);
    lake.stop().await;
}

/// Checks that a database is shown as the service shows it.
async fn check_shown(lake: &Lake) {
    let mut shown = lake.ok("GET", &format!("{DATABASES}/app-db"), Value::Null).await;
    for extra in ["create_time", "update_time"] {
        assert!(shown.as_object_mut().unwrap().remove(extra).unwrap().is_string());
    }
    let golden = json!({
        "name": format!("{DATABASES}/app-db"), "database_id": "app-db",
        "parent": "projects/shop/branches/production",
        "status": {"database_id": "app-db", "postgres_database": "app", "role": CREATOR},
    });
    assert_eq!(shown, golden);
}

#[rustfmt::skip]
const REFUSALS: &[Refusal<'_>] = &[
    ("POST databases", r#"{"spec":{"postgres_database":"x"}}"#, 400, INVALID,
        r#"Field 'database.spec.role' is required, expected non-default value (not "")!"#),
    ("POST databases", r#"{"spec":{"role":"projects/shop/branches/production/roles/jane-doe-example-com"}}"#, 400, INVALID,
        r#"Field 'database.spec.postgres_database' is required, expected non-default value (not "")!"#),
    ("POST databases", r#"{"spec":{"postgres_database":"x","role":"projects/shop/branches/production/roles/nope"}}"#,
        404, "NOT_FOUND", "role id not found"),
    ("POST databases", r#"{"spec":{"postgres_database":"x","role":"projects/shop/branches/other/roles/jane"}}"#,
        400, INVALID, "Field 'database.spec.role' must be the name of a role of branch \
        'projects/shop/branches/production'"),
    ("DELETE databases/databricks-postgres", "", 400, BAD,
        "the default database \"databricks_postgres\" cannot be deleted"),
    ("PATCH databases/databricks-postgres?update_mask=spec.postgres_database",
        r#"{"spec":{"postgres_database":"x"}}"#, 400, BAD,
        "the default database \"databricks_postgres\" cannot be renamed"),
    ("PATCH databases/databricks-postgres?update_mask=spec.role", "{}", 400, INVALID,
        "Field 'spec.role' is named in update_mask but not set in the request body"),
    ("GET databases/nope", "", 404, "NOT_FOUND", "database id not found"),
];

#[tokio::test]
async fn what_the_service_refuses_is_refused_in_its_words() {
    let lake = Lake::start().await;
    lake.project().await;
    let spec = |name: &str| json!({"spec": {"postgres_database": name, "role": CREATOR}});
    let first = lake.ok("POST", DATABASES, spec("app")).await;
    assert_eq!(first["response"]["database_id"], "db-app");
    let sql = "CREATE DATABASE by_sql OWNER databricks_superuser";
    lake.sql("production", sql).await;
    lake.refuses("projects/shop/branches/production", REFUSALS).await;
    let exists = "database with that name already exists";
    let short = "Field database_id must be at least 4 characters";
    for (request, name, code, message) in [
        ("POST databases", "app", BAD, exists),
        ("POST databases?database_id=db-app", "new", BAD, exists),
        ("POST databases", "postgres", BAD, exists),
        ("POST databases", "by_sql", BAD, exists),
        ("POST databases?database_id=app", "new", INVALID, short),
    ] {
        let body = spec(name).to_string();
        let refused = (request, body.as_str(), 400, code, message);
        lake.refuses("projects/shop/branches/production", &[refused])
            .await;
    }
    lake.stop().await;
}
