//! `projects/{p}/branches`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use lakebase_api::{Branch, BranchSpec};
use serde::Deserialize;
use serde_json::Value;

use super::Shared;
use super::answer::{self, Answer};
use super::request::{self, Asked, In, Resource, Sent};
use crate::control::Control;
use crate::model::page::PageRequest;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/projects/{project}/branches", get(list).post(create))
        .route(
            "/projects/{project}/branches/{branch}",
            get(one).patch(update).delete(delete),
        )
        .route("/projects/{project}/branches/{branch}/undelete", post(undelete))
}

#[derive(Deserialize)]
struct Create {
    branch_id: Option<String>,
    #[serde(default)]
    replace_existing: bool,
}

#[derive(Deserialize)]
struct Update {
    update_mask: Option<String>,
}

#[derive(Deserialize)]
struct Delete {
    #[serde(default)]
    purge: bool,
}

async fn list(
    State(control): Shared,
    In(project): In<String>,
    Asked(request): Asked<PageRequest>,
) -> Answer<Value> {
    let project = request::project(&project)?;
    Ok(answer::page(
        "branches",
        control.branches(&project, &request).await?,
    ))
}

async fn create(
    State(control): Shared,
    In(project): In<String>,
    Asked(query): Asked<Create>,
    Sent(branch): Sent<Resource<BranchSpec>>,
) -> Answer<Value> {
    let project = request::project(&project)?;
    let created = control.create_branch(project, query.branch_id, branch.spec, query.replace_existing);
    created.await.map(Json)
}

async fn one(State(control): Shared, In((project, id)): In<(String, String)>) -> Answer<Branch> {
    control.branch(&request::branch((&project, &id))?).await.map(Json)
}

async fn update(
    State(control): Shared,
    In((project, id)): In<(String, String)>,
    Asked(query): Asked<Update>,
    Sent(branch): Sent<Resource<BranchSpec>>,
) -> Answer<Value> {
    let name = request::branch((&project, &id))?;
    control
        .update_branch(name, query.update_mask, branch.spec)
        .await
        .map(Json)
}

async fn delete(
    State(control): Shared,
    In((project, id)): In<(String, String)>,
    Asked(query): Asked<Delete>,
) -> Answer<Value> {
    let name = request::branch((&project, &id))?;
    control.delete_branch(name, query.purge).await.map(Json)
}

async fn undelete(State(control): Shared, In((project, id)): In<(String, String)>) -> Answer<Value> {
    let name = request::branch((&project, &id))?;
    control.undelete_branch(name).await.map(Json)
}
