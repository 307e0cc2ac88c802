//! The recording server, and short ways to say what it answers.

use std::time::Duration;

use lakebase_api::{Client, Limits, TokenSource, Workspace};
use secrecy::SecretString;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

pub(crate) const TOKEN: &str = "dapi-local";
pub(crate) const POSTGRES: &str = "/api/2.0/postgres";
pub(crate) const BRANCH: &str = "projects/shop/branches/dev";
pub(crate) const ENDPOINT: &str = "projects/shop/branches/dev/endpoints/primary";
pub(crate) const OPERATION: &str = "projects/shop/branches/dev/operations/op-9";

/// Limits that let a test see a retry without waiting for it.
pub(crate) fn quick() -> Limits {
    Limits {
        deadline: Duration::from_secs(5),
        connect: Duration::from_secs(1),
        answer_bytes: 64 * 1024,
        retries: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_secs(2),
    }
}

pub(crate) fn client_at(host: &str, limits: Limits) -> Client {
    let workspace = Workspace::with_token(
        host.parse().unwrap(),
        SecretString::from(TOKEN.to_owned()),
        TokenSource::Given("a test".to_owned()),
    );
    Client::with_limits(workspace, limits).unwrap()
}

/// Starts a server that gives these answers in turn, the last one for ever.
pub(crate) async fn serve(answers: Vec<ResponseTemplate>) -> (MockServer, Client) {
    let server = MockServer::start().await;
    let last = answers.len() - 1;
    for (turn, answer) in answers.into_iter().enumerate() {
        let mock = Mock::given(any()).respond_with(answer);
        let mock = if turn < last { mock.up_to_n_times(1) } else { mock };
        mock.with_priority(u8::try_from(turn + 1).unwrap())
            .mount(&server)
            .await;
    }
    let client = client_at(&server.uri(), quick());
    (server, client)
}

pub(crate) fn ok(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

pub(crate) fn failed(status: u16, code: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({ "error_code": code, "message": message }))
}

/// Returns what the server was sent, as `METHOD path?query body`, with the body byte for byte.
pub(crate) async fn sent(server: &MockServer) -> Vec<String> {
    server
        .received_requests()
        .await
        .unwrap()
        .iter()
        .map(line)
        .collect()
}

fn line(request: &Request) -> String {
    let query = request
        .url
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let body = String::from_utf8(request.body.clone()).unwrap();
    format!("{} {}{query} {body}", request.method, request.url.path())
        .trim_end()
        .to_owned()
}

pub(crate) fn branch(name: &str) -> Value {
    json!({ "name": name, "parent": "projects/shop", "uid": "br-quiet-moon-d2x8y1zz",
        "create_time": "2026-08-01T10:00:00Z",
        "status": { "current_state": "READY", "default": false, "is_protected": false } })
}

pub(crate) fn running() -> Value {
    json!({ "name": OPERATION, "metadata": {} })
}

pub(crate) fn done(response: &Value) -> Value {
    json!({ "name": OPERATION, "done": true, "response": response })
}
