//! `projects/{p}/branches/{b}/databases`: the one database every branch has. Others are made with SQL.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use lakebase_api::Database;
use serde_json::Value;

use super::Shared;
use super::answer::{self, Answer};
use super::request::{self, Asked, In};
use crate::control::Control;
use crate::model::page::{PageRequest, page};

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/projects/{project}/branches/{branch}/databases", get(list))
        .route(
            "/projects/{project}/branches/{branch}/databases/{database}",
            get(one),
        )
}

async fn list(
    State(control): Shared,
    In((project, branch)): In<(String, String)>,
    Asked(request): Asked<PageRequest>,
) -> Answer<Value> {
    let databases = control.databases(&request::branch((&project, &branch))?).await?;
    let page = page(databases, &request, |database| database.name.as_str())?;
    Ok(answer::page("databases", page))
}

async fn one(
    State(control): Shared,
    In((project, branch, id)): In<(String, String, String)>,
) -> Answer<Database> {
    let name = request::database((&project, &branch, &id))?;
    control.database(&name).await.map(Json)
}
