//! What becomes of connections: those whose request was given up, and those that nobody wants any more.

use crate::postgres::Postgres;
use crate::store::{Store, environment, eventually};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// As many as the pool has.
const CONNECTIONS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_given_up_hold_up_nobody_and_leave_nobody_their_answer() {
    let postgres = Postgres::with_shop().await;
    let store = Arc::new(Store::ready(environment(&postgres.url("shop"))).await);
    let mut admin = postgres.admin("shop").await;
    sqlx::raw_sql("BEGIN; LOCK TABLE products")
        .execute(&mut admin)
        .await
        .expect("locked");
    let mut requests = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let store = Arc::clone(&store);
        requests.spawn(async move { store.ok("/api/products/1").await });
    }
    let waiting = i64::try_from(CONNECTIONS).expect("few");
    eventually("every connection waits", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE application_name = 'store-app' AND wait_event_type = 'Lock'";
        postgres.count("shop", sql).await == waiting
    })
    .await;
    requests.shutdown().await;
    // Another table, which is not locked, over connections that still wait for the one that is.
    let category = store.ok("/api/categories/2").await;
    assert_eq!(category["name"], "Vintage Data");
    sqlx::raw_sql("COMMIT")
        .execute(&mut admin)
        .await
        .expect("unlocked");
    for (id, name) in [
        (2, "Enterprise Parquet File"),
        (3, "Organic CSV Dataset"),
        (1, "Premium JSON Blob"),
    ] {
        assert_eq!(store.ok(&format!("/api/products/{id}")).await["name"], name);
    }
    let store = Arc::into_inner(store).expect("nobody else holds it");
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_grow_old_are_ended_although_nobody_asks_for_anything() {
    let postgres = Postgres::with_shop().await;
    let source = environment(&postgres.url("shop"));
    let store = Store::start_with(source, Duration::from_secs(1)).await;
    store.wait_for_status("/api/health/ready", 200).await;
    store.ok("/api/products/1").await;
    eventually("nothing keeps the database awake", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'store-app'";
        postgres.count("shop", sql).await == 0
    })
    .await;
    store.ok("/api/products/1").await;
    store.end().await.expect("ends well");
}
