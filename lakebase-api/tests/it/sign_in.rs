//! A service principal: how it signs in, how often, and what happens when it cannot.

use std::time::Duration;

use lakebase_api::{Client, Error, Limits, ServicePrincipal};
use serde_json::json;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::server::{ok, quick, sent};

const DISCOVERY: &str = "GET /oidc/.well-known/oauth-authorization-server";
const TOKEN: &str = "POST /oidc/v1/token grant_type=client_credentials&scope=all-apis";
const ME: &str = "GET /api/2.0/preview/scim/v2/Me";

/// A workspace whose tokens live so long.
async fn workspace(seconds: u64) -> (MockServer, Client) {
    let server = MockServer::start().await;
    let endpoint = json!({"token_endpoint": format!("{}/oidc/v1/token", server.uri())});
    Mock::given(path("/oidc/.well-known/oauth-authorization-server"))
        .respond_with(ok(&endpoint))
        .mount(&server)
        .await;
    let principal = ServicePrincipal {
        origin: server.uri().parse().unwrap(),
        client_id: "app-id".to_owned(),
        client_secret: "sec".into(),
    };
    let limits = Limits {
        retries: 0,
        ..quick()
    };
    let client = Client::of_service_principal(principal, limits).unwrap();
    give(&server, "token-1", seconds).await;
    me(&server, "token-1").await;
    (server, client)
}

/// Gives this token, once, to whoever knows the secret.
async fn give(server: &MockServer, token: &str, seconds: u64) {
    let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": seconds});
    Mock::given(method("POST"))
        .and(path("/oidc/v1/token"))
        .and(header("authorization", "Basic YXBwLWlkOnNlYw=="))
        .and(header("content-type", "application/x-www-form-urlencoded"))
        .respond_with(ok(&answer))
        .up_to_n_times(1)
        .mount(server)
        .await;
}

async fn me(server: &MockServer, token: &str) {
    Mock::given(path("/api/2.0/preview/scim/v2/Me"))
        .and(header("authorization", format!("Bearer {token}")))
        .respond_with(ok(&json!({"userName": token})))
        .mount(server)
        .await;
}

#[tokio::test]
async fn many_at_once_sign_in_once() {
    let (server, client) = workspace(3600).await;
    let (one, two, three) = tokio::join!(client.me(), client.me(), client.me());
    for user in [one, two, three] {
        assert_eq!(user.unwrap().user_name, "token-1");
    }
    assert_eq!(sent(&server).await, [DISCOVERY, TOKEN, ME, ME, ME]);
}

#[tokio::test]
async fn a_stale_token_is_used_to_its_end_while_there_is_no_other() {
    let (server, client) = workspace(4).await;
    client.me().await.unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(
        client.me().await.unwrap().user_name,
        "token-1",
        "stale, and still good"
    );
    tokio::time::sleep(Duration::from_millis(2000)).await;
    let error = client.me().await.unwrap_err();
    assert!(error.to_string().starts_with("cannot sign in to "), "{error:?}");
    give(&server, "token-2", 3600).await;
    me(&server, "token-2").await;
    assert_eq!(client.me().await.unwrap().user_name, "token-2");
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_used_again() {
    let (server, client) = workspace(3600).await;
    client.me().await.unwrap();
    server.reset().await;
    let refused =
        ResponseTemplate::new(401).set_body_json(json!({"error_code": "UNAUTHENTICATED", "message": "no"}));
    Mock::given(path("/api/2.0/preview/scim/v2/Me"))
        .respond_with(refused)
        .mount(&server)
        .await;
    let error = client.me().await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
    client.me().await.unwrap_err();
    assert_eq!(sent(&server).await, [ME, DISCOVERY], "signs in anew");
}

#[tokio::test]
async fn a_wrong_secret_is_said_without_saying_it() {
    let server = MockServer::start().await;
    let endpoint = json!({"token_endpoint": format!("{}/oidc/v1/token", server.uri())});
    Mock::given(method("GET"))
        .respond_with(ok(&endpoint))
        .mount(&server)
        .await;
    let answer = ResponseTemplate::new(401).set_body_json(json!({"error": "invalid_client"}));
    Mock::given(method("POST"))
        .respond_with(answer)
        .mount(&server)
        .await;
    let principal = ServicePrincipal {
        origin: server.uri().parse().unwrap(),
        client_id: "app-id".to_owned(),
        client_secret: "hunter2".into(),
    };
    let client = Client::of_service_principal(principal, quick()).unwrap();
    let error = client.me().await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
    assert!(!format!("{error:?}{client:?}").contains("hunter2"));
    assert!(
        sent(&server).await.iter().all(|request| request != ME),
        "nothing is asked without a token"
    );
}
