//! What is there after a restart.

use local_lakebase::{LocalLakebase, StartError};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::lake::Lake;

#[tokio::test]
async fn everything_is_where_it_was() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.branch("dev").await;
    lake.branch("gone").await;
    let deleted = lake
        .ok("DELETE", "projects/shop/branches/gone", Value::Null)
        .await;
    lake.sql("dev", "CREATE TABLE kept AS SELECT 42 AS n").await;
    let before = (
        lake.local.api_url().to_owned(),
        lake.local.token().expose_secret().to_owned(),
        std::fs::read(lake.local.ca_file()).unwrap(),
        lake.address("dev").await,
        lake.get("projects/shop").await.body,
    );
    let mut branches = lake
        .ok("GET", "projects/shop/branches?show_deleted=true", Value::Null)
        .await;
    let password = lake.password("dev").await;

    let lake = lake.restart().await;
    let after = (
        lake.local.api_url().to_owned(),
        lake.local.token().expose_secret().to_owned(),
        std::fs::read(lake.local.ca_file()).unwrap(),
        lake.address("dev").await,
        lake.get("projects/shop").await.body,
    );
    assert_eq!(before, after);
    let mut again = lake
        .ok("GET", "projects/shop/branches?show_deleted=true", Value::Null)
        .await;
    for branch in [&mut branches, &mut again]
        .into_iter()
        .flat_map(|l| l["branches"].as_array_mut().unwrap())
    {
        branch["status"]
            .as_object_mut()
            .unwrap()
            .remove("logical_size_bytes");
    }
    assert_eq!(branches, again);
    assert_eq!(
        lake.ok("GET", deleted["name"].as_str().unwrap(), Value::Null)
            .await,
        deleted
    );
    let said = lake.psql("dev", &password, "", "SELECT n FROM kept").await;
    assert_eq!(said.out.trim(), "42", "a password from before opens: {said:?}");
    lake.ok("POST", "projects/shop/branches/gone/undelete", Value::Null)
        .await;
    assert_eq!(lake.sql("gone", "SELECT 1").await, "1");
    lake.stop().await;
}

#[tokio::test]
async fn a_directory_has_one_server() {
    let lake = Lake::start().await;
    let second = LocalLakebase::start(lake.config()).await;
    assert!(matches!(second, Err(StartError::InUse(_))), "{:?}", second.err());
    lake.stop().await;
}

#[tokio::test]
async fn without_postgresql_the_error_says_what_to_do() {
    let lake = Lake::start().await;
    let nowhere = tempfile::tempdir().unwrap();
    let mut config = lake.config();
    lake.local.stop().await;
    config.pg_bindir = Some(nowhere.path().to_owned());
    match LocalLakebase::start(config).await {
        Err(StartError::NoPostgres { fix }) => assert!(!fix.is_empty()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started without PostgreSQL"),
    }
}

#[tokio::test]
async fn only_the_owner_reads_the_secrets() {
    use std::os::unix::fs::PermissionsExt;
    let lake = Lake::start().await;
    let token = lake.local.token().expose_secret();
    for entry in std::fs::read_dir(lake.local.data_dir()).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_file() {
            continue;
        }
        let open = entry.metadata().unwrap().permissions().mode() & 0o077 != 0;
        let content = std::fs::read(entry.path()).unwrap();
        let holds = |secret: &[u8]| content.windows(secret.len()).any(|window| window == secret);
        let secret = holds(token.as_bytes()) || holds(b"PRIVATE KEY") || entry.file_name() == "signing.key";
        assert!(!(open && secret), "{}", entry.path().display());
    }
    lake.stop().await;
}
