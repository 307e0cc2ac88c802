//! `projects/{p}/branches/{b}/databases`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use lakebase_api::{Database, DatabaseSpec};
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
            "/projects/{project}/branches/{branch}/databases",
            get(list).post(create),
        )
        .route(
            "/projects/{project}/branches/{branch}/databases/{database}",
            get(one).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    database_id: Option<String>,
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
    let databases = control.databases(&request::branch((&project, &branch))?).await?;
    let page = page(databases, &request, |database| database.name.as_str())?;
    Ok(answer::page("databases", page))
}

async fn create(
    State(control): Shared,
    In((project, branch)): In<(String, String)>,
    Asked(query): Asked<Create>,
    Sent(database): Sent<Resource<DatabaseSpec>>,
) -> Answer<Value> {
    let branch = request::branch((&project, &branch))?;
    let created = control.create_database(branch, query.database_id, database.spec, query.replace_existing);
    created.await.map(Json)
}

async fn one(State(control): Shared, In((project, branch, id)): In<Path>) -> Answer<Database> {
    let name = request::database((&project, &branch, &id))?;
    control.database(&name).await.map(Json)
}

async fn update(
    State(control): Shared,
    In((project, branch, id)): In<Path>,
    Asked(query): Asked<Update>,
    Sent(database): Sent<Resource<DatabaseSpec>>,
) -> Answer<Value> {
    let name = request::database((&project, &branch, &id))?;
    let updated = control.update_database(name, query.update_mask, database.spec);
    updated.await.map(Json)
}

async fn delete(State(control): Shared, In((project, branch, id)): In<Path>) -> Answer<Value> {
    let name = request::database((&project, &branch, &id))?;
    control.delete_database(name).await.map(Json)
}
