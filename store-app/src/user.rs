//! Who the store is to the database: the user of the credential.

use crate::db::Database;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct CurrentUser {
    user_name: String,
}

/// The route of the current user.
pub(crate) fn router() -> Router<Database> {
    Router::new().route("/current-user", get(current_user))
}

async fn current_user(State(database): State<Database>) -> Json<CurrentUser> {
    Json(CurrentUser {
        user_name: database.credential().user().to_owned(),
    })
}
