//! The lock on the API: a bearer token on every request, or 401.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;

use crate::control::Control;
use crate::error::ApiError;
use crate::identity::Caller;

/// Lets a request pass that has the access token, or one made from the client's secret, and notes who calls.
pub(super) async fn require(
    State(control): State<Arc<Control>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = bearer(request.headers()).ok_or_else(ApiError::unauthenticated)?;
    let caller = caller(&control, token).ok_or_else(ApiError::unauthenticated)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn caller(control: &Control, token: &str) -> Option<Caller> {
    if control.identity.is_token(token) {
        return control.identity.caller(&control.identity.user_name);
    }
    let name = control.signer.read_api_token(token, control.clock.now())?;
    control.identity.caller(&name)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
