//! The store of one test, served on a free port.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use store_app::RunError;
use store_app::config::{Environment, Serve, Source};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Store {
    pub(crate) url: String,
    client: reqwest::Client,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

/// A database named by the environment; no daemon is asked.
pub(crate) fn environment(url: &str) -> Source {
    Source {
        socket: Ok(PathBuf::from("/nonexistent/lakebased.sock")),
        worktree: PathBuf::from("/nonexistent/worktree"),
        daemon_wait: Duration::ZERO,
        oauth: None,
        environment: Environment {
            database_url: Some(url.into()),
            ..Default::default()
        },
    }
}

/// A daemon at `socket`, and nothing in the environment.
pub(crate) fn daemon(socket: &Path) -> Source {
    Source {
        socket: Ok(socket.to_owned()),
        daemon_wait: DEADLINE,
        environment: Environment::default(),
        ..environment("")
    }
}

impl Store {
    /// Serves, and waits until it is ready.
    pub(crate) async fn ready(source: Source) -> Self {
        let store = Self::start(source).await;
        store.wait_for_status("/api/health/ready", 200).await;
        store
    }

    /// Serves, and waits until it listens.
    pub(crate) async fn start(source: Source) -> Self {
        Self::start_with(source, Duration::from_mins(30)).await
    }

    /// The same, with connections that are used for no longer than `connection_life`.
    pub(crate) async fn start_with(source: Source, connection_life: Duration) -> Self {
        let (announce, announced) = oneshot::channel();
        let stop = CancellationToken::new();
        let config = Serve {
            addr: "127.0.0.1:0".parse().expect("an address"),
            connection_life,
            people: None,
            source,
        };
        let announce = move |addr| announce.send(addr).expect("the test waits");
        let task = tokio::spawn(store_app::serve(config, announce, stop.clone()));
        let addr = announced.await.expect("the store listens");
        Self {
            url: format!("http://{addr}"),
            client: reqwest::Client::new(),
            stop,
            task,
        }
    }

    /// Returns the answer and its text.
    pub(crate) async fn fetch(&self, path: &str) -> (reqwest::Response, String) {
        let url = format!("{}{path}", self.url);
        let mut response = self.client.get(url).send().await.expect("an answer");
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.expect("a body") {
            body.extend_from_slice(&chunk);
        }
        (response, String::from_utf8(body).expect("UTF-8"))
    }

    /// Returns status and document.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let (response, body) = self.fetch(path).await;
        let document = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"));
        (response.status().as_u16(), document)
    }

    /// Returns the document of a request that must succeed.
    pub(crate) async fn ok(&self, path: &str) -> Value {
        let (status, document) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {document}");
        document
    }

    /// Asks until the status is as said; returns the document that came with it.
    pub(crate) async fn wait_for_status(&self, path: &str, wanted: u16) -> Value {
        self.wait_for(path, |status, _| status == wanted).await
    }

    /// Asks until the answer is as said.
    pub(crate) async fn wait_for(&self, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (status, document) = self.get(path).await;
            if wanted(status, &document) {
                return document;
            }
            assert!(Instant::now() < deadline, "{path}: {status} {document}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks for a product from several sides at once; returns their answers.
    pub(crate) fn ask(self: &Arc<Self>, sides: usize) -> JoinSet<Value> {
        let mut requests = JoinSet::new();
        for _ in 0..sides {
            let store = Arc::clone(self);
            requests.spawn(async move { store.ok("/api/products/1").await });
        }
        requests
    }

    /// Asks for `path` over and over from several sides, until told to end.
    pub(crate) fn hammer(&self, path: &str, sides: usize) -> Hammer {
        Hammer::start(&self.client, &format!("{}{path}", self.url), sides)
    }

    /// Stops it as a signal would; [`Store::end`] waits for that.
    pub(crate) fn tell_to_end(&self) {
        self.stop.cancel();
    }

    /// Stops it as a signal would, and returns how it ended.
    pub(crate) async fn end(self) -> Result<(), RunError> {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("the store ends in time")
            .expect("the store does not panic")
    }
}

/// Requests that go on in the background.
pub(crate) struct Hammer {
    end: Arc<AtomicBool>,
    answered: Vec<Arc<AtomicUsize>>,
    sides: Vec<JoinHandle<Vec<(u16, String)>>>,
}

impl Hammer {
    /// Asks for `url` over and over from several sides, until told to end.
    pub(crate) fn start(client: &reqwest::Client, url: &str, sides: usize) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let answered: Vec<_> = (0..sides).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let side = |count: &Arc<AtomicUsize>| {
            let asking = hammer(client.clone(), url.to_owned(), end.clone(), count.clone());
            tokio::spawn(asking)
        };
        let sides = answered.iter().map(side).collect();
        Self { end, answered, sides }
    }

    /// Waits until each side has had an answer from now on.
    pub(crate) async fn swing(&self) {
        let before: Vec<_> = self
            .answered
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        eventually("every side has an answer", async || {
            let mut sides = self.answered.iter().zip(&before);
            // The first may have been asked for earlier.
            sides.all(|(count, before)| count.load(Ordering::Relaxed) > before + 1)
        })
        .await;
    }

    /// Ends it and returns each side's answers in their order.
    pub(crate) async fn answers(self) -> Vec<Vec<(u16, String)>> {
        self.end.store(true, Ordering::Relaxed);
        let mut answers = Vec::new();
        for side in self.sides {
            answers.push(side.await.expect("no panic"));
        }
        answers
    }
}

async fn hammer(
    client: reqwest::Client,
    url: String,
    end: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    while !end.load(Ordering::Relaxed) {
        let response = client.get(&url).send().await.expect("an answer");
        let status = response.status().as_u16();
        answers.push((status, response.text().await.expect("a body")));
        answered.fetch_add(1, Ordering::Relaxed);
        // People pause too; without it the requests alone would eat a small machine.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    answers
}

/// Looks until it is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !look().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
