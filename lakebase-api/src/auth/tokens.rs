//! Keeps the token of a workspace: fetches it when it is first needed, anew before it ends, and once for all who wait. While a
//! new one cannot be had, the old one is used to its end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::Workspace;
use super::fetch::{self, Asking, Token};
use super::origin::Origin;
use super::sign_in::{SignIn, SignInError};

/// A token is fetched anew so long before its end, or at half of its life if that is shorter: as the Python library does.
const EARLY: Duration = Duration::from_mins(20);
/// The life of a token of which nobody said how long it is good, but which was fetched and so has an end.
const UNTOLD: Duration = Duration::from_mins(5);
/// How long an old token is used without asking again, when a new one could not be had.
const RETRY: Duration = Duration::from_secs(10);

/// The tokens of one workspace.
pub(crate) struct Tokens {
    ways: Vec<SignIn>,
    workspace_id: Option<String>,
    /// Locked while a token is fetched, so that all others wait for it.
    held: Mutex<Kept>,
}

/// What a request shows of us.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// The header `Authorization`.
    pub(crate) bearer: HeaderValue,
    /// The way of signing in.
    pub(crate) method: &'static str,
    pub(crate) workspace_id: Option<String>,
}

#[derive(Default)]
struct Kept {
    token: Option<Held>,
    /// When there was none to be had, and why.
    failed: Option<(Instant, Arc<SignInError>)>,
}

struct Held {
    pass: Pass,
    /// `None` for a token that is good until it is not.
    ends: Option<Instant>,
    fetch_at: Option<Instant>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    pub(crate) fn new(workspace: &Workspace) -> Self {
        Self {
            ways: workspace.sign_in.clone(),
            workspace_id: workspace.workspace_id.clone(),
            held: Mutex::default(),
        }
    }

    /// Returns what to show with a request.
    pub(crate) async fn pass(
        &self,
        http: &reqwest::Client,
        origin: &Origin,
    ) -> Result<Pass, Arc<SignInError>> {
        let asked = Instant::now();
        let mut kept = self.held.lock().await;
        // Whoever waited while it failed gets to know that, and not a failure of their own after as long again.
        if let Some((_, error)) = kept.failed.as_ref().filter(|(at, _)| *at > asked) {
            return Err(error.clone());
        }
        let now = Instant::now();
        let old = kept
            .token
            .as_ref()
            .filter(|held| held.ends.is_none_or(|end| now < end));
        if let Some(fresh) = old.filter(|held| held.fetch_at.is_none_or(|at| now < at)) {
            return Ok(fresh.pass.clone());
        }
        let old = old.map(|held| (held.pass.clone(), held.ends));
        match (self.fetch(&Asking { http, origin }).await, old) {
            (Ok(new), _) => {
                let pass = new.pass.clone();
                kept.token = Some(new);
                Ok(pass)
            }
            (Err(error), Some((pass, ends))) => {
                warn!(%error, "no new token; the old one is used to its end");
                let fetch_at = Some(Instant::now() + RETRY);
                kept.token = Some(Held {
                    pass: pass.clone(),
                    ends,
                    fetch_at,
                });
                Ok(pass)
            }
            (Err(error), None) => {
                let error = Arc::new(error);
                kept.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Drops a token that was not accepted, so that the next request fetches another. Returns whether there can be another.
    pub(crate) async fn refused(&self, pass: &Pass) -> bool {
        if pass.method == "pat" {
            return false;
        }
        let held = &mut self.held.lock().await.token;
        if held.as_ref().is_some_and(|held| held.pass.bearer == pass.bearer) {
            *held = None;
        }
        true
    }

    /// Takes the first way that gives a token. What hinders the last is told: the others are not there at all.
    async fn fetch(&self, asking: &Asking<'_>) -> Result<Held, SignInError> {
        let mut last = None;
        for way in &self.ways {
            match fetch::token(way, asking).await {
                Ok(token) => return self.keep(way, token),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| SignInError::Odd {
            who: asking.origin.to_string(),
            reason: "nobody, as there is no way of signing in".to_owned(),
        }))
    }

    fn keep(&self, way: &SignIn, token: Token) -> Result<Held, SignInError> {
        let life = match way {
            SignIn::Token(_) => None,
            _ => Some(token.life.unwrap_or(UNTOLD)),
        };
        let now = Instant::now();
        Ok(Held {
            pass: Pass {
                bearer: bearer(&token.secret).ok_or_else(|| strange(way))?,
                method: way.name(),
                workspace_id: self.workspace_id.clone().or(token.workspace_id),
            },
            ends: life.map(|life| now + life),
            fetch_at: life.map(|life| now + life - EARLY.min(life / 2)),
        })
    }
}

/// The header, if the token can be in one.
pub(crate) fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).ok()?;
    bearer.set_sensitive(true);
    Some(bearer)
}

fn strange(way: &SignIn) -> SignInError {
    SignInError::Odd {
        who: way.name().to_owned(),
        reason: "with a token that has characters that no token has".to_owned(),
    }
}
