//! `projects`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use lakebase_api::{Project, ProjectSpec};
use serde::Deserialize;
use serde_json::Value;

use super::Shared;
use super::answer::{self, Answer};
use super::request::{self, Asked, In, Resource, Sent};
use crate::control::Control;
use crate::identity::Caller;
use crate::model::page::PageRequest;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/projects", get(list).post(create))
        .route("/projects/{project}", get(one))
}

#[derive(Deserialize)]
struct Create {
    project_id: Option<String>,
}

async fn list(State(control): Shared, Asked(request): Asked<PageRequest>) -> Answer<Value> {
    Ok(answer::page("projects", control.projects(&request).await?))
}

async fn create(
    State(control): Shared,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<Create>,
    Sent(project): Sent<Resource<ProjectSpec>>,
) -> Answer<Value> {
    let id = query.project_id.as_deref();
    control.create_project(caller, id, project.spec).await.map(Json)
}

async fn one(State(control): Shared, In(id): In<String>) -> Answer<Project> {
    control.project(&request::project(&id)?).await.map(Json)
}
