//! How answers look: JSON, refusals with a trace id, and the workspace's number on each.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::control::Control;
use crate::error::ApiError;

/// An answer in JSON, or a refusal.
pub(super) type Answer<T> = Result<Json<T>, ApiError>;

/// One page of a list, with the items under the name of their kind.
pub(super) fn page<T: Serialize>(
    kind: &'static str,
    page: crate::model::page::Page<T>,
) -> Json<serde_json::Value> {
    let mut answer = json!({kind: page.items});
    if let Some(next) = page.next {
        answer["next_page_token"] = json!(next);
    }
    Json(answer)
}

/// Puts the number of the workspace on an answer.
pub(super) async fn stamp(State(control): State<Arc<Control>>, mut response: Response) -> Response {
    if let Ok(number) = HeaderValue::from_str(&control.workspace_id) {
        response.headers_mut().insert("x-databricks-org-id", number);
    }
    response
}

impl IntoResponse for ApiError {
    fn into_response(mut self) -> Response {
        let trace = Uuid::new_v4().simple().to_string();
        tracing::debug!(
            status = self.status,
            code = self.code,
            message = self.message,
            trace,
            "refused"
        );
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RequestInfo",
            "request_id": trace,
            "serving_data": "",
        }));
        let body = json!({
            "error_code": self.code,
            "message": format!("{} [TraceId: {trace}]", self.message),
            "details": self.details,
        });
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(body)).into_response()
    }
}
