//! Signing in with a personal access token: the token itself is the password of every request.

use secrecy::SecretString;

use super::{AuthError, TokenSource};

/// The name of this way of signing in, in `auth_type` settings and in the user agent.
const METHOD: &str = "pat";

/// What one source says about signing in.
pub(super) struct Settings {
    pub(super) source: TokenSource,
    pub(super) token: Option<SecretString>,
    pub(super) auth_type: Option<String>,
    /// Settings of other ways to sign in that are present too.
    pub(super) others: Vec<String>,
}

/// Returns the token, if this source asks for this way of signing in and for no other.
pub(super) fn token(settings: Settings) -> Result<SecretString, AuthError> {
    let Settings {
        source,
        token,
        auth_type,
        others,
    } = settings;
    if let Some(method) = auth_type.as_ref().filter(|method| *method != METHOD) {
        return Err(AuthError::Unsupported {
            place: source,
            method: method.clone(),
        });
    }
    match (token, others.first()) {
        (Some(token), None) => Ok(token),
        (Some(token), Some(_)) if auth_type.is_some() => Ok(token),
        (Some(_), Some(other)) => Err(AuthError::Ambiguous {
            first: format!("a token in {source}"),
            second: format!("`{other}`"),
        }),
        (None, Some(other)) => Err(AuthError::Unsupported {
            place: source,
            method: other.clone(),
        }),
        (None, None) => Err(AuthError::Incomplete {
            place: source,
            missing: "token",
        }),
    }
}
