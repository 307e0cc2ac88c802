//! Logging in with a real PostgreSQL client.

use std::time::Duration;

use local_lakebase::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lake::{Lake, USER, psql, until};

#[tokio::test]
async fn the_right_token_opens_the_branch_and_data_stay_apart() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.sql(
        "production",
        "CREATE TABLE reviews (text text); INSERT INTO reviews VALUES ('from production')",
    )
    .await;
    let branch = lake.branch("dev").await;
    assert!(
        branch["status"]["source_branch_lsn"]
            .as_str()
            .unwrap()
            .contains('/'),
        "{branch}"
    );
    assert_eq!(
        lake.sql("dev", "SELECT text FROM reviews").await,
        "from production"
    );
    lake.sql("dev", "INSERT INTO reviews VALUES ('from dev')").await;
    assert_eq!(lake.sql("dev", "SELECT count(*) FROM reviews").await, "2");
    assert_eq!(lake.sql("production", "SELECT count(*) FROM reviews").await, "1");
    assert_eq!(
        lake.sql("dev", "SELECT current_user || ' ' || current_database()")
            .await,
        format!("{USER} databricks_postgres")
    );
    lake.stop().await;
}

#[tokio::test]
async fn pg_01_every_wrong_password_hears_the_same_no() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.branch("dev").await;
    let right = lake.password("dev").await;
    let refused = format!("FATAL:  password authentication failed for user \"{USER}\"");
    let of_another = lake.password("production").await;
    let mut forged = right.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for wrong in ["", "x", &of_another, &forged] {
        let said = lake.psql("dev", wrong, "", "SELECT 1").await;
        // Without a password libpq does not even try; what it sends then is its own affair.
        let own = wrong.is_empty() && said.err.contains("no password supplied");
        assert!(
            !said.ok && (own || said.err.contains(&refused)),
            "{wrong}: {said:?}"
        );
    }
    let (host, port) = lake.address("dev").await;
    let other = format!("host={host} port={port} user=mallory dbname=databricks_postgres sslmode=require");
    let said = psql(&other, &right, "SELECT 1").await;
    let refused = "FATAL:  password authentication failed for user \"mallory\"";
    assert!(!said.ok && said.err.contains(refused), "{said:?}");

    assert!(lake.psql("dev", &right, "", "SELECT 1").await.ok);
    lake.ok("DELETE", "projects/shop/branches/dev?purge=true", json!(null))
        .await;
    lake.branch("dev").await;
    let said = lake.psql("dev", &right, "", "SELECT 1").await;
    assert!(
        !said.ok && said.err.contains("password authentication failed"),
        "another branch: {said:?}"
    );
    lake.stop().await;
}

#[tokio::test]
async fn pg_01_a_token_is_checked_for_its_age_at_login_only() {
    let lake = Lake::start().await;
    lake.project().await;
    let token = lake.password("production").await;
    let (host, port) = lake.address("production").await;
    let connection =
        format!("host={host} port={port} user={USER} dbname=databricks_postgres sslmode=require");
    let wait = "CREATE TABLE go (); SELECT 1 FROM pg_sleep(0)";
    assert!(psql(&connection, &token, wait).await.ok);
    let open = {
        let (connection, token) = (connection.clone(), token.clone());
        let sql = "DO $$ BEGIN FOR i IN 1..400 LOOP \
                   EXIT WHEN to_regclass('go') IS NULL; PERFORM pg_sleep(0.05); END LOOP; END $$; \
                   SELECT 'still here'";
        tokio::spawn(async move { psql(&connection, &token, sql).await })
    };
    let lake_ref = &lake;
    until("the session is open", || async move {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'";
        lake_ref.sql("production", sql).await == "1"
    })
    .await;
    lake.clock.advance(Duration::from_hours(1));
    let said = psql(&connection, &token, "SELECT 1").await;
    assert!(
        !said.ok && said.err.contains("password authentication failed"),
        "{said:?}"
    );
    lake.sql("production", "DROP TABLE go").await;
    let said = open.await.unwrap();
    assert_eq!((said.ok, said.out.trim()), (true, "still here"), "{said:?}");
    lake.stop().await;
}

#[tokio::test]
async fn nothing_is_said_in_clear() {
    let lake = Lake::start().await;
    lake.project().await;
    let (host, port) = lake.address("production").await;
    let token = lake.password("production").await;
    let clear = format!("host={host} port={port} user={USER} dbname=databricks_postgres sslmode=disable");
    let said = psql(&clear, &token, "SELECT 1").await;
    assert!(
        !said.ok && said.err.contains("FATAL:  SSL connection is required"),
        "{said:?}"
    );
    let ssl_request = [0, 0, 0, 8, 4, 210, 22, 47];
    let mut stream = TcpStream::connect((host.clone(), port)).await.unwrap();
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 48]).await.unwrap();
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"N", "no GSSAPI");
    stream.write_all(&ssl_request).await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"S");
    lake.stop().await;
}

#[tokio::test]
async fn endpoints_without_addresses_share_a_port() {
    let limits = Limits {
        own_addresses: false,
        ..Limits::default()
    };
    let lake = Lake::start_with(limits).await;
    lake.project().await;
    lake.branch("dev").await;
    let (host, port) = lake.address("dev").await;
    assert_eq!((&*host, port), ("127.0.0.1", lake.address("production").await.1));
    assert_ne!(port, 5432);
    lake.sql("dev", "CREATE TABLE only_dev ()").await;
    assert_eq!(
        lake.sql("production", "SELECT to_regclass('only_dev') IS NULL")
            .await,
        "t"
    );
    assert_eq!(
        lake.sql("dev", "SELECT to_regclass('only_dev') IS NULL").await,
        "f"
    );
    let lake = lake.restart().await;
    assert_eq!(lake.address("dev").await, (host, port), "the port is kept");
    assert_eq!(
        lake.sql("dev", "SELECT to_regclass('only_dev') IS NULL").await,
        "f"
    );
    lake.stop().await;
}

#[tokio::test]
async fn a_query_can_be_cancelled_and_a_disabled_endpoint_refuses_and_sleeps() {
    let lake = Lake::start().await;
    lake.project().await;
    let token = lake.password("production").await;
    let (host, port) = lake.address("production").await;
    let script = format!(
        "PGPASSWORD='{token}' timeout --foreground -s INT 3 psql -X -c 'SELECT pg_sleep(60)' \
         'host={host} port={port} user={USER} dbname=databricks_postgres sslmode=require'"
    );
    let output = tokio::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .await
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("canceling statement due to user request"), "{err}");

    let connection =
        format!("host={host} port={port} user={USER} dbname=databricks_postgres sslmode=require");
    let open = {
        let token = token.clone();
        tokio::spawn(async move { psql(&connection, &token, "SELECT pg_sleep(60)").await })
    };
    let lake_ref = &lake;
    until("a session is open", || async move {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        lake_ref.sql("production", sql).await == "1"
    })
    .await;
    let endpoint = "projects/shop/branches/production/endpoints/primary?update_mask=spec.disabled";
    lake.ok("PATCH", endpoint, json!({"spec": {"disabled": true}}))
        .await;
    let said = lake.psql("production", &token, "", "SELECT 1").await;
    assert!(
        !said.ok && said.err.contains("the endpoint is disabled"),
        "{said:?}"
    );
    let said = open.await.unwrap();
    assert!(
        !said.ok && said.err.contains("connection to server was lost"),
        "{said:?}"
    );
    let lake_ref = &lake;
    until("its compute is suspended", || async move {
        let endpoint = "projects/shop/branches/production/endpoints/primary";
        lake_ref.ok("GET", endpoint, json!(null)).await["status"]["current_state"] == "IDLE"
    })
    .await;
    lake.ok("PATCH", endpoint, json!({"spec": {"disabled": false}}))
        .await;
    assert_eq!(lake.sql("production", "SELECT 1").await, "1");
    lake.stop().await;
}
