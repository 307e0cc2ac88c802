//! The REST API: one file per resource, each with its routes. A handler reads the request, makes one call and writes
//! the answer; what is allowed is decided in `model` and done in `control`.

mod answer;
mod auth;
mod branches;
mod credentials;
mod databases;
mod endpoints;
mod oidc;
mod operations;
mod projects;
mod request;
mod roles;
mod spoil;
mod users;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request};
use axum::http::Method;
use axum::middleware::{from_fn_with_state, map_response_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;

use crate::control::Control;
use crate::error::ApiError;

/// More than any request of this API has.
const MAX_BODY: usize = 256 * 1024;

type Shared = axum::extract::State<Arc<Control>>;

/// Makes the API.
pub(crate) fn router(control: Arc<Control>) -> Router {
    let postgres = Router::new()
        .merge(projects::router())
        .merge(branches::router())
        .merge(endpoints::router())
        .merge(databases::router())
        .merge(roles::router())
        .merge(credentials::router())
        .merge(operations::router());
    Router::new()
        .nest("/api/2.0/postgres", postgres)
        .merge(users::router())
        .fallback(no_such_api)
        .method_not_allowed_fallback(no_such_api)
        .layer(from_fn_with_state(control.clone(), auth::require))
        .merge(oidc::router().method_not_allowed_fallback(no_such_api))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(control.clone(), spoil::spoil))
        .layer(map_response_with_state(control.clone(), answer::stamp))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(TraceLayer::new_for_http().make_span_with(span))
        .with_state(control)
}

async fn no_such_api(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::no_such_api(method.as_str(), uri.path())
}

/// A request in the log: neither headers nor query, so no secret by accident.
fn span(request: &Request) -> tracing::Span {
    tracing::debug_span!("request", method = %request.method(), path = request.uri().path())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature is given by tower-http"
)]
fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response {
    let text = cause.downcast_ref::<&str>().copied();
    let text = text.or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("unknown"), "a request broke off");
    ApiError::internal().into_response()
}
