//! A control plane in memory that answers at once, counts what it is asked, and notes when. Stands in for the service where
//! only the daemon is measured.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    branches: BTreeMap<String, Value>,
    requests: usize,
    lists: usize,
    /// When each branch was asked for.
    asked: BTreeMap<String, Instant>,
}

/// What was asked so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) requests: usize,
    pub(crate) lists: usize,
}

impl Service {
    /// Serves on a port of this machine; returns the address.
    pub(crate) async fn start() -> anyhow::Result<(Self, String)> {
        let service = Self::default();
        service.put("production", &Value::Null, None);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((service, url))
    }

    pub(crate) fn asked(&self) -> Asked {
        let inner = self.inner();
        Asked {
            requests: inner.requests,
            lists: inner.lists,
        }
    }

    /// When a branch whose name ends so was asked for.
    pub(crate) fn asked_for(&self, ending: &str) -> Option<Instant> {
        let inner = self.inner();
        let found = inner.asked.iter().find(|(id, _)| id.ends_with(ending));
        found.map(|(_, at)| *at)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, id: &str, source: &Value, expire_time: Option<Value>) -> Value {
        let mut branch = json!({
            "name": format!("projects/shop/branches/{id}"),
            "uid": format!("br-{id}"),
            "create_time": now(),
            "status": {
                "branch_id": id, "current_state": "READY", "default": source.is_null(),
                "is_protected": false, "logical_size_bytes": 30_000_000,
            },
        });
        if !source.is_null() {
            branch["status"]["source_branch"] = source.clone();
        }
        if let Some(expire_time) = expire_time {
            branch["status"]["expire_time"] = expire_time;
        }
        self.inner().branches.insert(id.to_owned(), branch.clone());
        branch
    }
}

fn now() -> String {
    in_seconds(0)
}

fn in_an_hour() -> String {
    in_seconds(3600)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a service has a clock of its own, and nobody sets this one"
)]
fn in_seconds(seconds: i64) -> String {
    (chrono::Utc::now() + chrono::TimeDelta::seconds(seconds)).to_rfc3339()
}

fn done(response: &Value) -> Response {
    let name = "projects/shop/branches/production/operations/op-1";
    Json(json!({"name": name, "done": true, "response": response})).into_response()
}

fn endpoint(branch: &str) -> Value {
    json!({
        "name": format!("projects/shop/branches/{branch}/endpoints/primary"),
        "status": {
            "endpoint_type": "ENDPOINT_TYPE_READ_WRITE", "current_state": "ACTIVE", "disabled": false,
            "suspend_timeout_duration": "300s", "hosts": {"host": format!("{branch}.example.com")},
        },
    })
}

async fn answer(State(service): State<Service>, method: Method, uri: Uri, body: String) -> Response {
    service.inner().requests += 1;
    let path = uri.path().trim_start_matches("/api/2.0/").to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["preview", "scim", "v2", "Me"]) => {
            Json(json!({"id": "1", "userName": "jane@example.com", "active": true})).into_response()
        }
        ("GET", ["postgres", "projects", _]) => {
            Json(json!({"name": "projects/shop", "uid": "p1", "status": {}})).into_response()
        }
        ("GET", ["postgres", "projects", _, "branches"]) => {
            let mut inner = service.inner();
            inner.lists += 1;
            let branches: Vec<&Value> = inner.branches.values().collect();
            Json(json!({"branches": branches})).into_response()
        }
        ("POST", ["postgres", "projects", _, "branches"]) => {
            let query = uri.query().unwrap_or_default();
            let id = query.strip_prefix("branch_id=").unwrap_or_default();
            service.inner().asked.insert(id.to_owned(), Instant::now());
            let expires = body["spec"]["ttl"].is_string().then(|| json!(in_an_hour()));
            done(&service.put(id, &body["spec"]["source_branch"], expires))
        }
        ("PATCH", ["postgres", "projects", _, "branches", id]) => {
            let source = service.inner().branches[*id]["status"]["source_branch"].clone();
            let expires = body["spec"].get("expire_time").cloned();
            done(&service.put(id, &source, expires))
        }
        ("GET", ["postgres", "projects", _, "branches", id]) => match service.inner().branches.get(*id) {
            Some(branch) => Json(branch.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        ("DELETE", ["postgres", "projects", _, "branches", id]) => {
            service.inner().branches.remove(*id);
            done(&json!({}))
        }
        ("GET", ["postgres", "projects", _, "branches", id, "endpoints"]) => {
            Json(json!({"endpoints": [endpoint(id)]})).into_response()
        }
        ("PATCH", ["postgres", "projects", _, "branches", id, "endpoints", _]) => done(&endpoint(id)),
        ("POST", ["postgres", "credentials"]) => {
            Json(json!({"token": "t".repeat(900), "expire_time": in_an_hour()})).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
