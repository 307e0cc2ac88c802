//! Requests and answers as bytes. It decides where the token may go, how long anything
//! may take, how large an answer may be, and what is tried again. It knows no resource.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER, USER_AGENT};
use reqwest::{Response, redirect};
use tokio::time::Instant;
use tracing::{debug, warn};
use url::Url;

use crate::auth::Workspace;
use crate::auth::origin::Origin;
use crate::auth::sign_in::SignInError;
use crate::auth::tokens::{Pass, Tokens};
use crate::error::{Action, Error};
use crate::server_error::ServerError;

const PRODUCT: &str = concat!(
    "lakebased/",
    env!("CARGO_PKG_VERSION"),
    " rust/",
    env!("CARGO_PKG_RUST_VERSION")
);

/// How long a service that has said "too many requests" is asked slowly.
const SLOW_FOR: Duration = Duration::from_mins(1);
/// How far apart requests then are.
const SLOW_STEP: Duration = Duration::from_millis(100);
/// How far apart requests are in the long run, as the Go library has it: 15 in a second.
const STEP: Duration = Duration::from_millis(1000 / 15);
/// How many may go at once after a pause.
const BURST: u32 = 15;
/// What tells a host of many workspaces which one is meant.
const WORKSPACE_ID: &str = "x-databricks-workspace-id";

/// How long things may take and how large they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a call may take, with everything that is tried again.
    pub deadline: Duration,
    /// How long it may take to connect.
    pub connect: Duration,
    /// The size of the largest answer that is read.
    pub answer_bytes: usize,
    /// How often a request is tried again.
    pub retries: usize,
    /// The pause before the first retry. It doubles each time, and chance makes it up to twice as long.
    pub first_pause: Duration,
    /// The longest pause. A service that asks for more is reported to the caller instead of waited for.
    pub longest_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            answer_bytes: 4 * 1024 * 1024,
            retries: 4,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(15),
        }
    }
}

/// When a request may be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Sending it twice does no harm.
    Harmless,
    /// Only when the service has not begun to work on it.
    OnlyUntouched,
}

impl Repeat {
    fn allows(self, error: &Error) -> bool {
        if let Error::Offline { sent, .. } = error {
            return self == Self::Harmless || !sent;
        }
        // A full quota is also reported with 429, and waiting does not make room.
        if matches!(error, Error::QuotaExceeded { .. }) {
            return false;
        }
        match error.server().map(|server| server.status) {
            Some(429 | 503) => true,
            Some(500 | 502 | 504) => self == Self::Harmless,
            _ => false,
        }
    }
}

/// The methods this API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Post => Self::POST,
            Method::Patch => Self::PATCH,
            Method::Delete => Self::DELETE,
        }
    }
}

/// One request below the workspace's origin.
pub(crate) struct Request {
    pub(crate) action: Action,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) repeat: Repeat,
}

pub(crate) struct Transport {
    http: reqwest::Client,
    origin: Origin,
    tokens: Tokens,
    limits: Limits,
    heard: Mutex<Heard>,
}

/// What answers said beside what was asked.
#[derive(Debug, Default)]
struct Heard {
    /// The time by the server's clock, and when it said so.
    date: Option<(DateTime<Utc>, Instant)>,
    /// Until when requests go one by one, because there were too many.
    slow_until: Option<Instant>,
    /// When the next of them may go.
    next_turn: Option<Instant>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("origin", &self.origin)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(workspace: &Workspace, limits: Limits) -> Result<Self, Error> {
        let invalid = |reason: String| Error::Invalid {
            action: Action::new("use workspace", &workspace.origin),
            reason,
        };
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(limits.connect)
            .https_only(workspace.origin.is_https())
            .user_agent(agent("none"));
        if workspace.origin.is_loopback() {
            // A proxy is another machine, and to it the token would go in clear.
            builder = builder.no_proxy();
        }
        if !workspace.origin.is_https() {
            // Otherwise a machine without certificates could not even talk to itself.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|error| invalid(format!("no HTTP client: {error}")))?;
        Ok(Self {
            http,
            origin: workspace.origin.clone(),
            tokens: Tokens::new(workspace),
            limits,
            heard: Mutex::default(),
        })
    }

    /// Returns the time by the server's clock, as far as an answer told it.
    pub(crate) fn server_time(&self) -> Option<DateTime<Utc>> {
        let (date, at) = self.heard().date?;
        Some(date + TimeDelta::from_std(at.elapsed()).ok()?)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        // A panic while holding the lock cannot have left it half changed.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Sends a request, again if need be, and returns the body of a good answer.
    pub(crate) async fn send(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let url = self.url(request)?;
        let pass = self.pass(&request.action).await?;
        // What signing in took is not the service's: a request that is sent has all its time.
        let started = Instant::now();
        match self.persist(request, &url, started, &pass).await {
            // It may have been withdrawn before its end. Another one is tried once.
            Err(Error::Unauthenticated { .. }) if self.tokens.refused(&pass).await => {
                let pass = self.pass(&request.action).await?;
                self.persist(request, &url, started, &pass).await
            }
            answer => answer,
        }
    }

    async fn pass(&self, action: &Action) -> Result<Pass, Error> {
        let pass = self.tokens.pass(&self.http, &self.origin);
        let pass = tokio::time::timeout(self.limits.deadline, pass).await;
        pass.unwrap_or_else(|_| Err(Arc::new(SignInError::slow(&self.origin))))
            .map_err(|source| Error::SignIn {
                action: action.clone(),
                source,
            })
    }

    async fn persist(
        &self,
        request: &Request,
        url: &Url,
        started: Instant,
        pass: &Pass,
    ) -> Result<Vec<u8>, Error> {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.limits.first_pause)
            .with_max_delay(self.limits.longest_pause)
            .with_max_times(self.limits.retries)
            .with_jitter();
        (|| self.attempt(request, url, started, pass))
            .retry(pauses)
            .when(|error| request.repeat.allows(error))
            .adjust(|error, pause| self.limits.pause(error, pause?, started.elapsed()))
            .notify(
                |error, pause| warn!(action = %request.action, cause = %cause(error), ?pause, "trying again"),
            )
            .await
    }

    /// Joins the URL, and checks that the token stays at home whatever the path was.
    fn url(&self, request: &Request) -> Result<Url, Error> {
        let invalid = || Error::Invalid {
            action: request.action.clone(),
            reason: "its name does not make an address of the API".to_owned(),
        };
        let mut url = Url::parse(&format!("{}{}", self.origin, request.path)).map_err(|_| invalid())?;
        if url.origin() != self.origin.url().origin() || url.path() != request.path {
            return Err(invalid());
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        Ok(url)
    }

    async fn attempt(
        &self,
        request: &Request,
        url: &Url,
        started: Instant,
        pass: &Pass,
    ) -> Result<Vec<u8>, Error> {
        let turn = self.heard().turn(Instant::now(), self.origin.is_loopback());
        if let Some(turn) = turn {
            tokio::time::sleep_until(turn).await;
        }
        let mut sending = self
            .http
            .request(request.method.into(), url.clone())
            .header(AUTHORIZATION, pass.bearer.clone())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, agent(pass.method))
            .timeout(self.limits.deadline.saturating_sub(started.elapsed()));
        if let Some(id) = &pass.workspace_id {
            sending = sending.header(WORKSPACE_ID, id);
        }
        if let Some(body) = &request.body {
            sending = sending
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let answer = sending
            .send()
            .await
            .map_err(|error| offline(&request.action, error))?;
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        let date = date(answer.headers());
        self.heard().note(status.as_u16(), date, Instant::now());
        debug!(method = ?request.method, path = request.path, status = status.as_u16(), "answered");
        let body = self.read(&request.action, answer).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(Error::of_answer(
            &request.action,
            ServerError::read(status.as_u16(), retry_after, &body),
        ))
    }

    /// Reads a body piece by piece, so that its end is our decision.
    async fn read(&self, action: &Action, mut answer: Response) -> Result<Vec<u8>, Error> {
        let limit = self.limits.answer_bytes;
        let too_large = || {
            let reason = format!("the answer is larger than {limit} bytes");
            Error::Unintelligible {
                action: action.clone(),
                reason,
            }
        };
        if answer
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| offline(action, error))? {
            if body.len() + piece.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

impl Limits {
    /// Decides how long to wait before trying again. None means to give up and report the error.
    fn pause(&self, error: &Error, proposed: Duration, elapsed: Duration) -> Option<Duration> {
        let pause = match error.retry_after() {
            Some(asked) if asked > self.longest_pause => return None,
            // A part of the random pause is added, so that clients who were sent away together do not return together.
            Some(asked) => asked + proposed / 4,
            None => proposed,
        };
        (elapsed + pause < self.deadline).then_some(pause)
    }
}

impl Heard {
    fn note(&mut self, status: u16, date: Option<DateTime<Utc>>, now: Instant) {
        if status == 429 {
            self.slow_until = Some(now + SLOW_FOR);
        }
        // A proxy that answers in the server's place has a clock of its own.
        if let Some(date) = date.filter(|_| (200..300).contains(&status)) {
            self.date = Some((date, now));
        }
    }

    /// Returns when a request may go; at once, unless the service has lately been asked much. One on this machine is ours
    /// alone, and is asked as fast as it answers until it complains.
    fn turn(&mut self, now: Instant, is_here: bool) -> Option<Instant> {
        let is_slow = self.slow_until.is_some_and(|until| now < until);
        if is_here && !is_slow {
            return None;
        }
        let (step, burst) = if is_slow { (SLOW_STEP, 1) } else { (STEP, BURST) };
        let turn = self.next_turn.map_or(now, |next| next.max(now));
        self.next_turn = Some(turn + step);
        // So many may be ahead of their turns.
        let early = turn.checked_sub(step * (burst - 1)).unwrap_or(now);
        (early > now).then_some(early)
    }
}

/// What the service's own libraries say of themselves, in their form.
fn agent(method: &str) -> String {
    format!("{PRODUCT} os/{} auth/{method}", std::env::consts::OS)
}

/// Reads seconds or a date. A date is counted from the server's own, because our clock may be another.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?.to_utc();
    (until - date(headers)?).to_std().ok()
}

fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(text).ok()?.to_utc())
}

fn offline(action: &Action, error: reqwest::Error) -> Error {
    let sent = !error.is_connect() && !error.is_builder();
    Error::Offline {
        action: action.clone(),
        sent,
        source: Box::new(error.without_url()),
    }
}

/// Returns the first reason behind an error, for the log.
fn cause(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use secrecy::SecretString;

    use super::*;
    use crate::auth::TokenSource;

    fn action() -> Action {
        Action::new("get branch", "x")
    }

    fn url(path: &str) -> Result<String, Error> {
        let origin = "http://127.0.0.1:8080".parse().unwrap();
        let workspace = Workspace::with_token(origin, SecretString::from("dapi"), TokenSource::Environment);
        let (action, path) = (action(), path.to_owned());
        let query = vec![("update_mask", "a,b".to_owned())];
        let request = Request {
            action,
            method: Method::Get,
            path,
            query,
            body: None,
            repeat: Repeat::Harmless,
        };
        Transport::new(&workspace, Limits::default())
            .unwrap()
            .url(&request)
            .map(|url| url.to_string())
    }

    #[test]
    fn the_token_stays_at_home_whatever_the_path_is() {
        assert_eq!(
            url("/api/2.0/x").unwrap(),
            "http://127.0.0.1:8080/api/2.0/x?update_mask=a%2Cb"
        );
        let strange = [
            "",
            "x",
            "@evil.example/",
            ".evil.example/x",
            "0/x",
            "//evil.example/x/..",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a?b",
            "/a#b",
            "/a b",
            "/a\\b",
        ];
        for path in strange {
            assert!(matches!(url(path), Err(Error::Invalid { .. })), "{path}");
        }
    }

    #[test]
    fn pauses_follow_the_service_and_end_before_the_deadline() {
        let limits = Limits::default();
        let second = Duration::from_secs(1);
        let asked = |after: Option<u64>| {
            let after = after.map(Duration::from_secs);
            Error::of_answer(&action(), ServerError::read(429, after, b""))
        };
        assert_eq!(limits.pause(&asked(None), second, Duration::ZERO), Some(second));
        assert_eq!(
            limits.pause(&asked(Some(15)), second, Duration::ZERO),
            Some(Duration::from_millis(15_250))
        );
        assert_eq!(
            limits.pause(&asked(Some(16)), second, Duration::ZERO),
            None,
            "too long to wait here"
        );
        assert_eq!(
            limits.pause(&asked(None), second, Duration::from_secs(29)),
            None,
            "too late to try again"
        );
        assert_eq!(
            limits.pause(&asked(Some(15)), second, Duration::from_secs(16)),
            None
        );
    }

    #[test]
    fn cp_01_the_time_to_wait_is_seconds_or_a_date() {
        let read = |value: &'static str, date: &'static str| {
            retry_after(&HeaderMap::from_iter([
                (RETRY_AFTER, HeaderValue::from_static(value)),
                (DATE, HeaderValue::from_static(date)),
            ]))
        };
        let date = "Wed, 21 Oct 2026 07:27:00 GMT";
        assert_eq!(read(" 7 ", ""), Some(Duration::from_secs(7)));
        assert_eq!(
            read("Wed, 21 Oct 2026 07:28:30 GMT", date),
            Some(Duration::from_secs(90))
        );
        assert_eq!(read("1000000000", ""), Some(Duration::from_secs(1_000_000_000)));
        assert_eq!(
            read("99999999999999999999", ""),
            Some(Duration::from_secs(u64::MAX))
        );
        for strange in ["", "-1", "1.5", "soon", "Wed, 21 Oct 2026 07:26:00 GMT"] {
            assert_eq!(read(strange, date), None, "{strange}");
        }
        assert_eq!(read("Wed, 21 Oct 2026 07:28:30 GMT", "yesterday"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn cp_02_after_too_many_requests_they_go_ten_a_second_for_a_minute() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        heard.note(429, None, start);
        let turns: Vec<_> = (0..100).map(|_| heard.turn(start, false)).collect();
        assert_eq!(turns[0], None);
        assert_eq!(turns[99], Some(start + SLOW_STEP * 99));
        assert_eq!(heard.turn(start + SLOW_FOR, false), None, "that was a minute ago");
    }

    #[test]
    fn in_the_long_run_they_go_fifteen_a_second() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        let turns: Vec<_> = (0..100).map(|_| heard.turn(start, false)).collect();
        assert_eq!(turns[14], None, "the first may go at once");
        assert_eq!(turns[99], Some(start + STEP * 85));
        assert_eq!(
            heard.turn(start + Duration::from_secs(10), false),
            None,
            "after a pause again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn cp_24_the_servers_clock_is_read_from_good_answers_only() {
        let date = "2026-10-21T07:27:00Z".parse().ok();
        let mut heard = Heard::default();
        heard.note(502, date, Instant::now());
        assert!(heard.date.is_none(), "it may be a proxy's");
        heard.note(200, date, Instant::now());
        heard.note(200, None, Instant::now());
        assert_eq!(heard.date.map(|(date, _)| date), date);
    }
}
