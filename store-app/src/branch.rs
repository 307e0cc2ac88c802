//! Which branch serves this process: the credential's own words, no question to the database.

use crate::credential::{Credential, Ownership};
use crate::db::Database;
use crate::error::{Away, Error};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The branch as the API shows it. Without a daemon only the host is known.
#[derive(Debug, Serialize, ToSchema)]
struct BranchInfo {
    /// The name in its project.
    name: Option<String>,
    /// Tells it from one that bore the same name before: a branch that was reset has another one.
    uid: Option<String>,
    /// The branch it was forked from.
    source: Option<String>,
    /// When the service deletes it unless its lease is renewed; `null`: never, or nobody knows.
    expires_at: Option<DateTime<Utc>>,
    ownership: Ownership,
    host: String,
    /// Resource name of the endpoint.
    endpoint: Option<String>,
    /// Counts the credentials since the store began, from 1: another number is another password or another branch.
    credential: u64,
    /// After this no new connection can be made with the credential.
    credential_expires_at: Option<DateTime<Utc>>,
}

impl BranchInfo {
    fn new(credential: &Credential, number: u64) -> Self {
        let branch = credential.branch.as_ref();
        Self {
            name: branch.map(|branch| branch.name.clone()),
            uid: branch
                .map(|branch| branch.uid.clone())
                .filter(|uid| !uid.is_empty()),
            source: branch.and_then(|branch| branch.source.clone()),
            expires_at: branch.and_then(|branch| branch.expires_at),
            ownership: branch.map_or(Ownership::None, |branch| branch.ownership),
            host: credential.host().to_owned(),
            endpoint: credential.endpoint.clone(),
            credential: number,
            credential_expires_at: credential.expires_at,
        }
    }
}

/// The route of the branch.
pub(crate) fn router() -> OpenApiRouter<Database> {
    OpenApiRouter::new().routes(routes!(branch))
}

/// The branch whose data is shown.
#[utoipa::path(
    get,
    path = "/branch",
    operation_id = "get_branch",
    tag = "process",
    responses((status = 200, description = "The branch", body = BranchInfo), Away),
)]
async fn branch(State(database): State<Database>) -> Result<Json<BranchInfo>, Error> {
    let (credential, number) = database.numbered_credential()?;
    Ok(Json(BranchInfo::new(&credential, number)))
}
