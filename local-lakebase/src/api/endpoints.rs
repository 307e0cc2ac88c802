//! `projects/{p}/branches/{b}/endpoints`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use lakebase_api::{Endpoint, EndpointSpec};
use serde::Deserialize;
use serde_json::Value;

use super::Shared;
use super::answer::{self, Answer};
use super::request::{self, Asked, In, Resource, Sent};
use crate::control::Control;
use crate::model::page::{PageRequest, page};

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route(
            "/projects/{project}/branches/{branch}/endpoints",
            get(list).post(create),
        )
        .route(
            "/projects/{project}/branches/{branch}/endpoints/{endpoint}",
            get(one).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    endpoint_id: Option<String>,
    #[serde(default)]
    replace_existing: bool,
}

#[derive(Deserialize)]
struct Update {
    update_mask: Option<String>,
}

type Path = (String, String, String);

async fn list(
    State(control): Shared,
    In((project, branch)): In<(String, String)>,
    Asked(request): Asked<PageRequest>,
) -> Answer<Value> {
    let endpoints = control.endpoints(&request::branch((&project, &branch))?).await?;
    let page = page(endpoints, &request, |endpoint| endpoint.name.as_str())?;
    Ok(answer::page("endpoints", page))
}

async fn create(
    State(control): Shared,
    In((project, branch)): In<(String, String)>,
    Asked(query): Asked<Create>,
    Sent(endpoint): Sent<Resource<EndpointSpec>>,
) -> Answer<Value> {
    let branch = request::branch((&project, &branch))?;
    let created = control.create_endpoint(branch, query.endpoint_id, endpoint.spec, query.replace_existing);
    created.await.map(Json)
}

async fn one(State(control): Shared, In((project, branch, id)): In<Path>) -> Answer<Endpoint> {
    let name = request::endpoint((&project, &branch, &id))?;
    control.endpoint(&name).await.map(Json)
}

async fn update(
    State(control): Shared,
    In((project, branch, id)): In<Path>,
    Asked(query): Asked<Update>,
    Sent(endpoint): Sent<Resource<EndpointSpec>>,
) -> Answer<Value> {
    let name = request::endpoint((&project, &branch, &id))?;
    control
        .update_endpoint(name, query.update_mask, endpoint.spec)
        .await
        .map(Json)
}

async fn delete(State(control): Shared, In((project, branch, id)): In<Path>) -> Answer<Value> {
    let name = request::endpoint((&project, &branch, &id))?;
    control.delete_endpoint(&name).await.map(Json)
}
