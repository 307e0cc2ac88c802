//! What clients ask before they have a token: where things are, and a token for a client's id and secret.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::Shared;
use super::answer::Answer;
use super::request::Whole;
use crate::control::Control;
use crate::error::ApiError;
use crate::token::Validity;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/.well-known/databricks-config", get(config))
        .route("/oidc/.well-known/oauth-authorization-server", get(server))
        .route("/oidc/v1/token", post(token))
}

async fn config(State(control): Shared) -> Answer<Value> {
    Ok(Json(json!({
        "oidc_endpoint": format!("{}/oidc", control.public_url),
        "workspace_id": control.workspace_id,
        "host_type": "workspace",
    })))
}

async fn server(State(control): Shared) -> Answer<Value> {
    let issuer = format!("{}/oidc", control.public_url);
    Ok(Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/v1/authorize"),
        "token_endpoint": format!("{issuer}/v1/token"),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    })))
}

async fn token(State(control): Shared, headers: HeaderMap, Whole(body): Whole) -> Response {
    let form: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
    if form
        .get("grant_type")
        .is_none_or(|grant| grant != "client_credentials")
    {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let known = basic(&headers)
        .or_else(|| Some((form.get("client_id")?.clone(), form.get("client_secret")?.clone())))
        .is_some_and(|(id, secret)| control.identity.is_client(&id, &secret));
    if !known {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let now = control.clock.now();
    let life = control.limits.access_token_life;
    let validity = Validity {
        from: now,
        until: now + life,
    };
    match control.signer.api_token(control.identity.client().0, validity) {
        Ok(token) => Json(json!({
            "access_token": token.expose_secret(),
            "token_type": "Bearer",
            "expires_in": life.as_secs(),
            "scope": "all-apis",
        }))
        .into_response(),
        Err(error) => ApiError::failed("sign a token", &error).into_response(),
    }
}

/// Reads id and secret as a browser sends them.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(value.trim()).ok()?;
    let (id, secret) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| (id.to_owned(), secret.to_owned()))
}

/// OAuth has a form of its own for errors.
fn refuse(status: StatusCode, error: &'static str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}
