//! What the service says when it says no, and what the client does with it.

use lakebase_api::{BranchSpec, Client, Error};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::server::{BRANCH, ENDPOINT, TOKEN, failed, sent, serve};

async fn fetch(answer: ResponseTemplate) -> Error {
    let (_server, client) = serve(vec![answer]).await;
    client.branch(&BRANCH.parse().unwrap()).await.unwrap_err()
}

async fn create(client: &Client, id: &str, spec: &BranchSpec) -> Error {
    client
        .create_branch(&"projects/shop".parse().unwrap(), id, spec)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_missing_branch_is_the_services_own_word() {
    let error = fetch(failed(404, "NOT_FOUND", "branch id not found [TraceId: 7f-1]")).await;
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("cannot get branch `{BRANCH}`"));
    let server = error.server().unwrap();
    assert_eq!((server.status, server.code.as_deref()), (404, Some("NOT_FOUND")));
    assert_eq!(server.trace_id.as_deref(), Some("7f-1"));
    assert_eq!(
        server.to_string(),
        "branch id not found [TraceId: 7f-1] (HTTP 404, NOT_FOUND)"
    );
}

#[tokio::test]
async fn another_404_is_not_a_missing_branch() {
    let page = ResponseTemplate::new(404).set_body_string("<html><body>nginx</body></html>");
    let unknown = failed(
        404,
        "ENDPOINT_NOT_FOUND",
        "No API found for 'GET /postgres/projects'",
    );
    for answer in [page, unknown, ResponseTemplate::new(404)] {
        let error = fetch(answer).await;
        assert!(!matches!(error, Error::NotFound { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn both_ways_of_saying_that_a_name_is_taken() {
    let live = failed(
        400,
        "BAD_REQUEST",
        "branch already exists; branch_name:\"dev\" [TraceId: x]",
    );
    let documented = failed(409, "ALREADY_EXISTS", "branch with such id already exists");
    for answer in [live, documented] {
        let (_server, client) = serve(vec![answer]).await;
        let error = create(&client, "dev", &BranchSpec::default()).await;
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn cp_05_a_web_page_with_status_200_is_unintelligible() {
    let error =
        fetch(ResponseTemplate::new(200).set_body_string("<!doctype html><title>Sign in</title>")).await;
    assert!(matches!(error, Error::Unintelligible { .. }), "{error:?}");
    assert!(error.to_string().contains("a web page answered"), "{error}");
}

#[tokio::test]
async fn a_strange_credential_is_not_quoted() {
    let answer = json!({ "token": { "hidden": "eyJ-secret" }, "expire_time": "eyJ-secret" });
    let (_server, client) = serve(vec![ResponseTemplate::new(200).set_body_json(answer)]).await;
    let error = client
        .generate_credential(&ENDPOINT.parse().unwrap(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unintelligible { .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("eyJ-secret"), "{error:?}");
}

#[tokio::test]
async fn a_minted_password_is_not_shown() {
    let answer = json!({ "token": "eyJ-secret", "expire_time": "2026-08-01T11:00:00Z" });
    let (_server, client) = serve(vec![ResponseTemplate::new(200).set_body_json(answer)]).await;
    let credential = client
        .generate_credential(&ENDPOINT.parse().unwrap(), None)
        .await
        .unwrap();
    assert!(!format!("{credential:?}").contains("eyJ-secret"));
}

#[tokio::test]
async fn a_request_that_cannot_be_right_is_not_sent() {
    let (server, client) = serve(vec![failed(400, "BAD_REQUEST", "no")]).await;
    let from_uid = BranchSpec {
        source_branch: Some("projects/shop/branches/br-quiet-moon-d2x8y1zz".parse().unwrap()),
        ..BranchSpec::default()
    };
    let errors = [
        create(&client, "Dev", &BranchSpec::default()).await,
        create(&client, "", &BranchSpec::default()).await,
        create(&client, "a/../b", &BranchSpec::default()).await,
        create(&client, "br-quiet-moon-d2x8y1zz", &BranchSpec::default()).await,
        create(&client, "dev", &from_uid).await,
    ];
    for error in errors {
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(!error.is_transient());
    }
    assert!(sent(&server).await.is_empty());
}

#[tokio::test]
async fn nothing_shows_the_token() {
    let (_server, client) = serve(vec![failed(401, "UNAUTHENTICATED", "bad token")]).await;
    let error = client.branch(&BRANCH.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
    assert!(!format!("{client:?} {error:?}").contains(TOKEN));
}
