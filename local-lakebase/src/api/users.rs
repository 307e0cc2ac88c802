//! The caller, as SCIM describes people.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use lakebase_api::IdentityType;
use serde_json::{Value, json};

use super::Shared;
use super::answer::Answer;
use crate::control::Control;
use crate::identity::Caller;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new().route("/api/2.0/preview/scim/v2/Me", get(me))
}

async fn me(State(control): Shared, Extension(caller): Extension<Caller>) -> Answer<Value> {
    let name = &caller.name;
    let mut me = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": name,
        "active": true,
        "groups": [],
    });
    let more = match caller.identity_type {
        IdentityType::ServicePrincipal => json!({"id": name, "displayName": "local-m2m"}),
        _ => json!({
            "id": control.workspace_id,
            "displayName": name.split('@').next(),
            "emails": [{"value": name, "type": "work", "primary": true}],
        }),
    };
    if let (Some(me), Value::Object(mut more)) = (me.as_object_mut(), more) {
        me.append(&mut more);
    }
    Ok(Json(me))
}
