//! Requests and answers as bytes: the only user of reqwest. It decides where the token may go, how long anything
//! may take, how large an answer may be, and what is tried again. It knows no resource.

use std::fmt;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, redirect};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use tracing::{debug, warn};
use url::Url;

use crate::auth::Workspace;
use crate::auth::origin::Origin;
use crate::error::{Action, Error};
use crate::server_error::ServerError;

const USER_AGENT: &str = concat!(
    "lakebased/",
    env!("CARGO_PKG_VERSION"),
    " rust/",
    env!("CARGO_PKG_RUST_VERSION")
);

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
    bearer: HeaderValue,
    limits: Limits,
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
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", workspace.token.expose_secret()))
            .map_err(|_| invalid("the token has characters that no token has".to_owned()))?;
        bearer.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(limits.connect)
            .https_only(workspace.origin.is_https())
            .user_agent(format!("{USER_AGENT} os/{} auth/pat", std::env::consts::OS));
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
            bearer,
            limits,
        })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Sends a request, again if need be, and returns the body of a good answer.
    pub(crate) async fn send(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let url = self.url(request)?;
        let started = Instant::now();
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.limits.first_pause)
            .with_max_delay(self.limits.longest_pause)
            .with_max_times(self.limits.retries)
            .with_jitter();
        (|| self.attempt(request, &url, started))
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

    async fn attempt(&self, request: &Request, url: &Url, started: Instant) -> Result<Vec<u8>, Error> {
        let mut sending = self
            .http
            .request(request.method.into(), url.clone())
            .header(AUTHORIZATION, self.bearer.clone())
            .header(ACCEPT, "application/json")
            .timeout(self.limits.deadline.saturating_sub(started.elapsed()));
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

/// Reads whole seconds. The header may also hold a date, which no client of this API understands.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
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
    use secrecy::SecretString;

    use super::*;
    use crate::auth::TokenSource;

    fn action() -> Action {
        Action::new("get branch", "x")
    }

    fn url(path: &str) -> Result<String, Error> {
        let workspace = Workspace {
            origin: "http://127.0.0.1:8080".parse().unwrap(),
            token: SecretString::from("dapi"),
            source: TokenSource::Environment,
        };
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
    fn only_whole_seconds_are_a_time_to_wait() {
        let read = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(
                RETRY_AFTER,
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(read(" 7 "), Some(Duration::from_secs(7)));
        for strange in [
            "",
            "-1",
            "1.5",
            "soon",
            "Wed, 21 Oct 2026 07:28:00 GMT",
            "99999999999999999999",
        ] {
            assert_eq!(read(strange), None, "{strange}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
