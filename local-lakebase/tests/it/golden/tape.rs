//! A server that writes down every exchange: it plays the answers of a recording, or passes requests on to a real server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;

use super::recording::Exchange;
use crate::http::send_as;

enum Source {
    Recorded(Mutex<VecDeque<Exchange>>),
    Server(String),
}

struct Shared {
    url: String,
    source: Source,
    seen: Mutex<Vec<Exchange>>,
}

pub(crate) struct Tape {
    pub(crate) url: String,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

impl Tape {
    pub(crate) async fn playing(exchanges: &[Exchange]) -> Self {
        Self::start(Source::Recorded(Mutex::new(exchanges.to_vec().into()))).await
    }

    pub(crate) async fn before(server: &str) -> Self {
        Self::start(Source::Server(server.to_owned())).await
    }

    async fn start(source: Source) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            url: url.clone(),
            source,
            seen: Mutex::default(),
        });
        let router = Router::new().fallback(exchange).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, serving }
    }

    /// Returns what was exchanged since the last time.
    pub(crate) fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn exchange(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| Some(parts.headers.get(name)?.to_str().unwrap().to_owned());
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let mut asked = Exchange {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        accept: header("accept"),
        content_type: header("content-type"),
        authorization: header("authorization"),
        status: 0,
        headers: BTreeMap::new(),
        answer: Value::Null,
    };
    match &shared.source {
        Source::Recorded(answers) => {
            let next = answers.lock().unwrap().pop_front();
            // A request too many is found when all of them are compared.
            let next = next.map_or((599, BTreeMap::new(), Value::Null), |next| {
                (next.status, next.headers, next.answer)
            });
            (asked.status, asked.headers, asked.answer) = next;
        }
        Source::Server(url) => {
            let path = parts.uri.to_string();
            let auth = asked.authorization.as_deref();
            let answer = send_as(url, &asked.method, &path, auth, &asked.body).await;
            (asked.status, asked.answer) = (answer.status, answer.body);
        }
    }
    let text = match &asked.answer {
        Value::String(text) => text.clone(),
        json => json.to_string().replace("{host}", &shared.url),
    };
    let mut answer = Response::builder().status(asked.status);
    for (name, value) in &asked.headers {
        answer = answer.header(name, value);
    }
    // The token itself is nobody's concern; that of a client's id and secret is.
    let is_bearer = asked
        .authorization
        .as_ref()
        .is_some_and(|auth| auth.starts_with("Bearer "));
    if is_bearer {
        asked.authorization = Some("Bearer".to_owned());
    }
    shared.seen.lock().unwrap().push(asked);
    answer.body(Body::from(text)).unwrap()
}
