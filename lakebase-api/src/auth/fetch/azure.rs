//! Tokens that Azure gives for Databricks to a service principal. Its addresses are fixed; the workspace only tells which
//! directory it belongs to.

use reqwest::header::LOCATION;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Asking, PATIENCE, Token, odd};
use crate::auth::sign_in::SignInError;

/// What Databricks is called in Azure.
pub(super) const DATABRICKS: &str = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d";

pub(super) async fn of_secret(
    asking: &Asking<'_>,
    login: &Url,
    tenant: Option<&str>,
    client_id: &str,
    client_secret: &SecretString,
) -> Result<Token, SignInError> {
    let tenant = match tenant {
        Some(tenant) => tenant.to_owned(),
        None => tenant_of_workspace(asking, login).await?,
    };
    let mut url = login.clone();
    url.set_path(&format!("{tenant}/oauth2/token"));
    let form = [
        ("grant_type", "client_credentials"),
        ("resource", DATABRICKS),
        ("client_id", client_id),
        ("client_secret", client_secret.expose_secret()),
    ];
    let granted = asking
        .grant(&url, "the Azure client id and secret", &form, None)
        .await?;
    Ok(granted.into_token(None))
}

/// A workspace that is asked for its sign-in page sends the browser to its directory.
async fn tenant_of_workspace(asking: &Asking<'_>, login: &Url) -> Result<String, SignInError> {
    let mut url = asking.origin.url().clone();
    url.set_path("aad/auth");
    let sent = asking.http.get(url.clone()).timeout(PATIENCE).send().await;
    let answer = sent.map_err(|error| SignInError::Offline {
        who: super::host(&url),
        source: Box::new(error.without_url()),
    })?;
    let target = answer
        .headers()
        .get(LOCATION)
        .and_then(|value| Url::parse(value.to_str().ok()?).ok());
    target
        .filter(|target| target.host() == login.host())
        .and_then(|target| target.path_segments()?.next().map(str::to_owned))
        .filter(|tenant| {
            !tenant.is_empty()
                && tenant
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
        .ok_or_else(|| {
            odd(
                &url,
                "without its Azure directory; set azure_tenant_id".to_owned(),
            )
        })
}
