//! The methods of roles, and the passwords that the service makes for them.
//!
//! PostgreSQL comes first and the row second. Each step asks PostgreSQL for a state and not for a change, so a request
//! that was cut short between the two is made good by the same request once more: its row is still as before.

use std::sync::Arc;

use lakebase_api::{AuthMethod, BranchName, EndpointName, Role, RoleName, RolePassword, RoleSpec};
use serde_json::Value;
use uuid::Uuid;

use super::{Control, key};
use crate::catalog::Write;
use crate::engine::{EngineError, RoleAttributes, RoleShape};
use crate::error::ApiError;
use crate::listener::NativeLogins;
use crate::model::database::Home;
use crate::model::record::{BranchRecord, PRIMARY, ProjectRecord, RoleRecord};
use crate::model::role::{self, Birth};
use crate::model::{database, mask, view};

impl Control {
    pub(crate) async fn roles(&self, branch: &BranchName) -> Result<Vec<Role>, ApiError> {
        let record = self.live_branch(branch).await?;
        let roles = self.catalog.roles(&record.uid).await?;
        roles.iter().map(|role| view::role(branch, role)).collect()
    }

    pub(crate) async fn role(&self, name: &RoleName) -> Result<Role, ApiError> {
        let (_, role) = self.role_record(name).await?;
        view::role(&name.branch(), &role)
    }

    async fn role_record(&self, name: &RoleName) -> Result<(BranchRecord, RoleRecord), ApiError> {
        let branch = self.live_branch(&name.branch()).await?;
        let roles = self.catalog.roles(&branch.uid).await?;
        let role = roles.into_iter().find(|role| role.id == name.id());
        Ok((branch, role.ok_or_else(|| ApiError::not_found("role"))?))
    }

    pub(crate) async fn create_role(
        self: &Arc<Self>,
        branch: BranchName,
        id: Option<String>,
        spec: RoleSpec,
        replace_existing: bool,
    ) -> Result<Value, ApiError> {
        let project = branch.project();
        let create = move |control: Arc<Self>| async move {
            let branch = control.live_branch(&branch).await?;
            let roles = control.catalog.roles(&branch.uid).await?;
            let birth = Birth {
                branch_uid: branch.uid.clone(),
                password_nonce: Uuid::new_v4().simple().to_string(),
                now: control.clock.now(),
            };
            let role = role::create(&roles, birth, id.as_deref(), &spec, replace_existing)?;
            control.save_role(&branch, role).await
        };
        self.change(project, create).await
    }

    pub(crate) async fn update_role(
        self: &Arc<Self>,
        name: RoleName,
        update_mask: Option<String>,
        spec: RoleSpec,
    ) -> Result<Value, ApiError> {
        let project = name.branch().project();
        let update = move |control: Arc<Self>| async move {
            let (branch, existing) = control.role_record(&name).await?;
            let mask = mask::parse(update_mask.as_deref(), role::MASK)?;
            let role = role::update(&existing, &spec, &mask, control.clock.now())?;
            control.save_role(&branch, role).await
        };
        self.change(project, update).await
    }

    async fn save_role(&self, branch: &BranchRecord, role: RoleRecord) -> Result<Value, ApiError> {
        let shaped = self.engine.shape_role(&key(branch), &shape(&role)).await;
        shaped.map_err(|error| refused("change the role", &error))?;
        let shown = view::role(&branch.name, &role)?;
        let (operation, answer) = self.done(shown.name.as_str(), "Role", &shown)?;
        self.catalog.commit(&[Write::Role(role), operation]).await?;
        self.hand_out_passwords(branch).await;
        Ok(answer)
    }

    pub(crate) async fn delete_role(
        self: &Arc<Self>,
        name: RoleName,
        reassign_owned_to: Option<String>,
    ) -> Result<Value, ApiError> {
        let project = name.branch().project();
        let delete = move |control: Arc<Self>| async move {
            control
                .delete_role_in_turn(&name, reassign_owned_to.as_deref())
                .await
        };
        self.change(project, delete).await
    }

    /// Databases that the role owned get their new owner with the row's end.
    async fn delete_role_in_turn(&self, name: &RoleName, heir: Option<&str>) -> Result<Value, ApiError> {
        let (branch, gone) = self.role_record(name).await?;
        let roles = self.catalog.roles(&branch.uid).await?;
        let databases = self.catalog.databases(&branch.uid).await?;
        let home = Home {
            branch: &branch.name,
            branch_uid: &branch.uid,
            roles: &roles,
            databases: &databases,
        };
        let heir = heir.filter(|heir| !heir.is_empty());
        let heir = heir
            .map(|heir| home.role(heir, "reassign_owned_to"))
            .transpose()?;
        role::delete(&gone, heir)?;
        let heir_name = heir.map(|heir| heir.postgres_role.as_str());
        let removed = self
            .engine
            .remove_role(&key(&branch), &gone.postgres_role, heir_name)
            .await;
        removed.map_err(|error| refused("delete the role", &error))?;
        let (operation, answer) = self.done(name.as_str(), "Role", &lakebase_api::Empty {})?;
        let inherited = databases.iter().filter(|database| database.role_id == gone.id);
        let mut writes: Vec<_> = inherited
            .zip(heir.into_iter().cycle())
            .map(|(database, heir)| Write::Database(database::owned_by(database, heir)))
            .collect();
        writes.extend([Write::RemoveRole(gone), operation]);
        self.catalog.commit(&writes).await?;
        self.hand_out_passwords(&branch).await;
        Ok(answer)
    }

    pub(crate) async fn role_password(&self, name: &RoleName) -> Result<RolePassword, ApiError> {
        let (_, role) = self.role_record(name).await?;
        let nonce = role.password_nonce.as_deref().ok_or_else(|| {
            ApiError::bad_request("only a role with auth_method PG_PASSWORD_SCRAM_SHA_256 has a password")
        })?;
        let password = self.signer.native_password(&role.postgres_role, nonce);
        let password = password.map_err(|error| ApiError::failed("make a password", &error))?;
        Ok(RolePassword { password })
    }

    /// Tells a branch's door which passwords open it. A door that was not told refuses them until it is.
    pub(super) async fn hand_out_passwords(&self, branch: &BranchRecord) {
        match self.native_logins(branch).await {
            Ok((endpoint, logins)) => self.listeners.set_native_logins(&endpoint, logins),
            Err(error) => {
                tracing::error!(branch = %branch.name, message = error.message, "its passwords are not known");
            }
        }
    }

    async fn native_logins(&self, branch: &BranchRecord) -> Result<(EndpointName, NativeLogins), ApiError> {
        let project = self.project_record(&branch.name.project()).await?;
        let mut passwords = Vec::new();
        for role in self.catalog.roles(&branch.uid).await? {
            if let Some(nonce) = &role.password_nonce {
                let password = self.signer.native_password(&role.postgres_role, nonce);
                let password = password.map_err(|error| ApiError::failed("make a password", &error))?;
                passwords.push((role.postgres_role, password));
            }
        }
        let endpoint = EndpointName::new(&branch.name, PRIMARY);
        let endpoint = endpoint.map_err(|error| ApiError::failed("name an endpoint", &error))?;
        Ok((
            endpoint,
            NativeLogins::new(project.enable_pg_native_login, passwords),
        ))
    }

    /// The roles and the database that a project's first branch is born with.
    pub(super) fn born(&self, project: &ProjectRecord, branch: &BranchRecord) -> Vec<Write> {
        let owner = self.identity.type_of(&project.owner);
        let roles = role::born(&branch.uid, &project.owner, owner, branch.create_time);
        let database = Write::Database(database::born(&branch.uid, branch.create_time));
        let roles = roles.into_iter().map(Write::Role);
        roles.chain([database]).collect()
    }

    /// Writes what a branch was born with if it is older than those rows.
    pub(super) async fn ensure_born(
        &self,
        project: &ProjectRecord,
        branch: &BranchRecord,
    ) -> Result<(), ApiError> {
        if self.catalog.roles(&branch.uid).await?.is_empty() {
            self.catalog.commit(&self.born(project, branch)).await?;
        }
        Ok(())
    }
}

fn shape(role: &RoleRecord) -> RoleShape<'_> {
    RoleShape {
        name: &role.postgres_role,
        can_log_in: role.auth_method != AuthMethod::NoLogin,
        is_superuser_member: role.is_superuser_member,
        attributes: RoleAttributes {
            createdb: role.attributes.createdb,
            createrole: role.attributes.createrole,
            bypassrls: role.attributes.bypassrls,
        },
    }
}

/// What PostgreSQL has against a request is the caller's affair; anything else is ours.
pub(super) fn refused(action: &str, error: &EngineError) -> ApiError {
    match error {
        EngineError::Refused(said) => ApiError::bad_request(said),
        EngineError::Busy(said) => ApiError::aborted(action, said),
        EngineError::TooMany { .. } => ApiError::aborted(action, &error.to_string()),
        _ => ApiError::failed(action, error),
    }
}
