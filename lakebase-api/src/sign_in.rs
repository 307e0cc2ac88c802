//! Signing in as a service principal: id and secret are exchanged for an access token, which is kept until it is stale. It
//! decides when to ask and what to believe; the transport asks.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::auth::origin::Origin;
use crate::error::{Action, Error};

/// Where every workspace tells its token endpoint.
const DISCOVERY: &str = "/oidc/.well-known/oauth-authorization-server";
pub(crate) const GRANT: &str = "grant_type=client_credentials&scope=all-apis";
/// A token of an hour is replaced twenty minutes before it ends, a shorter one at half of its life.
const LONGEST_REST: Duration = Duration::from_mins(20);

/// A service principal of a workspace, and the secret it signs in with.
#[derive(Clone, Debug)]
pub struct ServicePrincipal {
    /// The workspace, and the only place that id, secret and tokens are sent to.
    pub origin: Origin,
    /// The client id, which is also the application id.
    pub client_id: String,
    /// The secret.
    pub client_secret: SecretString,
}

/// A service principal, and the access token that it has at the moment. Whoever comes while a token is asked for waits for it.
pub(crate) struct SignIn {
    pub(crate) principal: ServicePrincipal,
    pub(crate) access: tokio::sync::Mutex<Option<Access>>,
}

/// An access token. Times are those of a clock that nobody sets.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) bearer: HeaderValue,
    stale_at: Instant,
    ends_at: Instant,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.principal.fmt(f)
    }
}

impl Access {
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now < self.stale_at
    }

    pub(crate) fn is_good(&self, now: Instant) -> bool {
        now < self.ends_at
    }

    /// Reads the answer of the token endpoint. What the parser says is not shown: it may quote the token.
    pub(crate) fn read(answer: &[u8], action: &Action, now: Instant) -> Result<Self, Error> {
        let token: Token = serde_json::from_slice(answer).map_err(|_| no_token(action))?;
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", token.access_token)).map_err(|_| no_token(action))?;
        bearer.set_sensitive(true);
        let seconds = match &token.expires_in {
            Seconds::Number(seconds) => Some(*seconds),
            Seconds::Text(seconds) => seconds.parse().ok(),
        };
        let life = Duration::from_secs(seconds.ok_or_else(|| no_token(action))?.min(24 * 60 * 60));
        Ok(Self {
            bearer,
            stale_at: now + life - (life / 2).min(LONGEST_REST),
            ends_at: now + life,
        })
    }
}

impl ServicePrincipal {
    pub(crate) fn action(&self) -> Action {
        Action::new("sign in to", &self.origin)
    }

    pub(crate) fn discovery(&self) -> Url {
        let mut url = self.origin.url().clone();
        url.set_path(DISCOVERY);
        url
    }

    /// Reads where the token endpoint is. The secret goes to the workspace itself and nowhere else.
    pub(crate) fn token_endpoint(&self, answer: &[u8]) -> Result<Url, Error> {
        let reason = |reason: &str| Error::Unintelligible {
            action: self.action(),
            reason: reason.to_owned(),
        };
        let server: Server =
            serde_json::from_slice(answer).map_err(|_| reason("the answer names no token endpoint"))?;
        Url::parse(&server.token_endpoint)
            .ok()
            .filter(|endpoint| endpoint.origin() == self.origin.url().origin())
            .ok_or_else(|| reason("the token endpoint is elsewhere"))
    }
}

fn no_token(action: &Action) -> Error {
    Error::Unintelligible {
        action: action.clone(),
        reason: "the answer is not an access token".to_owned(),
    }
}

#[derive(Deserialize)]
struct Server {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Seconds,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal() -> ServicePrincipal {
        ServicePrincipal {
            origin: "https://w.example.com".parse().unwrap(),
            client_id: "id".to_owned(),
            client_secret: "hunter2".into(),
        }
    }

    fn read(answer: &str, now: Instant) -> Result<Access, Error> {
        Access::read(answer.as_bytes(), &principal().action(), now)
    }

    #[test]
    fn a_token_is_stale_long_before_it_ends() {
        let now = Instant::now();
        for (seconds, stale) in [("3600", 2400), ("\"600\"", 300), ("6", 3)] {
            let access = read(
                &format!("{{\"access_token\": \"t\", \"expires_in\": {seconds}}}"),
                now,
            )
            .unwrap();
            let at = |seconds| now + Duration::from_secs(seconds);
            assert!(
                access.is_fresh(at(stale - 1)) && !access.is_fresh(at(stale)),
                "{seconds}"
            );
            assert!(access.is_good(at(stale)));
        }
        for wrong in [
            "",
            "<html>",
            "{}",
            "{\"access_token\": \"hunter2\"}",
            "{\"access_token\": \"hunter\\n2\", \"expires_in\": 1}",
        ] {
            let error = read(wrong, now).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("hunter"), "{error:?}");
        }
    }

    #[test]
    fn the_secret_stays_at_home_and_is_not_shown() {
        let endpoint =
            |url: &str| principal().token_endpoint(format!("{{\"token_endpoint\": \"{url}\"}}").as_bytes());
        assert!(endpoint("https://w.example.com/oidc/v1/token").is_ok());
        for elsewhere in [
            "http://w.example.com/x",
            "https://w.example.com.evil.example/x",
            "https://w.example.com:8443/x",
        ] {
            assert!(endpoint(elsewhere).is_err(), "{elsewhere}");
        }
        assert!(principal().token_endpoint(b"<html>").is_err());
        assert!(!format!("{:?}", principal()).contains("hunter2"));
    }
}
