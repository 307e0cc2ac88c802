//! Waiting for operations.

use std::time::{Duration, Instant};

use lakebase_api::{Branch, Client, Empty, Error, Operation};
use serde_json::{Value, json};

use crate::server::{BRANCH, OPERATION, branch, done, failed, ok, running, sent, serve};

const LONG: Duration = Duration::from_secs(10);

fn started<T: serde::de::DeserializeOwned>(operation: &Value) -> Operation<T> {
    serde_json::from_value(operation.clone()).unwrap()
}

async fn wait_for_branch(client: &Client, deadline: Duration) -> Result<Branch, Error> {
    client.wait(started(&running()), deadline).await
}

#[tokio::test]
async fn a_running_operation_is_asked_for_until_it_is_done() {
    let (server, client) = serve(vec![ok(&running()), ok(&running()), ok(&done(&branch(BRANCH)))]).await;
    let begun = Instant::now();
    let branch = wait_for_branch(&client, LONG).await.unwrap();
    assert_eq!(branch.name.to_string(), BRANCH);
    assert!(
        begun.elapsed() >= Duration::from_millis(50 + 100 + 200),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        sent(&server).await,
        vec![format!("GET /api/2.0/postgres/{OPERATION}"); 3]
    );
}

#[tokio::test]
async fn a_finished_operation_is_not_asked_for() {
    let (server, client) = serve(vec![ok(&running())]).await;
    client
        .wait(started::<Branch>(&done(&branch(BRANCH))), LONG)
        .await
        .unwrap();
    assert!(sent(&server).await.is_empty());
}

#[tokio::test]
async fn the_deadline_ends_the_wait_but_says_nothing_about_the_branch() {
    let (_server, client) = serve(vec![ok(&running())]).await;
    let begun = Instant::now();
    let error = wait_for_branch(&client, Duration::from_millis(200))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Unfinished { operation, .. } if operation.as_str() == OPERATION),
        "{error:?}"
    );
    assert!(error.is_unclear() && begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn cp_14_a_forgotten_operation_is_not_a_missing_branch() {
    let (_server, client) = serve(vec![failed(404, "NOT_FOUND", "operation id not found")]).await;
    let error = wait_for_branch(&client, LONG).await.unwrap_err();
    assert!(matches!(error, Error::Unfinished { .. }), "{error:?}");
}

#[tokio::test]
async fn a_delete_may_end_with_an_empty_answer_or_none() {
    let (_server, client) = serve(vec![ok(&running())]).await;
    let typed = done(&json!({ "@type": "type.googleapis.com/google.protobuf.Empty" }));
    for answer in [typed, json!({ "name": OPERATION, "done": true })] {
        client.wait(started::<Empty>(&answer), LONG).await.unwrap();
    }
}

#[tokio::test]
async fn a_create_that_ends_without_an_answer_is_an_error() {
    let (_server, client) = serve(vec![ok(&json!({ "name": OPERATION, "done": true }))]).await;
    let error = wait_for_branch(&client, LONG).await.unwrap_err();
    assert!(matches!(error, Error::Unintelligible { .. }), "{error:?}");
}

#[tokio::test]
async fn cp_12_a_failed_operation_is_told_apart_like_a_failed_answer() {
    let failure = |code: &str, message: &str| json!({ "name": OPERATION, "done": true, "error": { "error_code": code, "message": message } });
    let (_server, client) = serve(vec![ok(&running())]).await;
    let wait = async |answer: Value| client.wait(started::<Branch>(&answer), LONG).await.unwrap_err();

    let error = wait(failure("BAD_REQUEST", "branches limit exceeded")).await;
    assert!(matches!(error, Error::QuotaExceeded { .. }), "{error:?}");
    let error = wait(failure(
        "BAD_REQUEST",
        "branch already exists; branch_name:\"dev\"",
    ))
    .await;
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    let error = wait(failure("BAD_REQUEST", "no [TraceId: abc]")).await;
    assert!(matches!(error, Error::OperationFailed { .. }), "{error:?}");
    assert_eq!(error.server().unwrap().trace_id.as_deref(), Some("abc"));
}

#[tokio::test]
async fn calls_may_move_between_threads() {
    let (_server, client) = serve(vec![ok(&json!({ "branches": [branch(BRANCH)] }))]).await;
    let calls = tokio::spawn(async move {
        client
            .wait(started::<Branch>(&done(&branch(BRANCH))), LONG)
            .await
            .unwrap();
        client
            .list_branches(&"projects/shop".parse().unwrap())
            .await
            .unwrap()
            .len()
    });
    assert_eq!(calls.await.unwrap(), 1);
}
