//! Whether the process lives, whether it can serve, and which version it is.

use crate::db::Database;
use crate::error::{Away, Error};
use axum::Json;
use axum::extract::State;
use axum::routing::get;
use futures_util::FutureExt;
use serde::Serialize;
use sqlx::Connection;
use std::time::Duration;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Whoever asks whether we are ready wants to know now.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the store is.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    status: &'static str,
    /// What goes wrong without doing harm yet, as a credential that cannot be renewed before it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// Which program answers.
#[derive(Debug, Serialize, ToSchema)]
struct Version {
    name: &'static str,
    version: &'static str,
}

/// The routes of health and version.
pub(crate) fn router() -> OpenApiRouter<Database> {
    OpenApiRouter::new()
        .routes(routes!(version))
        .routes(routes!(live))
        .routes(routes!(ready))
        // The short form for whoever asks by hand.
        .route("/health", get(ready))
}

/// Name and version of the program.
#[utoipa::path(
    get,
    path = "/version",
    operation_id = "get_version",
    tag = "process",
    responses((status = 200, description = "The version", body = Version)),
)]
async fn version() -> Json<Version> {
    Json(Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Whether the process lives; the database is not asked.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "get_liveness",
    tag = "process",
    responses((status = 200, description = "It lives", body = Health)),
)]
async fn live() -> Json<Health> {
    Json(Health {
        status: "live",
        trouble: None,
    })
}

/// Whether the database answers.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "get_readiness",
    tag = "process",
    responses((status = 200, description = "It is ready", body = Health), Away),
)]
async fn ready(State(database): State<Database>) -> Result<Json<Health>, Error> {
    let ask = database.read_within(PATIENCE, |connection| connection.ping().boxed());
    timeout(PATIENCE * 2, ask)
        .await
        .map_err(|_| Error::Away(format!("no answer to a query within {:?}", PATIENCE * 2)))??;
    Ok(Json(Health {
        status: "ready",
        trouble: database.trouble(),
    }))
}
