//! Lets a share of the requests fail on purpose, in the ways in which a service in the cloud does, so that one can see what
//! bears it. Off unless asked for.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use crate::control::Control;
use crate::error::ApiError;

/// A way to fail.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Nothing was done, and the client is to come back.
    TooMany,
    Unavailable,
    /// A proxy answers instead of the service.
    BadGateway,
    /// The request was done, and the answer breaks off.
    AnswerLost,
}

const FAULTS: [Fault; 4] = [
    Fault::TooMany,
    Fault::Unavailable,
    Fault::BadGateway,
    Fault::AnswerLost,
];

/// Answers a request, or fails on purpose.
pub(super) async fn spoil(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let is_spoiled = rand::random_range(0..100) < control.limits.failing_percent;
    if !is_spoiled {
        return next.run(request).await;
    }
    let fault = FAULTS[rand::random_range(0..FAULTS.len())];
    tracing::debug!(?fault, "a request fails on purpose");
    match fault {
        Fault::TooMany => {
            let refusal = ApiError::new(429, "RESOURCE_EXHAUSTED", "Too many requests");
            let mut response = refusal.into_response();
            let soon = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, soon);
            response
        }
        Fault::Unavailable => {
            let text = "The service is temporarily unavailable. Please try again later.";
            ApiError::new(503, "TEMPORARILY_UNAVAILABLE", text).into_response()
        }
        Fault::BadGateway => {
            (axum::http::StatusCode::BAD_GATEWAY, Html("<h1>Bad Gateway</h1>")).into_response()
        }
        Fault::AnswerLost => {
            drop(next.run(request).await);
            let broken = io::Error::new(io::ErrorKind::ConnectionReset, "on purpose");
            Body::from_stream(futures_util::stream::iter([Ok("{\""), Err(broken)])).into_response()
        }
    }
}
