//! `{resource}/operations/{id}`: what came of a change, also when its resource is gone.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use super::Shared;
use super::answer::Answer;
use super::request::In;
use crate::control::Control;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/projects/{project}/operations/{operation}", get(of_project))
        .route(
            "/projects/{project}/branches/{branch}/operations/{operation}",
            get(of_branch),
        )
        .route(
            "/projects/{project}/branches/{branch}/endpoints/{endpoint}/operations/{operation}",
            get(of_endpoint),
        )
        .route(
            "/projects/{project}/branches/{branch}/roles/{role}/operations/{operation}",
            get(of_role),
        )
        .route(
            "/projects/{project}/branches/{branch}/databases/{database}/operations/{operation}",
            get(of_database),
        )
}

async fn of_project(State(control): Shared, In((project, id)): In<(String, String)>) -> Answer<Value> {
    let name = format!("projects/{project}/operations/{id}");
    control.operation(&name).await.map(Json)
}

async fn of_branch(
    State(control): Shared,
    In((project, branch, id)): In<(String, String, String)>,
) -> Answer<Value> {
    let name = format!("projects/{project}/branches/{branch}/operations/{id}");
    control.operation(&name).await.map(Json)
}

async fn of_endpoint(
    State(control): Shared,
    In((project, branch, endpoint, id)): In<(String, String, String, String)>,
) -> Answer<Value> {
    let name = format!("projects/{project}/branches/{branch}/endpoints/{endpoint}/operations/{id}");
    control.operation(&name).await.map(Json)
}

async fn of_role(
    State(control): Shared,
    In((project, branch, role, id)): In<(String, String, String, String)>,
) -> Answer<Value> {
    let name = format!("projects/{project}/branches/{branch}/roles/{role}/operations/{id}");
    control.operation(&name).await.map(Json)
}

async fn of_database(
    State(control): Shared,
    In((project, branch, database, id)): In<(String, String, String, String)>,
) -> Answer<Value> {
    let name = format!("projects/{project}/branches/{branch}/databases/{database}/operations/{id}");
    control.operation(&name).await.map(Json)
}
