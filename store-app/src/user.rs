//! Who the store is to the database: the user of the credential.

use crate::db::Database;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Whom the database sees.
#[derive(Debug, Serialize, ToSchema)]
struct CurrentUser {
    user_name: String,
}

/// The route of the current user.
pub(crate) fn router() -> OpenApiRouter<Database> {
    OpenApiRouter::new().routes(routes!(current_user))
}

/// The user of the credential.
#[utoipa::path(
    get,
    path = "/current-user",
    operation_id = "get_current_user",
    tag = "process",
    responses((status = 200, description = "The user", body = CurrentUser)),
)]
async fn current_user(State(database): State<Database>) -> Json<CurrentUser> {
    Json(CurrentUser {
        user_name: database.credential().user().to_owned(),
    })
}
