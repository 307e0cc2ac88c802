//! Which branch serves this process: the credential's own words, no question to the database.

use crate::credential::{Credential, Ownership};
use crate::db::Database;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// The branch as the API shows it. Without a daemon only the host is known.
#[derive(Debug, Serialize)]
struct BranchInfo {
    name: Option<String>,
    source: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    ownership: Ownership,
    host: String,
    endpoint: Option<String>,
}

impl From<&Credential> for BranchInfo {
    fn from(credential: &Credential) -> Self {
        let branch = credential.branch.as_ref();
        Self {
            name: branch.map(|branch| branch.name.clone()),
            source: branch.and_then(|branch| branch.source.clone()),
            expires_at: branch.and_then(|branch| branch.expires_at),
            ownership: branch.map_or(Ownership::None, |branch| branch.ownership),
            host: credential.host().to_owned(),
            endpoint: credential.endpoint.clone(),
        }
    }
}

/// The route of the branch.
pub(crate) fn router() -> Router<Database> {
    Router::new().route("/branch", get(branch))
}

async fn branch(State(database): State<Database>) -> Json<BranchInfo> {
    Json(BranchInfo::from(&*database.credential()))
}
