//! What becomes of connections: those whose request was given up, and those that nobody wants any more.

use crate::postgres::Postgres;
use crate::store::{Store, environment, eventually};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_given_up_hold_up_nobody_and_leave_nobody_their_answer() {
    let postgres = Postgres::with_shop().await;
    let store = Arc::new(Store::ready(environment(&postgres.url("shop"))).await);
    let mut lock = postgres.lock_products().await;
    // As many as the pool has connections.
    let mut requests = store.ask(8);
    eventually("every connection is busy", async || postgres.blocked().await == 8).await;
    requests.shutdown().await;
    // Another table, which is not locked, over connections that still wait for the one that is.
    let category = store.ok("/api/categories/2").await;
    assert_eq!(category["name"], "Vintage Data");
    sqlx::raw_sql("COMMIT")
        .execute(&mut lock)
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
        postgres.connections().await == 0
    })
    .await;
    store.ok("/api/products/1").await;
    store.end().await.expect("ends well");
}
