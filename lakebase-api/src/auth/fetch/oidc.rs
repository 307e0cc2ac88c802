//! Tokens that the workspace itself gives: to a service principal for its secret, or for a token of another issuer. First it
//! is asked where that is done.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::{Asking, Token, odd};
use crate::auth::origin::Origin;
use crate::auth::sign_in::{IdToken, SignInError};

const SCOPE: (&str, &str) = ("scope", "all-apis");

/// `/.well-known/databricks-config`, as far as it matters here.
#[derive(Default, Deserialize)]
struct HostMetadata {
    oidc_endpoint: Option<String>,
    account_id: Option<String>,
    workspace_id: Option<String>,
}

/// `…/.well-known/oauth-authorization-server`, as far as it matters here.
#[derive(Deserialize)]
struct Discovered {
    token_endpoint: String,
}

/// Where tokens are given, and what was heard of the workspace on the way.
struct Place {
    token_endpoint: Url,
    workspace_id: Option<String>,
}

pub(super) async fn of_machine(
    asking: &Asking<'_>,
    client_id: &str,
    client_secret: &SecretString,
) -> Result<Token, SignInError> {
    let place = discover(asking).await?;
    let form = [("grant_type", "client_credentials"), SCOPE];
    let basic = Some((client_id, client_secret));
    let granted = asking
        .grant(&place.token_endpoint, "the client id and secret", &form, basic)
        .await?;
    Ok(granted.into_token(place.workspace_id))
}

pub(super) async fn exchanged(
    asking: &Asking<'_>,
    token: &IdToken,
    client_id: Option<&str>,
) -> Result<Token, SignInError> {
    let theirs = match token {
        IdToken::Value(token) => token.clone(),
        IdToken::File(path) => read_token(path).await?,
    };
    let place = discover(asking).await?;
    let mut form = vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", theirs.expose_secret()),
        SCOPE,
    ];
    form.extend(client_id.map(|id| ("client_id", id)));
    let granted = asking
        .grant(
            &place.token_endpoint,
            "the token of the other issuer",
            &form,
            None,
        )
        .await?;
    Ok(granted.into_token(place.workspace_id))
}

async fn read_token(path: &std::path::Path) -> Result<SecretString, SignInError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| SignInError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    Ok(SecretString::from(text.trim().to_owned()))
}

/// Asks the host where its tokens are given. A host that does not tell gives them itself.
async fn discover(asking: &Asking<'_>) -> Result<Place, SignInError> {
    let at = |path: &str| join(asking.origin, asking.origin.url().as_str(), path);
    let metadata: HostMetadata = asking
        .document(&at(".well-known/databricks-config")?)
        .await?
        .unwrap_or_default();
    let told = metadata
        .oidc_endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty());
    let account = metadata.account_id.as_deref().unwrap_or_default();
    let oidc = match told {
        Some(endpoint) => trusted(asking.origin, &endpoint.replace("{account_id}", account))?,
        None => at("oidc")?,
    };
    let url = join(
        asking.origin,
        oidc.as_str(),
        ".well-known/oauth-authorization-server",
    )?;
    let Some(found) = asking.document::<Discovered>(&url).await? else {
        return Err(odd(&url, "that it gives no tokens".to_owned()));
    };
    Ok(Place {
        token_endpoint: trusted(asking.origin, &found.token_endpoint)?,
        workspace_id: metadata.workspace_id.filter(|id| !id.is_empty()),
    })
}

fn join(origin: &Origin, base: &str, path: &str) -> Result<Url, SignInError> {
    trusted(origin, &format!("{}/{path}", base.trim_end_matches('/')))
}

/// An address that was told, if secrets may go there.
fn trusted(origin: &Origin, told: &str) -> Result<Url, SignInError> {
    let elsewhere = |told: String| SignInError::Elsewhere {
        origin: origin.to_string(),
        told,
    };
    let url = Url::parse(told).map_err(|_| elsewhere("no address".to_owned()))?;
    if origin.trusts(&url) {
        Ok(url)
    } else {
        Err(elsewhere(super::host(&url)))
    }
}
