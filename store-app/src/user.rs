//! Who is there: in a deployed app the person whose access token the platform forwards, elsewhere the user of the credential.
//! The token is used for this one question and kept nowhere.

use crate::db::Database;
use crate::error::{Away, Error, NotSignedIn, chain};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use lakebase_api::{Client, Limits, Origin, TokenSource, Workspace};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The header in which the platform forwards the access token of the person who asks.
const FORWARDED: &str = "x-forwarded-access-token";
/// How long the workspace may take to say who that is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom the workspace or the database sees.
#[derive(Debug, Serialize, ToSchema)]
struct CurrentUser {
    user_name: String,
}

/// The workspace that knows the people who ask; none unless the store is a deployed app.
#[derive(Debug, Clone)]
pub(crate) struct People(Option<Origin>);

impl People {
    pub(crate) fn of(workspace: Option<Origin>) -> Self {
        Self(workspace)
    }

    /// Returns whose token that is.
    async fn owner(origin: &Origin, token: &str) -> Result<String, Error> {
        let away = |error: lakebase_api::Error| match error {
            lakebase_api::Error::Unauthenticated { .. } | lakebase_api::Error::PermissionDenied { .. } => {
                Error::NotSignedIn
            }
            other => Error::Workspace(chain(&other)),
        };
        let source = TokenSource::Given("the person who asks".to_owned());
        let workspace = Workspace::with_token(origin.clone(), token.into(), source);
        let limits = Limits {
            deadline: PATIENCE,
            ..Limits::default()
        };
        let client = Client::with_limits(workspace, limits).map_err(away)?;
        Ok(client.me().await.map_err(away)?.user_name)
    }
}

/// The route of the current user.
pub(crate) fn router() -> OpenApiRouter<Database> {
    OpenApiRouter::new().routes(routes!(current_user))
}

/// The person who asks, in a deployed app; elsewhere the user of the credential.
#[utoipa::path(
    get,
    path = "/current-user",
    operation_id = "get_current_user",
    tag = "process",
    responses((status = 200, description = "The user", body = CurrentUser), NotSignedIn, Away),
)]
async fn current_user(
    State(database): State<Database>,
    Extension(People(workspace)): Extension<People>,
    headers: HeaderMap,
) -> Result<Json<CurrentUser>, Error> {
    let token = headers.get(FORWARDED).and_then(|token| token.to_str().ok());
    let user_name = match (workspace, token) {
        (Some(origin), Some(token)) => People::owner(&origin, token).await?,
        (Some(_) | None, _) => database.numbered_credential()?.0.user().to_owned(),
    };
    Ok(Json(CurrentUser { user_name }))
}
