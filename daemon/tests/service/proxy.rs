//! A proxy that can do wrong. It speaks just enough HTTP/1.1, one request for each connection, so that it decides about
//! every byte of an answer.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// How a request for a page ends that only this proxy has promised.
pub(crate) const SECOND_PAGE: &str = "?page_token=ours";

type Edit = Box<dyn Fn(&mut Value) + Send + Sync>;
type Rewrite = Box<dyn Fn(String) -> String + Send + Sync>;

/// What is done to a request that a rule is about.
pub(crate) enum Fault {
    /// Answered here; the service never hears of it.
    Answer(Reply),
    /// The connection breaks before the service hears of it.
    Refuse,
    /// The service does it, and the answer is lost.
    Lose,
    /// The connection breaks in the middle of the body.
    Cut,
    /// The body comes a byte a second.
    Drip,
    /// The answer's JSON is changed.
    Edit(Edit),
    /// The answer's text is changed.
    Rewrite(Rewrite),
    /// It waits until the gate has a permit, and is then forwarded.
    Hold(Arc<Semaphore>),
    /// The server's clock is this far ahead, in the head and in every time of the body.
    Skew(TimeDelta),
    /// The head says that it is this much later.
    Date(TimeDelta),
}

/// An answer.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: Vec<(String, String)>,
    pub(crate) body: String,
}

/// An error as the service words it.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Fault {
    let body = json!({ "error_code": code, "message": message }).to_string();
    Fault::Answer(Reply {
        status,
        head: vec![],
        body,
    })
}

/// A good answer, or what pretends to be one.
pub(crate) fn answer(body: impl Into<String>) -> Fault {
    Fault::Answer(Reply {
        status: 200,
        head: vec![],
        body: body.into(),
    })
}

/// The same with another header.
pub(crate) fn with_header(fault: Fault, name: &str, value: &str) -> Fault {
    let Fault::Answer(mut reply) = fault else {
        panic!("only an answer has a head of its own")
    };
    reply.head.push((name.into(), value.into()));
    Fault::Answer(reply)
}

pub(crate) fn edit(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
    Fault::Edit(Box::new(change))
}

pub(crate) fn rewrite(change: impl Fn(String) -> String + Send + Sync + 'static) -> Fault {
    Fault::Rewrite(Box::new(change))
}

/// A request that came by.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
    /// Whether the service heard of it.
    pub(crate) reached: bool,
}

impl Seen {
    /// Says whether it could have changed a branch.
    pub(crate) fn is_change(&self) -> bool {
        self.method != "GET" && !self.path.ends_with("/credentials")
    }

    pub(crate) fn is(&self, method: &str, tail: &str) -> bool {
        self.method == method && self.path.ends_with(tail)
    }
}

struct Rule {
    method: &'static str,
    tail: String,
    left: usize,
    fault: Arc<Fault>,
}

/// Random trouble, the same again for the same seed.
struct Chaos {
    percent: u64,
    state: u64,
}

struct Shared {
    upstream: String,
    upstream_token: String,
    /// The token that is accepted on this side.
    token: Mutex<String>,
    rules: Mutex<Vec<Rule>>,
    chaos: Mutex<Option<Chaos>>,
    seen: Mutex<Vec<Seen>>,
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(upstream: &str, upstream_token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let shared = Arc::new(Shared {
            upstream: upstream.strip_prefix("http://").expect("plain").to_owned(),
            upstream_token: upstream_token.to_owned(),
            token: Mutex::new("first".into()),
            rules: Mutex::default(),
            chaos: Mutex::default(),
            seen: Mutex::default(),
        });
        let serving = shared.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.expect("accepted");
                tokio::spawn(serving.clone().serve(socket));
            }
        });
        Self {
            url,
            shared,
            accepting,
        }
    }

    /// From now on does this to requests of that method whose path, with or without its query, ends so, or has it in
    /// it after a `*`. An empty method is any.
    pub(crate) fn on(&self, method: &'static str, tail: impl Into<String>, fault: Fault) {
        self.times(usize::MAX, method, tail, fault);
    }

    /// The same, so many times.
    pub(crate) fn times(&self, left: usize, method: &'static str, tail: impl Into<String>, fault: Fault) {
        let rule = Rule {
            method,
            tail: tail.into(),
            left,
            fault: Arc::new(fault),
        };
        self.shared.rules.lock().expect("no panic").push(rule);
    }

    /// Behaves from now on.
    pub(crate) fn behave(&self) {
        self.shared.rules.lock().expect("no panic").clear();
        *self.shared.chaos.lock().expect("no panic") = None;
    }

    /// Lets a share of all requests fail, in all the ways there are.
    pub(crate) fn fail_at_random(&self, percent: u64, seed: u64) {
        *self.shared.chaos.lock().expect("no panic") = Some(Chaos { percent, state: seed });
    }

    /// Accepts this token and no other.
    pub(crate) fn accept(&self, token: &str) {
        *self.shared.token.lock().expect("no panic") = token.into();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic").clone()
    }

    /// How much was seen, to ask later what came since.
    pub(crate) fn mark(&self) -> usize {
        self.shared.seen.lock().expect("no panic").len()
    }

    pub(crate) fn since(&self, mark: usize) -> Vec<Seen> {
        self.seen().split_off(mark)
    }

    pub(crate) fn count(&self, mark: usize, method: &str, tail: &str) -> usize {
        self.since(mark)
            .iter()
            .filter(|seen| seen.is(method, tail))
            .count()
    }

    /// What was asked since that could have changed a branch.
    pub(crate) fn changes(&self, mark: usize) -> Vec<String> {
        let changes = self.since(mark).into_iter().filter(Seen::is_change);
        changes
            .map(|seen| format!("{} {}?{} {}", seen.method, seen.path, seen.query, seen.body))
            .collect()
    }

    /// Asks the service itself, past the rules.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let request = Request {
            method: method.into(),
            target: format!("/api/2.0/postgres/{path}"),
            token: String::new(),
            body: body.into(),
        };
        self.shared.forward(&request).await.expect("it answers")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Request {
    method: String,
    target: String,
    token: String,
    body: String,
}

impl Shared {
    async fn serve(self: Arc<Self>, mut socket: TcpStream) {
        let Some(mut request) = read_request(&mut socket).await else {
            return;
        };
        let index = self.note(&request);
        let is_accepted = request.token == *self.token.lock().expect("no panic");
        let fault = if is_accepted {
            self.fault(&request)
        } else {
            Some(Arc::new(error(
                401,
                "UNAUTHENTICATED",
                "the token is not accepted",
            )))
        };
        match fault.as_deref() {
            Some(Fault::Answer(reply)) => return send(&mut socket, &reply.bytes()).await,
            Some(Fault::Refuse) => return reset(&socket),
            Some(Fault::Hold(gate)) => gate.acquire().await.expect("open").forget(),
            Some(Fault::Skew(ahead)) => request.body = shifted(&request.body, -*ahead),
            _ => {}
        }
        let reply = self.forward(&request).await;
        self.seen.lock().expect("no panic")[index].reached = true;
        match reply {
            Some(reply) => deliver(&mut socket, reply, fault.as_deref()).await,
            None => reset(&socket),
        }
    }

    fn note(&self, request: &Request) -> usize {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let mut seen = self.seen.lock().expect("no panic");
        seen.push(Seen {
            method: request.method.clone(),
            path: path.to_owned(),
            query: query.to_owned(),
            body: serde_json::from_str(&request.body).unwrap_or_default(),
            at: Instant::now(),
            reached: false,
        });
        seen.len() - 1
    }

    fn fault(&self, request: &Request) -> Option<Arc<Fault>> {
        let target = &request.target;
        let path = target.split('?').next().unwrap_or_default();
        let mut rules = self.rules.lock().expect("no panic");
        let rule = rules.iter_mut().find(|rule| {
            rule.left > 0
                && (rule.method.is_empty() || rule.method == request.method)
                && match rule.tail.strip_prefix('*') {
                    Some(part) => target.contains(part),
                    None => path.ends_with(&rule.tail) || target.ends_with(&rule.tail),
                }
        });
        if let Some(rule) = rule {
            rule.left -= 1;
            return Some(rule.fault.clone());
        }
        self.chaos
            .lock()
            .expect("no panic")
            .as_mut()?
            .next()
            .map(Arc::new)
    }

    async fn forward(&self, request: &Request) -> Option<Reply> {
        // The second page of a list that we cut in two has what the first one has.
        let target = request.target.trim_end_matches(SECOND_PAGE);
        let mut socket = TcpStream::connect(&self.upstream).await.ok()?;
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\naccept: application/json\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            request.method,
            target,
            self.upstream,
            self.upstream_token,
            request.body.len()
        );
        socket.write_all(head.as_bytes()).await.ok()?;
        socket.write_all(request.body.as_bytes()).await.ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await.ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let head = fields(lines);
        assert!(!head.contains_key("transfer-encoding"), "a body of known length");
        let kept = head
            .into_iter()
            .filter(|(name, _)| !matches!(name.as_str(), "content-length" | "connection"));
        Some(Reply {
            status,
            head: kept.collect(),
            body: body.to_owned(),
        })
    }
}

impl Chaos {
    fn next(&mut self) -> Option<Fault> {
        if self.draw(100) >= self.percent {
            return None;
        }
        Some(match self.draw(6) {
            0 => with_header(
                error(429, "RESOURCE_EXHAUSTED", "Too many requests"),
                "retry-after",
                "0",
            ),
            1 => error(
                500,
                "INTERNAL_ERROR",
                "The request could not be processed. Please try again later.",
            ),
            2 => error(503, "TEMPORARILY_UNAVAILABLE", "down"),
            3 => Fault::Refuse,
            4 => Fault::Cut,
            _ => Fault::Lose,
        })
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below
    }
}

impl Reply {
    fn date(&mut self, ahead: TimeDelta) {
        #[expect(clippy::disallowed_methods, reason = "this is the server")]
        let date = (Utc::now() + ahead).format("%a, %d %b %Y %H:%M:%S GMT");
        self.head.retain(|(name, _)| name != "date");
        self.head.push(("date".into(), date.to_string()));
    }

    fn bytes(&self) -> Vec<u8> {
        let fields = self
            .head
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let (status, length, fields) = (self.status, self.body.len(), fields.collect::<String>());
        let head =
            format!("HTTP/1.1 {status} X\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n");
        (head + &self.body).into_bytes()
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut piece = [0; 4096];
        let read = socket.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let fields = fields(lines);
    let length = fields
        .get("content-length")
        .map_or(0, |text| text.parse().expect("a number"));
    let mut body = bytes.split_off(end);
    while body.len() < length {
        let mut piece = [0; 4096];
        let read = socket.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&piece[..read]);
    }
    let token = fields
        .get("authorization")
        .and_then(|text| text.strip_prefix("Bearer "));
    Some(Request {
        method,
        target,
        token: token.unwrap_or_default().to_owned(),
        body: String::from_utf8(body).ok()?,
    })
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}

/// Hands an answer of the service on, or what becomes of it.
async fn deliver(socket: &mut TcpStream, mut reply: Reply, fault: Option<&Fault>) {
    match fault {
        Some(Fault::Lose) => return reset(socket),
        Some(Fault::Cut) => {
            let bytes = reply.bytes();
            let end = bytes.len() - reply.body.len() / 2;
            send(socket, &bytes[..end]).await;
            return reset(socket);
        }
        Some(Fault::Drip) => return drip(socket, &reply).await,
        Some(Fault::Edit(change)) => {
            let mut body = serde_json::from_str(&reply.body).expect("JSON");
            change(&mut body);
            reply.body = body.to_string();
        }
        Some(Fault::Rewrite(change)) => reply.body = change(reply.body),
        Some(Fault::Skew(ahead)) => {
            reply.body = shifted(&reply.body, *ahead);
            reply.date(*ahead);
        }
        Some(Fault::Date(ahead)) => reply.date(*ahead),
        Some(Fault::Answer(_) | Fault::Refuse | Fault::Hold(_)) | None => {}
    }
    send(socket, &reply.bytes()).await;
}

/// A client that goes away in the middle is nobody's mistake.
async fn send(socket: &mut TcpStream, bytes: &[u8]) {
    drop(socket.write_all(bytes).await);
}

/// Ends a connection the hard way.
fn reset(socket: &TcpStream) {
    drop(socket.set_zero_linger());
}

async fn drip(socket: &mut TcpStream, reply: &Reply) {
    let bytes = reply.bytes();
    let head = bytes.len() - reply.body.len();
    send(socket, &bytes[..head]).await;
    for byte in &bytes[head..] {
        if socket.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A body whose every time is moved.
fn shifted(body: &str, by: TimeDelta) -> String {
    let Ok(mut value) = serde_json::from_str(body) else {
        return body.to_owned();
    };
    shift(&mut value, by);
    value.to_string()
}

fn shift(value: &mut Value, by: TimeDelta) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let time = field.as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
                match time.filter(|_| name.ends_with("_time")) {
                    Some(time) => *field = json!(time + by),
                    None => shift(field, by),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
