//! `projects/{p}/branches/{b}/roles`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use lakebase_api::{Role, RolePassword, RoleSpec};
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
            "/projects/{project}/branches/{branch}/roles",
            get(list).post(create),
        )
        .route(
            "/projects/{project}/branches/{branch}/roles/{role}",
            get(one).patch(update).delete(delete),
        )
        .route(
            "/projects/{project}/branches/{branch}/roles/{role}/password",
            post(password),
        )
}

#[derive(Deserialize)]
struct Create {
    role_id: Option<String>,
    #[serde(default)]
    replace_existing: bool,
}

#[derive(Deserialize)]
struct Update {
    update_mask: Option<String>,
}

#[derive(Deserialize)]
struct Delete {
    reassign_owned_to: Option<String>,
}

type Path = (String, String, String);

async fn list(
    State(control): Shared,
    In((project, branch)): In<(String, String)>,
    Asked(request): Asked<PageRequest>,
) -> Answer<Value> {
    let roles = control.roles(&request::branch((&project, &branch))?).await?;
    let page = page(roles, &request, |role| role.name.as_str())?;
    Ok(answer::page("roles", page))
}

async fn create(
    State(control): Shared,
    In((project, branch)): In<(String, String)>,
    Asked(query): Asked<Create>,
    Sent(role): Sent<Resource<RoleSpec>>,
) -> Answer<Value> {
    let branch = request::branch((&project, &branch))?;
    let created = control.create_role(branch, query.role_id, role.spec, query.replace_existing);
    created.await.map(Json)
}

async fn one(State(control): Shared, In((project, branch, id)): In<Path>) -> Answer<Role> {
    let name = request::role((&project, &branch, &id))?;
    control.role(&name).await.map(Json)
}

async fn update(
    State(control): Shared,
    In((project, branch, id)): In<Path>,
    Asked(query): Asked<Update>,
    Sent(role): Sent<Resource<RoleSpec>>,
) -> Answer<Value> {
    let name = request::role((&project, &branch, &id))?;
    let updated = control.update_role(name, query.update_mask, role.spec);
    updated.await.map(Json)
}

async fn delete(
    State(control): Shared,
    In((project, branch, id)): In<Path>,
    Asked(query): Asked<Delete>,
) -> Answer<Value> {
    let name = request::role((&project, &branch, &id))?;
    control.delete_role(name, query.reassign_owned_to).await.map(Json)
}

async fn password(State(control): Shared, In((project, branch, id)): In<Path>) -> Answer<RolePassword> {
    let name = request::role((&project, &branch, &id))?;
    control.role_password(&name).await.map(Json)
}
