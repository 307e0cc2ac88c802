//! Everything that can go wrong with a request, and its one form on the wire: `{code, message, request_id}`.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde::Serialize;
use std::time::Duration;
use tokio::time::timeout;
use tower_http::request_id::RequestId;
use tracing::{error, warn};
use utoipa::{IntoResponses, ToSchema};

/// How long a request may take as a whole.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// Why a request got no answer, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing has this id.
    #[error("no {what} with id {id}")]
    Absent {
        /// The kind of thing.
        what: &'static str,
        /// What was asked for.
        id: i64,
    },
    /// No such page.
    #[error("nothing here")]
    NoRoute,
    /// The page takes other methods only.
    #[error("method not allowed")]
    Method,
    /// A part of the address is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// The database cannot be had now; the same request may work in a moment.
    #[error("database away: {0}")]
    Away(String),
    /// The workspace cannot be asked now; the same request may work in a moment.
    #[error("workspace away: {0}")]
    Workspace(String),
    /// The workspace does not know the person who asks, or the app may not ask for them.
    #[error("the workspace does not accept the forwarded access token")]
    NotSignedIn,
    /// The answer took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// A defect. The details are for the log alone.
    #[error("something failed inside")]
    Internal(#[source] Option<sqlx::Error>),
}

impl Error {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Absent { .. } | Self::NoRoute => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_argument"),
            Self::Away(_) | Self::Workspace(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::NotSignedIn => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::TimedOut(_) => (StatusCode::SERVICE_UNAVAILABLE, "timed_out"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.status_and_code().0
    }

    /// Writes to the log what a person may have to look at.
    pub(crate) fn log(&self) {
        match self {
            Self::Internal(source) => error!(?source, "request failed"),
            Self::Away(_) | Self::Workspace(_) | Self::TimedOut(_) => {
                warn!(error = %self, "request failed");
            }
            Self::Absent { .. } | Self::NoRoute | Self::Method | Self::Invalid(_) | Self::NotSignedIn => {}
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let away = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed => true,
            sqlx::Error::Database(database) => database.code().is_some_and(|code| is_away(&code)),
            _ => false,
        };
        if away {
            Self::Away(chain(&error))
        } else {
            Self::Internal(Some(error))
        }
    }
}

/// Connection trouble (08), refused logins (28), too many connections (53300), a server that ends or starts (57P).
fn is_away(sqlstate: &str) -> bool {
    sqlstate.starts_with("08")
        || sqlstate.starts_with("28")
        || sqlstate == "53300"
        || sqlstate.starts_with("57P")
}

impl From<PathRejection> for Error {
    fn from(rejection: PathRejection) -> Self {
        Self::Invalid(rejection.body_text())
    }
}

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Self {
        Self::Invalid(rejection.body_text())
    }
}

/// A part of the path; refused in the form of this API.
#[derive(Debug, FromRequestParts)]
#[from_request(via(extract::Path), rejection(Error))]
pub(crate) struct Path<T>(pub(crate) T);

/// The query; refused in the form of this API.
#[derive(Debug, FromRequestParts)]
#[from_request(via(extract::Query), rejection(Error))]
pub(crate) struct Query<T>(pub(crate) T);

/// Rides on a response until [`in_time_and_named`] makes it the body.
#[derive(Debug, Clone)]
struct Problem {
    code: &'static str,
    message: String,
}

/// What every failed request gets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDocument {
    /// For programs: `not_found`, `invalid_argument`, `unavailable`, `timed_out`, `unauthenticated`,
    /// `method_not_allowed`, `internal`.
    #[schema(example = "not_found")]
    code: &'static str,
    /// For people.
    message: String,
    /// Finds the request in the log.
    request_id: String,
}

/// Nothing has this id.
#[derive(IntoResponses)]
#[response(status = 404)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct NoSuchThing(ErrorDocument);

/// A part of the address is not what it should be.
#[derive(IntoResponses)]
#[response(status = 422)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct Refused(ErrorDocument);

/// The workspace does not accept the access token that came with the request.
#[derive(IntoResponses)]
#[response(status = 401)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct NotSignedIn(ErrorDocument);

/// The database is away; the same request may work in a moment.
#[derive(IntoResponses)]
#[response(status = 503)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct Away(ErrorDocument);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let (status, code) = self.status_and_code();
        let mut response = status.into_response();
        if matches!(self, Self::Away(_) | Self::Workspace(_)) {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        let message = self.to_string();
        response.extensions_mut().insert(Problem { code, message });
        response
    }
}

/// Limits the time of a request, and gives failed answers their body, which names it. Only the outside of the stack knows its id.
/// One layer for both: each has its price, which every answer pays.
pub(crate) async fn in_time_and_named(request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().cloned();
    let mut response = timeout(REQUEST_LIMIT, next.run(request))
        .await
        .unwrap_or_else(|_| Error::TimedOut(REQUEST_LIMIT).into_response());
    let Some(Problem { code, message }) = response.extensions_mut().remove() else {
        return response;
    };
    let request_id = request_id.as_ref().and_then(|id| id.header_value().to_str().ok());
    let document = ErrorDocument {
        code,
        message,
        request_id: request_id.unwrap_or_default().to_owned(),
    };
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut response = (status, headers, Json(document)).into_response();
    // What fails now may work in a moment.
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    response
}

/// Returns an error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some libraries repeat the cause in the text.
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_no_defect() {
        for error in [
            sqlx::Error::PoolTimedOut,
            sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
        ] {
            assert_eq!(Error::from(error).status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        for code in ["08006", "28P01", "53300", "57P01", "57P03"] {
            assert!(is_away(code), "{code}");
        }
        for code in ["42P01", "57014", "53200"] {
            assert!(!is_away(code), "{code}");
        }
    }

    #[test]
    fn a_defect_keeps_its_details_to_itself() {
        let error = Error::from(sqlx::Error::ColumnNotFound("secret".into()));
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(error.to_string(), "something failed inside");
    }
}
