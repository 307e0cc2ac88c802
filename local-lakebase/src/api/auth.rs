//! The lock on the API: a bearer token on every request, or 401.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;

use crate::control::Control;
use crate::error::ApiError;

/// Lets a request pass that has the access token, or one made from the client's secret.
pub(super) async fn require(
    State(control): State<Arc<Control>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = bearer(request.headers()).ok_or_else(ApiError::unauthenticated)?;
    let known = control.identity.is_token(token) || control.signer.is_api_token(token, control.clock.now());
    if !known {
        return Err(ApiError::unauthenticated());
    }
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
