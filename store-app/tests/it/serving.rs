//! What every answer has, whatever it is about: an id, a size, and an end that waits for it.

use crate::postgres::Postgres;
use crate::store::{Store, environment, eventually};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_an_id_of_its_own_or_that_of_the_caller() {
    let postgres = Postgres::with_shop().await;
    let store = Store::ready(environment(&postgres.url("shop"))).await;
    let id = |response: &reqwest::Response| response.headers()["x-request-id"].clone();
    let mut seen = vec![];
    for path in [
        "/api/products",
        "/api/products",
        "/api/health/live",
        "/api/products/99",
        "/plain",
    ] {
        seen.push(id(&store.fetch(path).await.0));
    }
    let different: HashSet<_> = seen.iter().collect();
    assert_eq!(different.len(), 5, "{seen:?}");
    let given = reqwest::Client::new()
        .get(format!("{}/api/products/1", store.url))
        .header("x-request-id", "mine");
    assert_eq!(id(&given.send().await.expect("an answer")), "mine");
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_compressed_for_whoever_asks() {
    let postgres = Postgres::with_shop().await;
    let store = Store::ready(environment(&postgres.url("shop"))).await;
    let ask = async |encoding: &str| {
        let request = reqwest::Client::new().get(format!("{}/api/products", store.url));
        let response = request.header("accept-encoding", encoding).send().await;
        let response = response.expect("an answer");
        let headers = response.headers().clone();
        (headers, response.bytes().await.expect("a body"))
    };
    let (headers, plain) = ask("identity").await;
    assert!(!headers.contains_key("content-encoding"));
    assert!(plain.starts_with(b"["));
    let (headers, gzipped) = ask("br, gzip").await;
    assert_eq!(headers["content-encoding"], "gzip");
    // Whoever keeps answers must not give this one to others.
    assert_eq!(headers["vary"], "accept-encoding");
    assert!(gzipped.starts_with(&[0x1f, 0x8b]));
    assert!(
        gzipped.len() < plain.len() / 2,
        "{} {}",
        gzipped.len(),
        plain.len()
    );
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_are_answered_before_the_end() {
    let postgres = Postgres::with_shop().await;
    let store = Arc::new(Store::ready(environment(&postgres.url("shop"))).await);
    let mut lock = postgres.lock_products().await;
    let mut requests = store.ask(3);
    eventually("all are under way", async || postgres.blocked().await == 3).await;
    store.tell_to_end();
    let address = store.url.trim_start_matches("http://").to_owned();
    eventually("nobody else is let in", async || {
        tokio::net::TcpStream::connect(&address).await.is_err()
    })
    .await;
    assert!(requests.try_join_next().is_none());
    sqlx::raw_sql("COMMIT")
        .execute(&mut lock)
        .await
        .expect("unlocked");
    for product in requests.join_all().await {
        assert_eq!(product["name"], "Premium JSON Blob");
    }
    let store = Arc::into_inner(store).expect("nobody else holds it");
    store.end().await.expect("ends well");
}

/// The store's limit on headers, and a reserve for a busy machine.
const HEADERS: Duration = Duration::from_secs(10 + 20);

#[tokio::test(flavor = "multi_thread")]
async fn ld_09_clients_that_never_finish_a_request_are_disconnected() {
    let postgres = Postgres::with_shop().await;
    let store = Store::ready(environment(&postgres.url("shop"))).await;
    let address = store.url.trim_start_matches("http://");
    for (unfinished, answer) in [
        ("", ""),
        ("GET /api/products HTTP/1.1\r\nHost: ", ""),
        (
            "GET /api/products/1 HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nx",
            "HTTP/1.1 200 ",
        ),
        (
            "POST /api/products HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nx",
            "HTTP/1.1 405 ",
        ),
        (
            "POST /nothing HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
            "HTTP/1.1 404 ",
        ),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(unfinished.as_bytes()).await.expect("sent");
        let mut said = String::new();
        let ended = timeout(HEADERS, stream.read_to_string(&mut said)).await;
        drop(ended.unwrap_or_else(|_| panic!("`{unfinished}` is still served")));
        assert!(said.starts_with(answer), "{unfinished}: {said}");
    }
    store.end().await.expect("ends well");
}
