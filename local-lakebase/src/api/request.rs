//! How requests are read. Whatever is wrong with one is refused in JSON, as everything else is.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use lakebase_api::{BranchName, DatabaseName, EndpointName, ProjectName, RoleName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::error::ApiError;

/// Limit on the time in which a body arrives. A client that never finishes one would keep its connection, and others out.
const BODY: Duration = Duration::from_secs(10);

/// The values in a path, percent-decoded.
pub(super) struct In<T>(pub(super) T);

/// The values in a query.
pub(super) struct Asked<T>(pub(super) T);

/// The body, in JSON; an empty one counts as `{}`.
pub(super) struct Sent<T>(pub(super) T);

/// The body as bytes, all of it, within [`BODY`].
pub(super) struct Whole(pub(super) Bytes);

/// The body of a create or update: the resource itself, of which only the spec is read.
#[derive(Debug, Deserialize)]
pub(super) struct Resource<S> {
    #[serde(
        default = "Default::default",
        bound(deserialize = "S: Default + Deserialize<'de>")
    )]
    pub(super) spec: S,
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for In<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        if let Ok(Path(values)) = Path::<T>::from_request_parts(parts, state).await {
            return Ok(Self(values));
        }
        let original = parts.extensions.get::<OriginalUri>();
        let path = original.map_or(&parts.uri, |uri| &uri.0).path();
        Err(ApiError::no_such_api(parts.method.as_str(), path))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(values)) => Ok(Self(values)),
            Err(error) => Err(ApiError::invalid(format!(
                "cannot read the query: {}",
                error.body_text()
            ))),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Whole(body) = Whole::from_request(request, state).await?;
        let body = if body.is_empty() { &b"{}"[..] } else { &body };
        let read = serde_json::from_slice(body);
        read.map(Self)
            .map_err(|error| ApiError::invalid(format!("cannot read the request body: {error}")))
    }
}

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match timeout(BODY, Bytes::from_request(request, state)).await {
            Ok(body) => body.map(Self).map_err(|error| unreadable(&error)),
            Err(_) => Err(ApiError::new(
                408,
                "DEADLINE_EXCEEDED",
                format!("the request body did not arrive within {BODY:?}"),
            )),
        }
    }
}

fn unreadable(error: &BytesRejection) -> ApiError {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(413, "MAX_REQUEST_SIZE_EXCEEDED", "the request body is too large")
        }
        _ => ApiError::bad_request("the request body ended early"),
    }
}

/// Reads a project's name; an id that cannot be one names nothing.
pub(super) fn project(id: &str) -> Result<ProjectName, ApiError> {
    ProjectName::new(id).map_err(|_| ApiError::not_found("project"))
}

/// Reads a branch's name.
pub(super) fn branch((project_id, id): (&str, &str)) -> Result<BranchName, ApiError> {
    BranchName::new(&project(project_id)?, id).map_err(|_| ApiError::not_found("branch"))
}

/// Reads an endpoint's name.
pub(super) fn endpoint((project, id, endpoint): (&str, &str, &str)) -> Result<EndpointName, ApiError> {
    EndpointName::new(&branch((project, id))?, endpoint).map_err(|_| ApiError::not_found("endpoint"))
}

/// Reads a database's name.
pub(super) fn database((project, id, database): (&str, &str, &str)) -> Result<DatabaseName, ApiError> {
    DatabaseName::new(&branch((project, id))?, database).map_err(|_| ApiError::not_found("database"))
}

/// Reads a role's name.
pub(super) fn role((project, id, role): (&str, &str, &str)) -> Result<RoleName, ApiError> {
    RoleName::new(&branch((project, id))?, role).map_err(|_| ApiError::not_found("role"))
}
