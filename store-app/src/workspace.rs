//! The credential of a deployed app: signs in to the workspace as the app's service principal, mints a password for one
//! endpoint, and another one long before that ends. Knows nothing of pools and SQL; hears only that the database refused.

use crate::config::OAuth;
use crate::credential::{Credential, Login, Malformed, Schema, ssl_mode_of_workspace};
use crate::error::chain;
use crate::source::Desk;
use lakebase_api::{Client, EndpointName, Error, Limits, NameError, OriginError, SignIn, TokenSource};
use sqlx::postgres::PgSslMode;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{info, warn};

/// How long one question to the workspace may take. A password is renewed at half of its life: there is time to ask again.
const DEADLINE: Duration = Duration::from_secs(20);
/// A question is soon given up: it is asked anew, and meanwhile people are told.
const RETRIES: usize = 1;
/// The pause after a first failure, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The pause after a first refusal by the database, doubled with each further one. A new role takes a while to be known.
const FIRST_REFUSAL: Duration = Duration::from_secs(2);
const LONGEST_REFUSAL: Duration = Duration::from_secs(8);
/// After so many refusals in a row, which is a minute, a role is not late but missing: the pause is [`ROLE_MISSING`].
const REFUSALS: u32 = 9;
const ROLE_MISSING: Duration = Duration::from_mins(1);
/// How long a password lives at least, for when the service does not tell its time.
const SHORTEST_LIFE: Duration = Duration::from_mins(5);
/// However soon a password ends, another one is not asked for sooner.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

/// Why what the environment says about the workspace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The endpoint is not the name of one.
    #[error("cannot use `STORE_DB_OAUTH_ENDPOINT`")]
    Endpoint(#[source] NameError),
    /// The way of checking the server is none.
    #[error("cannot use `PGSSLMODE`")]
    SslMode(#[source] Malformed),
    /// The schema is not the name of one.
    #[error("cannot use `STORE_DB_SCHEMA`")]
    Schema(#[source] Malformed),
    /// There is nothing to sign in with.
    #[error("cannot sign in to the workspace: `{0}` is not set")]
    Missing(&'static str),
    /// The workspace is nowhere that a secret may be sent to.
    #[error("cannot use `DATABRICKS_HOST`")]
    Host(#[source] OriginError),
    /// What there is to sign in with does not make a client.
    #[error("cannot talk to the workspace")]
    Client(#[source] Error),
}

impl Unusable {
    /// Returns what a person should try.
    pub fn fix(&self) -> String {
        match self {
            Self::Endpoint(_) => "name it as in projects/shop/branches/production/endpoints/primary",
            Self::SslMode(_) => "unset PGSSLMODE, or set it to require or verify-full",
            Self::Schema(_) => "set STORE_DB_SCHEMA to a name as `store`, or unset it",
            Self::Missing(_) | Self::Host(_) | Self::Client(_) => {
                "set DATABRICKS_HOST, DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET as the platform does"
            }
        }
        .to_owned()
    }
}

/// Why there is no new password.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The workspace does not answer, or says no.
    #[error(transparent)]
    Workspace(#[from] Error),
    /// The endpoint is still being made.
    #[error("endpoint `{0}` has no host yet")]
    NoHost(EndpointName),
}

/// One database of a workspace, and the right to it.
pub(crate) struct Workspace {
    client: Client,
    endpoint: EndpointName,
    ssl_mode: PgSslMode,
    schema: Option<Schema>,
    settings: OAuth,
}

/// A credential, and how long it lives from now on.
pub(crate) struct Minted {
    pub(crate) credential: Credential,
    life: Duration,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace")
            .field("origin", &format_args!("{}", self.client.origin()))
            .field("endpoint", &format_args!("{}", self.endpoint))
            .field("database", &self.settings.database)
            .finish_non_exhaustive()
    }
}

impl Workspace {
    /// Makes sense of the environment. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Unusable`] when it makes none.
    pub(crate) fn new(settings: OAuth) -> Result<Self, Unusable> {
        let endpoint = settings.endpoint.parse().map_err(Unusable::Endpoint)?;
        let schema = settings.schema.as_deref().map(str::parse).transpose();
        let ssl_mode = ssl_mode_of_workspace(settings.sslmode.as_deref(), settings.ssl_root_cert.is_some());
        let service_principal = service_principal(&settings)?;
        let limits = Limits {
            deadline: DEADLINE,
            retries: RETRIES,
            ..Limits::default()
        };
        let client = Client::with_limits(service_principal, limits).map_err(Unusable::Client)?;
        Ok(Self {
            client,
            endpoint,
            ssl_mode: ssl_mode.map_err(Unusable::SslMode)?,
            schema: schema.map_err(Unusable::Schema)?,
            settings,
        })
    }

    /// Publishes a credential, and at about half of its life the next, for ever. While the workspace is away, the last one
    /// stands. One that the database refuses is replaced by a fresh one: a role that has just been made takes that.
    pub(crate) async fn follow(&self, desk: &Desk) {
        let (mut failures, mut refusals) = (0, 0);
        loop {
            let minted = match self.mint().await {
                Ok(minted) => minted,
                Err(error) => {
                    report(desk, &error);
                    sleep(after_failure(failures, rand::random())).await;
                    failures += 1;
                    continue;
                }
            };
            failures = 0;
            let pause = refresh_after(minted.life, rand::random());
            publish(desk, minted.credential, pause);
            tokio::select! {
                () = sleep(pause) => refusals = 0,
                () = desk.refused.notified() => {
                    let pause = after_refusal(refusals);
                    warn!(?pause, "the database refuses the credential; getting another one");
                    sleep(pause).await;
                    refusals += 1;
                }
            }
        }
    }

    /// Asks who we are and where the endpoint is, and mints a password for it.
    ///
    /// # Errors
    /// [`MintError`] when one of these has no answer.
    pub(crate) async fn mint(&self) -> Result<Minted, MintError> {
        let me = self.client.me().await?;
        let (host, port) = self.address().await?;
        let password = self.client.generate_credential(&self.endpoint, None).await?;
        // The service's clock says when a password ends, and ours may be another.
        let left = self.client.server_time().map(|now| password.expire_time - now);
        let life = left.map_or(SHORTEST_LIFE, |left| left.to_std().unwrap_or_default());
        let login = Login {
            host: &host,
            port,
            database: &self.settings.database,
            user: &me.user_name,
            password: password.token,
            ssl_mode: self.ssl_mode,
            ssl_root_cert: self.settings.ssl_root_cert.as_deref(),
            schema: self.schema.as_ref(),
        };
        let credential = Credential::of_endpoint(login, &self.endpoint, password.expire_time);
        Ok(Minted { credential, life })
    }

    /// Returns where the endpoint is. A service principal may be allowed to use an endpoint and not to look at it; then it
    /// is where the platform says.
    async fn address(&self) -> Result<(String, u16), MintError> {
        let hosts = match (self.client.endpoint(&self.endpoint).await, &self.settings.host) {
            (Ok(endpoint), _) => endpoint.status.hosts,
            (Err(Error::PermissionDenied { .. }), Some(host)) => {
                return Ok((host.clone(), self.settings.port));
            }
            (Err(error), _) => return Err(error.into()),
        };
        let port = hosts.port();
        let host = hosts.host.filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| MintError::NoHost(self.endpoint.clone()))?;
        Ok((host, port))
    }
}

/// The app's own identity, and nothing else that the environment may hold.
fn service_principal(settings: &OAuth) -> Result<lakebase_api::Workspace, Unusable> {
    let host = settings.workspace.as_ref();
    let id = settings.client_id.clone();
    let secret = settings.client_secret.clone();
    Ok(lakebase_api::Workspace {
        origin: host
            .ok_or(Unusable::Missing("DATABRICKS_HOST"))?
            .parse()
            .map_err(Unusable::Host)?,
        sign_in: vec![SignIn::Machine {
            client_id: id.ok_or(Unusable::Missing("DATABRICKS_CLIENT_ID"))?,
            client_secret: secret.ok_or(Unusable::Missing("DATABRICKS_CLIENT_SECRET"))?,
        }],
        source: TokenSource::Environment,
        workspace_id: None,
    })
}

fn publish(desk: &Desk, credential: Credential, next: Duration) {
    info!(?credential, ?next, "new credential");
    desk.trouble.send_replace(None);
    desk.credentials.send_replace(Some(Arc::new(credential)));
}

/// Says what is waited for: in the log, and to whoever asks whether the store is ready.
fn report(desk: &Desk, error: &MintError) {
    let why = chain(error);
    let ends = desk
        .credentials
        .borrow()
        .as_ref()
        .and_then(|last| last.expires_at);
    let trouble = match ends {
        Some(ends) => format!("cannot renew the credential, which ends at {ends:?}: {why}"),
        None => format!("waiting for the workspace: {why}"),
    };
    warn!("{trouble}");
    desk.trouble.send_replace(Some(trouble));
}

/// Returns when to renew what lives so long: at about half of it, not all instances of the store at once. `chance` is
/// between 0 and 1.
fn refresh_after(life: Duration, chance: f64) -> Duration {
    life.mul_f64(0.45 + 0.1 * chance).max(SHORTEST_PAUSE)
}

/// Returns how long to wait after so many failures in a row.
fn after_failure(before: u32, chance: f64) -> Duration {
    doubled(FIRST_PAUSE, before, LONGEST_PAUSE).mul_f64(0.75 + 0.5 * chance)
}

/// Returns how long to wait after so many refusals in a row.
fn after_refusal(before: u32) -> Duration {
    if before < REFUSALS {
        doubled(FIRST_REFUSAL, before, LONGEST_REFUSAL)
    } else {
        ROLE_MISSING
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_renewed_at_about_half_of_its_life() {
        let hour = Duration::from_hours(1);
        assert_eq!(refresh_after(hour, 0.0), Duration::from_mins(27));
        assert_eq!(refresh_after(hour, 1.0), Duration::from_mins(33));
        assert_eq!(refresh_after(Duration::ZERO, 0.5), SHORTEST_PAUSE);
    }

    #[test]
    fn a_workspace_that_is_away_is_asked_less_and_less() {
        assert_eq!(after_failure(0, 0.5), FIRST_PAUSE);
        assert_eq!(after_failure(2, 0.5), Duration::from_secs(4));
        assert_eq!(after_failure(u32::MAX, 0.5), LONGEST_PAUSE);
        assert!(after_failure(3, 0.0) < after_failure(3, 1.0));
    }

    #[test]
    fn a_role_that_is_late_is_waited_for_a_minute() {
        let pauses: Vec<_> = (0..REFUSALS)
            .map(|count| after_refusal(count).as_secs())
            .collect();
        assert_eq!(pauses[..4], [2, 4, 8, 8]);
        let minute: u64 = pauses.iter().sum();
        assert!((55..=65).contains(&minute), "{minute} s");
        assert_eq!(after_refusal(REFUSALS), ROLE_MISSING);
    }
}
