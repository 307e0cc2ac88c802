//! `projects`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use lakebase_api::{BranchSpec, EndpointSpec, Project, ProjectSpec};
use serde::Deserialize;
use serde_json::Value;

use super::Shared;
use super::answer::{self, Answer};
use super::request::{self, Asked, In, Resource, Sent};
use crate::control::{Control, Wanted};
use crate::identity::Caller;
use crate::model::page::PageRequest;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/projects", get(list).post(create))
        .route("/projects/{project}", get(one).patch(update).delete(delete))
        .route("/projects/{project}/undelete", post(undelete))
}

/// The body of a create: besides the project, what its branch and endpoint are to be like.
#[derive(Default, Deserialize)]
struct NewProject {
    #[serde(default)]
    spec: ProjectSpec,
    #[serde(default)]
    initial_branch_spec: BranchSpec,
    #[serde(default)]
    initial_endpoint_spec: EndpointSpec,
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
    Sent(project): Sent<NewProject>,
) -> Answer<Value> {
    let wanted = Wanted {
        spec: project.spec,
        branch: project.initial_branch_spec,
        endpoint: project.initial_endpoint_spec,
    };
    let id = query.project_id.as_deref();
    control.create_project(caller, id, wanted).await.map(Json)
}

async fn update(
    State(control): Shared,
    In(id): In<String>,
    Asked(query): Asked<Update>,
    Sent(project): Sent<Resource<ProjectSpec>>,
) -> Answer<Value> {
    let name = request::project(&id)?;
    control
        .update_project(name, query.update_mask, project.spec)
        .await
        .map(Json)
}

async fn delete(State(control): Shared, In(id): In<String>, Asked(query): Asked<Delete>) -> Answer<Value> {
    control
        .delete_project(request::project(&id)?, query.purge)
        .await
        .map(Json)
}

async fn undelete(State(control): Shared, In(id): In<String>) -> Answer<Value> {
    control.undelete_project(request::project(&id)?).await.map(Json)
}

async fn one(State(control): Shared, In(id): In<String>) -> Answer<Project> {
    control.project(&request::project(&id)?).await.map(Json)
}
