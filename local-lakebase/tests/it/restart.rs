//! What is there after a restart.

use local_lakebase::{LocalLakebase, StartError};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::lake::{Lake, until};

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
        for size in ["logical_size_bytes", "own_size_bytes"] {
            branch["status"].as_object_mut().unwrap().remove(size);
        }
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
        let name = entry.file_name().into_string().unwrap();
        let private = name == "signing.key" || name.starts_with("catalog.db");
        let secret = private || holds(token.as_bytes()) || holds(b"PRIVATE KEY");
        assert!(!(open && secret), "{}", entry.path().display());
    }
    lake.stop().await;
}

#[tokio::test]
async fn a_branch_that_cannot_be_made_leaves_nothing_behind() {
    let lake = Lake::start().await;
    lake.project().await;
    let production = lake.get("projects/shop/branches/production").await.body;
    let lake = lake.restart().await;
    let uid = production["uid"].as_str().unwrap();
    let data = lake.local.data_dir().join("projects/shop").join(uid);
    let aside = lake.local.data_dir().join("aside");
    std::fs::rename(&data, &aside).unwrap();
    let path = "projects/shop/branches?branch_id=dev";
    let body = || serde_json::json!({"spec": {"ttl": "3600s"}});
    let failed = lake.send("POST", path, body()).await;
    assert_eq!(
        (failed.status, failed.code()),
        (500, "INTERNAL_ERROR"),
        "{failed:?}"
    );
    assert!(
        failed.message().starts_with("cannot create the branch: "),
        "{failed:?}"
    );
    assert_eq!(lake.get("projects/shop/branches/dev").await.status, 404);
    std::fs::rename(&aside, &data).unwrap();
    lake.ok("POST", path, body()).await;
    assert_eq!(lake.sql("dev", "SELECT 1").await, "1");
    lake.stop().await;
}

#[tokio::test]
async fn a_change_goes_to_its_end_though_its_caller_hung_up() {
    use tokio::io::AsyncWriteExt;
    let lake = Lake::start().await;
    lake.project().await;
    let host = lake.local.api_url().strip_prefix("http://").unwrap();
    let token = lake.local.token().expose_secret();
    let body = r#"{"spec":{"ttl":"3600s"}}"#;
    let request = format!(
        "POST /api/2.0/postgres/projects/shop/branches?branch_id=dev HTTP/1.1\r\nHost: {host}\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    until("the branch is under way", || async { under_way(&lake) }).await;
    drop(stream);
    until("the branch is there", || async {
        lake.get("projects/shop/branches/dev").await.status == 200
    })
    .await;
    assert_eq!(lake.sql("dev", "SELECT 1").await, "1");
    lake.stop().await;
}

/// Says whether a second data directory has appeared.
fn under_way(lake: &Lake) -> bool {
    let branches = std::fs::read_dir(lake.local.data_dir().join("projects/shop")).unwrap();
    branches.count() > 1
}

#[tokio::test]
async fn requests_at_the_same_time_do_not_get_in_each_others_way() {
    let lake = Lake::start().await;
    lake.project().await;
    let create = |id: &'static str| {
        let path = format!("projects/shop/branches?branch_id={id}");
        let lake = &lake;
        async move {
            lake.send("POST", &path, serde_json::json!({"spec": {"ttl": "3600s"}}))
                .await
        }
    };
    let (one, same, other) = tokio::join!(create("one"), create("one"), create("two"));
    let mut statuses = [one.status, same.status];
    statuses.sort_unstable();
    assert_eq!((statuses, other.status), ([200, 400], 200));
    let lost = if one.status == 400 { &one } else { &same };
    assert_eq!(lost.message(), "branch already exists; branch_name:\"one\"");
    lake.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_does_not_hold_up_the_end() {
    use tokio::io::AsyncWriteExt;
    let lake = Lake::start().await;
    let host = lake.local.api_url().strip_prefix("http://").unwrap();
    let token = lake.local.token().expose_secret();
    let head = format!(
        "POST /api/2.0/postgres/credentials HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 100\r\n\r\n{{"
    );
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // An answer to somebody who came later shows that this one has been let in.
    assert_eq!(lake.get("projects").await.status, 200);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), lake.stop()).await;
    assert!(ended.is_ok(), "it waits for a client that says nothing");
}

/// While nothing serves an endpoint, another program may take its address and be sent its password.
#[tokio::test]
async fn pg_12_a_password_for_an_address_that_has_moved_opens_nothing() {
    let lake = Lake::start().await;
    lake.project().await;
    let (before, password) = (
        lake.address("production").await,
        lake.password("production").await,
    );
    if before.0 == "127.0.0.1" {
        eprintln!("skipped: endpoints have no addresses of their own here");
        return lake.stop().await;
    }
    let Lake {
        local,
        clock,
        dir,
        limits,
    } = lake;
    local.stop().await;
    let impostor = tokio::net::TcpListener::bind(&before).await.unwrap();
    let config = crate::lake::config(&dir, &limits);
    let local = LocalLakebase::start_at(config, clock.clone()).await.unwrap();
    let lake = Lake {
        local,
        clock,
        dir,
        limits,
    };
    assert_ne!(lake.address("production").await, before);
    let said = lake.psql("production", &password, "", "SELECT 1").await;
    assert!(
        !said.ok && said.err.contains("password authentication failed"),
        "{said:?}"
    );
    assert_eq!(
        lake.sql("production", "SELECT 1").await,
        "1",
        "a new password opens it"
    );
    drop(impostor);
    lake.stop().await;
}
