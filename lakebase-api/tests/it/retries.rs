//! What is sent again, how soon, and what never is.

use std::time::{Duration, Instant};

use lakebase_api::{BranchSpec, Client, Error, Limits};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use wiremock::ResponseTemplate;

use crate::server::{BRANCH, ENDPOINT, branch, client_at, failed, ok, quick, running, sent, serve};

async fn create(client: &Client) -> Result<(), Error> {
    let spec = BranchSpec {
        no_expiry: Some(true),
        ..BranchSpec::default()
    };
    client
        .create_branch(&"projects/shop".parse().unwrap(), "dev", &spec)
        .await
        .map(drop)
}

async fn fetch(client: &Client) -> Result<(), Error> {
    client.branch(&BRANCH.parse().unwrap()).await.map(drop)
}

fn throttled(seconds: &str) -> ResponseTemplate {
    failed(429, "RESOURCE_EXHAUSTED", "Too many requests").insert_header("retry-after", seconds)
}

#[tokio::test]
async fn cp_01_a_throttled_request_waits_as_long_as_it_was_told() {
    let (server, client) = serve(vec![throttled("1"), ok(&branch(BRANCH))]).await;
    let started = Instant::now();
    fetch(&client).await.unwrap();
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(sent(&server).await.len(), 2);
}

#[tokio::test]
async fn cp_01_a_very_long_wait_is_left_to_the_caller() {
    let (server, client) = serve(vec![throttled("3600")]).await;
    let error = fetch(&client).await.unwrap_err();
    assert!(
        matches!(error, Error::Throttled { retry_after: Some(after), .. } if after.as_secs() == 3600),
        "{error:?}"
    );
    assert!(error.is_transient());
    assert_eq!(sent(&server).await.len(), 1);
}

#[tokio::test]
async fn cp_03_harmless_requests_are_repeated_on_every_passing_trouble() {
    for status in [429, 500, 502, 503, 504] {
        let (server, client) = serve(vec![failed(status, "", "try later"), ok(&branch(BRANCH))]).await;
        fetch(&client).await.unwrap();
        assert_eq!(sent(&server).await.len(), 2, "{status}");
    }
    let (server, client) = serve(vec![failed(500, "INTERNAL_ERROR", "try later"), ok(&running())]).await;
    client.delete_branch(&BRANCH.parse().unwrap()).await.unwrap();
    assert_eq!(sent(&server).await.len(), 2, "a delete");
    let credential = json!({ "token": "eyJ", "expire_time": "2026-08-01T11:00:00Z" });
    let (server, client) = serve(vec![failed(502, "", "try later"), ok(&credential)]).await;
    client
        .generate_credential(&ENDPOINT.parse().unwrap(), None)
        .await
        .unwrap();
    assert_eq!(sent(&server).await.len(), 2, "a credential");
}

#[tokio::test]
async fn a_create_is_repeated_only_when_the_service_had_not_begun() {
    for status in [429, 503] {
        let (server, client) = serve(vec![failed(status, "", "try later"), ok(&running())]).await;
        create(&client).await.unwrap();
        assert_eq!(sent(&server).await.len(), 2, "{status}");
    }
    for status in [500, 502, 504] {
        let (server, client) = serve(vec![failed(status, "", "try later"), ok(&running())]).await;
        let error = create(&client).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(error.is_unclear(), "the branch may exist now");
        assert_eq!(sent(&server).await.len(), 1, "{status}");
    }
}

#[tokio::test]
async fn an_update_is_not_repeated_after_500() {
    let (server, client) = serve(vec![failed(500, "INTERNAL_ERROR", "try later"), ok(&running())]).await;
    client.set_no_expiry(&BRANCH.parse().unwrap()).await.unwrap_err();
    assert_eq!(sent(&server).await.len(), 1);
}

#[tokio::test]
async fn refusals_are_not_repeated() {
    for (status, code) in [
        (400, "BAD_REQUEST"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (409, "ABORTED"),
    ] {
        let (server, client) = serve(vec![failed(status, code, "no")]).await;
        fetch(&client).await.unwrap_err();
        assert_eq!(sent(&server).await.len(), 1, "{status}");
    }
}

#[tokio::test]
async fn trying_again_ends() {
    let (server, client) = serve(vec![failed(503, "TEMPORARILY_UNAVAILABLE", "down")]).await;
    let error = fetch(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(sent(&server).await.len(), 1 + quick().retries);
}

#[tokio::test]
async fn cp_05_a_closed_port_means_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = create(&client_at(&format!("http://{address}"), quick()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Offline { sent: false, .. }), "{error:?}");
    assert!(error.is_transient() && !error.is_unclear());
}

#[tokio::test]
async fn cp_10_a_create_is_not_repeated_when_the_connection_breaks_after_sending() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut accepted = 0;
    let break_every_connection = async {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            accepted += 1;
            assert!(
                socket.read(&mut [0; 4096]).await.unwrap() > 0,
                "the request is received, and then nothing"
            );
        }
    };
    let client = client_at(&format!("http://{address}"), quick());
    let error = tokio::select! {
        result = create(&client) => result.unwrap_err(),
        () = break_every_connection => unreachable!("it has no end"),
    };
    assert!(matches!(error, Error::Offline { sent: true, .. }), "{error:?}");
    assert!(error.is_unclear());
    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn cp_07_a_silent_server_costs_no_more_than_the_deadline() {
    let slow = ok(&branch(BRANCH)).set_delay(Duration::from_secs(20));
    let (server, _) = serve(vec![slow]).await;
    let limits = Limits {
        deadline: Duration::from_millis(300),
        ..quick()
    };
    let started = Instant::now();
    let error = fetch(&client_at(&server.uri(), limits)).await.unwrap_err();
    assert!(matches!(error, Error::Offline { sent: true, .. }), "{error:?}");
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}
