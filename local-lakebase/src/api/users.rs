//! The caller, as SCIM describes people.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Shared;
use super::answer::Answer;
use crate::control::Control;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new().route("/api/2.0/preview/scim/v2/Me", get(me))
}

async fn me(State(control): Shared) -> Answer<Value> {
    let name = &control.identity.user_name;
    Ok(Json(json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": control.workspace_id,
        "userName": name,
        "displayName": name.split('@').next(),
        "active": true,
        "emails": [{"value": name, "type": "work", "primary": true}],
        "groups": [],
    })))
}
