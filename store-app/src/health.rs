//! Whether the process lives, whether it can serve, and which version it is.

use crate::db::Database;
use crate::error::Error;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::time::Duration;
use tokio::time::timeout;

/// Whoever asks whether we are ready wants to know now.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
}

#[derive(Debug, Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

/// The routes of health and version.
pub(crate) fn router() -> Router<Database> {
    Router::new()
        .route("/version", get(version))
        .route("/health", get(ready))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
}

async fn version() -> Json<Version> {
    Json(Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    })
}

async fn live() -> Json<Health> {
    Json(Health { status: "live" })
}

async fn ready(State(database): State<Database>) -> Result<Json<Health>, Error> {
    let (mut connection, _) = database.acquire_within(PATIENCE).await?;
    let query = sqlx::query("SELECT 1").execute(&mut *connection);
    timeout(PATIENCE, query)
        .await
        .map_err(|_| Error::Away(format!("no answer to a query within {PATIENCE:?}")))??;
    Ok(Json(Health { status: "ready" }))
}
