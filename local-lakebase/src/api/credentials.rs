//! `credentials`: passwords for endpoints.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Json, Router};
use chrono::{DateTime, Utc};
use lakebase_api::{CredentialRequest, DatabaseCredential, ProtoDuration};
use serde::Deserialize;

use super::Shared;
use super::answer::Answer;
use super::request::{self, Sent};
use crate::control::Control;
use crate::error::ApiError;
use crate::identity::Caller;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new().route("/credentials", post(generate))
}

#[derive(Deserialize)]
struct Generate {
    #[serde(default)]
    endpoint: String,
    ttl: Option<ProtoDuration>,
    expire_time: Option<DateTime<Utc>>,
}

async fn generate(
    State(control): Shared,
    Extension(caller): Extension<Caller>,
    Sent(asked): Sent<Generate>,
) -> Answer<DatabaseCredential> {
    if asked.endpoint.is_empty() {
        return Err(ApiError::required("endpoint"));
    }
    let parts: Vec<_> = asked.endpoint.split('/').collect();
    let ["projects", project, "branches", branch, "endpoints", endpoint] = parts[..] else {
        let text = "endpoint must be of the form projects/{p}/branches/{b}/endpoints/{e}";
        return Err(ApiError::invalid(text));
    };
    let request = CredentialRequest {
        endpoint: request::endpoint((project, branch, endpoint))?,
        expire_time: asked.expire_time,
        ttl: asked.ttl,
    };
    control.credential(&caller, &request).await.map(Json)
}
