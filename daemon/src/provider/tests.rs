//! Beliefs about operations that fail or never end.

use super::*;
use lakebase_api::{Limits, TokenSource, Workspace};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const OPERATION: &str = "projects/shop/branches/jane-x/operations/op-1";

/// A service that makes branches as slowly as it is told.
#[derive(Clone)]
struct Service {
    /// What it says about the operation; `None`: it has forgotten it.
    operation: Arc<Mutex<Option<Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Respond for Service {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let line = format!("{} {}", request.method, request.url.path());
        let line = line.replace("/api/2.0/postgres/projects/shop/branches", "");
        self.asked.lock().expect("no panic").push(line.clone());
        let missing = || {
            let body = json!({ "error_code": "NOT_FOUND", "message": "not found" });
            ResponseTemplate::new(404).set_body_json(body)
        };
        let operation = self.operation.lock().expect("no panic").clone();
        match (line.trim_end(), operation) {
            ("GET", _) => ResponseTemplate::new(200).set_body_json(json!({ "branches": [] })),
            ("POST", _) => ResponseTemplate::new(200).set_body_json(json!({ "name": OPERATION })),
            ("GET /jane-x/operations/op-1", Some(operation)) => {
                ResponseTemplate::new(200).set_body_json(operation)
            }
            _ => missing(),
        }
    }
}

async fn bench() -> (Service, Provider, MockServer) {
    let service = Service {
        operation: Arc::new(Mutex::new(Some(json!({ "name": OPERATION })))),
        asked: Arc::default(),
    };
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(service.clone())
        .mount(&server)
        .await;
    let workspace = Workspace::with_token(
        server.uri().parse().expect("an origin"),
        "dapi".to_owned().into(),
        TokenSource::Environment,
    );
    let provider = Provider {
        client: Client::with_limits(workspace, Limits::default()).expect("a client"),
        project: ProjectName::new("shop").expect("a name"),
        origin: server.uri(),
        user_name: "jane@example.com".into(),
        ca_file: None,
        begun: Begun::default(),
    };
    (service, provider, server)
}

impl Service {
    fn says(&self, operation: Option<Value>) {
        *self.operation.lock().expect("no panic") = operation;
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }
}

fn id() -> BranchId {
    BranchId::new("jane-x")
}

async fn create(provider: &Provider) -> Result<Option<RemoteBranch>, ProviderError> {
    let ttl = Some(TimeDelta::hours(6));
    provider.create(&id(), &BranchId::new("production"), ttl).await
}

/// Lets time pass between requests; while one is open the clock must not stand still.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn cp_13_an_operation_that_never_ends_is_parked_after_ten_minutes() {
    let (service, provider, _server) = bench().await;
    assert_eq!(create(&provider).await.expect("begun"), None);
    for _ in 0..3 {
        let observed = provider.observe().await.expect("looked");
        assert_eq!(observed.branches.get(&id()), Some(&being_made(&id())));
        later(Duration::from_mins(3)).await;
    }
    later(Duration::from_mins(2)).await;
    service.asked();
    for _ in 0..3 {
        let observed = provider.observe().await.expect("looked");
        assert!(observed.branches.is_empty(), "nobody waits for it any more");
    }
    assert_eq!(service.asked(), ["GET ", "GET ", "GET "], "it is not asked for");
    let error = create(&provider).await.expect_err("it still runs");
    assert!(matches!(error, ProviderError::Endless { .. }), "{error:?}");
    assert_eq!(
        service.asked(),
        ["GET /jane-x/operations/op-1"],
        "no second one is begun"
    );

    service.says(Some(json!({ "name": OPERATION, "done": true, "response": { "name": "projects/shop/branches/jane-x", "uid": "br-1" } })));
    let made = create(&provider)
        .await
        .expect("looked")
        .expect("it is done after all");
    assert_eq!(made.uid, Some(BranchUid::new("br-1")));
}

#[tokio::test]
async fn cp_12_a_failed_operation_is_told_once_and_then_tried_again() {
    let (service, provider, _server) = bench().await;
    create(&provider).await.expect("begun");
    let error = json!({ "error_code": "BAD_REQUEST", "message": "branches limit exceeded" });
    service.says(Some(json!({ "name": OPERATION, "done": true, "error": error })));
    assert!(provider.observe().await.expect("looked").branches.is_empty());
    assert!(
        service.asked().contains(&"GET /jane-x".to_owned()),
        "it may be there in part"
    );
    let error = create(&provider).await.expect_err("it failed");
    assert!(
        matches!(error, ProviderError::Service(Error::QuotaExceeded { .. })),
        "{error:?}"
    );
    assert!(service.asked().is_empty());
    create(&provider).await.expect("begun anew");
    assert_eq!(service.asked(), ["POST "]);
}

#[tokio::test]
async fn cp_14_a_forgotten_operation_leaves_the_branch_to_be_looked_at() {
    let (service, provider, _server) = bench().await;
    create(&provider).await.expect("begun");
    service.says(None);
    service.asked();
    assert!(provider.observe().await.expect("looked").branches.is_empty());
    assert_eq!(
        service.asked(),
        ["GET ", "GET /jane-x/operations/op-1", "GET /jane-x"]
    );
    create(&provider).await.expect("begun anew");
}
