//! Fetches tokens: asks the service, Azure, or a program. Each file here knows one way. What is asked is sent without
//! following redirects, and only where the workspace's origin trusts.

mod azure;
mod cli;
mod oidc;

use std::time::Duration;

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::origin::Origin;
use super::sign_in::{SignIn, SignInError};
use crate::resource::credential::read_token;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The largest answer that is read; tokens have some kilobytes.
const MAX_ANSWER: usize = 256 * 1024;

/// A token for the workspace.
pub(super) struct Token {
    pub(super) secret: SecretString,
    /// How long it is good; `None` when nobody said.
    pub(super) life: Option<Duration>,
    /// The workspace's number, when it was told by the way.
    pub(super) workspace_id: Option<String>,
}

/// What questions are asked with.
pub(super) struct Asking<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) origin: &'a Origin,
}

/// Fetches a token in one way.
pub(super) async fn token(way: &SignIn, asking: &Asking<'_>) -> Result<Token, SignInError> {
    match way {
        SignIn::Token(token) => Ok(Token {
            secret: token.clone(),
            life: None,
            workspace_id: None,
        }),
        SignIn::Machine {
            client_id,
            client_secret,
        } => oidc::of_machine(asking, client_id, client_secret).await,
        SignIn::Exchange { token, client_id } => oidc::exchanged(asking, token, client_id.as_deref()).await,
        SignIn::AzureSecret {
            login,
            tenant,
            client_id,
            client_secret,
        } => azure::of_secret(asking, login, tenant.as_deref(), client_id, client_secret).await,
        SignIn::AzureCli { tenant, variables } => cli::azure(tenant.as_deref(), variables).await,
        SignIn::DatabricksCli(cli) => cli::databricks(cli, asking.origin).await,
    }
}

/// What token endpoints answer.
#[derive(Deserialize)]
struct Granted {
    #[serde(deserialize_with = "read_token")]
    access_token: SecretString,
    /// A number, or a number in quotes.
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

impl Granted {
    fn into_token(self, workspace_id: Option<String>) -> Token {
        let seconds = self.expires_in.as_ref().and_then(|value| match value {
            serde_json::Value::String(text) => text.trim().parse().ok(),
            number => number.as_u64(),
        });
        Token {
            secret: self.access_token,
            life: seconds.map(Duration::from_secs),
            workspace_id,
        }
    }
}

/// What token endpoints answer when they refuse.
#[derive(Default, Deserialize)]
struct Denied {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Asking<'_> {
    /// Reads a document that anybody may read; `None` if there is none.
    async fn document<T: DeserializeOwned>(&self, url: &Url) -> Result<Option<T>, SignInError> {
        let (status, body) = self.answer(url, self.http.get(url.clone())).await?;
        match status {
            200..300 => read(url, &body).map(Some),
            404 => Ok(None),
            _ => Err(odd(url, format!("HTTP {status}"))),
        }
    }

    /// Asks a token endpoint. `what` is shown there, in words.
    async fn grant(
        &self,
        url: &Url,
        what: &'static str,
        form: &[(&str, &str)],
        basic: Option<(&str, &SecretString)>,
    ) -> Result<Granted, SignInError> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let mut request = self
            .http
            .post(url.clone())
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        if let Some((user, secret)) = basic {
            request = request.basic_auth(user, Some(secret.expose_secret()));
        }
        let (status, body) = self.answer(url, request).await?;
        match status {
            200..300 => read(url, &body),
            400..=403 => {
                let denied: Denied = serde_json::from_slice(&body).unwrap_or_default();
                let said = if denied.error_description.is_empty() {
                    denied.error
                } else {
                    denied.error_description
                };
                Err(SignInError::Refused {
                    who: host(url),
                    what,
                    said: format!("{said} (HTTP {status})").trim_start().to_owned(),
                })
            }
            _ => Err(odd(url, format!("HTTP {status}"))),
        }
    }

    async fn answer(&self, url: &Url, request: RequestBuilder) -> Result<(u16, Vec<u8>), SignInError> {
        let offline = |error: reqwest::Error| SignInError::Offline {
            who: host(url),
            source: Box::new(error.without_url()),
        };
        let request = request
            .header(reqwest::header::ACCEPT, "application/json")
            .timeout(PATIENCE);
        let mut answer = request.send().await.map_err(offline)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(offline)? {
            if body.len() + piece.len() > MAX_ANSWER {
                return Err(odd(url, "more than any token has".to_owned()));
            }
            body.extend_from_slice(&piece);
        }
        Ok((status, body))
    }
}

fn read<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, SignInError> {
    serde_json::from_slice(body).map_err(|_| {
        // What the parser says may quote the answer, and that may hold a token.
        let is_page = body.trim_ascii_start().starts_with(b"<");
        let reason = if is_page {
            "with a web page"
        } else {
            "with something else than promised"
        };
        odd(url, reason.to_owned())
    })
}

fn host(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn odd(url: &Url, reason: String) -> SignInError {
    SignInError::Odd {
        who: host(url),
        reason,
    }
}
