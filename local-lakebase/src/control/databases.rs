//! The methods of databases. PostgreSQL comes first and the row second, as with roles.

use std::sync::Arc;

use lakebase_api::{BranchName, Database, DatabaseName, DatabaseSpec, Empty};
use serde_json::Value;

use super::roles::refused;
use super::{Control, key};
use crate::catalog::Write;
use crate::error::ApiError;
use crate::model::database::{self, Home};
use crate::model::record::{BranchRecord, DatabaseRecord, RoleRecord};
use crate::model::{mask, view};

/// A branch with its roles and databases.
struct Household {
    branch: BranchRecord,
    roles: Vec<RoleRecord>,
    databases: Vec<DatabaseRecord>,
}

impl Household {
    fn home(&self) -> Home<'_> {
        Home {
            branch: &self.branch.name,
            branch_uid: &self.branch.uid,
            roles: &self.roles,
            databases: &self.databases,
        }
    }

    fn database(&self, id: &str) -> Result<&DatabaseRecord, ApiError> {
        let database = self.databases.iter().find(|database| database.id == id);
        database.ok_or_else(|| ApiError::not_found("database"))
    }
}

impl Control {
    async fn household(&self, branch: &BranchName) -> Result<Household, ApiError> {
        let branch = self.live_branch(branch).await?;
        Ok(Household {
            roles: self.catalog.roles(&branch.uid).await?,
            databases: self.catalog.databases(&branch.uid).await?,
            branch,
        })
    }

    pub(crate) async fn databases(&self, branch: &BranchName) -> Result<Vec<Database>, ApiError> {
        let databases = self.household(branch).await?.databases;
        let shown = databases.iter().map(|database| view::database(branch, database));
        shown.collect()
    }

    pub(crate) async fn database(&self, name: &DatabaseName) -> Result<Database, ApiError> {
        let household = self.household(&name.branch()).await?;
        view::database(&name.branch(), household.database(name.id())?)
    }

    pub(crate) async fn create_database(
        self: &Arc<Self>,
        branch: BranchName,
        id: Option<String>,
        spec: DatabaseSpec,
        replace_existing: bool,
    ) -> Result<Value, ApiError> {
        let project = branch.project();
        let create = move |control: Arc<Self>| async move {
            let household = control.household(&branch).await?;
            let (home, now) = (household.home(), control.clock.now());
            let database = database::create(&home, id.as_deref(), &spec, replace_existing, now)?;
            match household.database(&database.id) {
                Ok(existing) => control.alter_database(&home, existing, database.clone()).await,
                Err(_) => control.make_database(&home, database).await,
            }
        };
        self.change(project, create).await
    }

    async fn make_database(&self, home: &Home<'_>, database: DatabaseRecord) -> Result<Value, ApiError> {
        let branch = self.live_branch(home.branch).await?;
        let (name, owner) = (&database.postgres_database, &home.owner(&database)?.postgres_role);
        let made = self.engine.create_database(&key(&branch), name, owner).await;
        if !made.map_err(|error| refused("create the database", &error))? {
            return Err(database::already_exists());
        }
        self.save_database(&branch, database).await
    }

    pub(crate) async fn update_database(
        self: &Arc<Self>,
        name: DatabaseName,
        update_mask: Option<String>,
        spec: DatabaseSpec,
    ) -> Result<Value, ApiError> {
        let project = name.branch().project();
        let update = move |control: Arc<Self>| async move {
            let household = control.household(&name.branch()).await?;
            let (home, existing) = (household.home(), household.database(name.id())?);
            let mask = mask::parse(update_mask.as_deref(), database::MASK)?;
            let database = database::update(&home, existing, &spec, &mask, control.clock.now())?;
            control.alter_database(&home, existing, database).await
        };
        self.change(project, update).await
    }

    async fn alter_database(
        &self,
        home: &Home<'_>,
        existing: &DatabaseRecord,
        database: DatabaseRecord,
    ) -> Result<Value, ApiError> {
        let branch = self.live_branch(home.branch).await?;
        let owner = &home.owner(&database)?.postgres_role;
        let (before, name) = (&existing.postgres_database, &database.postgres_database);
        let altered = self
            .engine
            .alter_database(&key(&branch), before, name, owner)
            .await;
        altered.map_err(|error| refused("change the database", &error))?;
        self.save_database(&branch, database).await
    }

    async fn save_database(
        &self,
        branch: &BranchRecord,
        database: DatabaseRecord,
    ) -> Result<Value, ApiError> {
        let shown = view::database(&branch.name, &database)?;
        let (operation, answer) = self.done(shown.name.as_str(), "Database", &shown)?;
        self.catalog
            .commit(&[Write::Database(database), operation])
            .await?;
        Ok(answer)
    }

    pub(crate) async fn delete_database(self: &Arc<Self>, name: DatabaseName) -> Result<Value, ApiError> {
        let project = name.branch().project();
        let delete = move |control: Arc<Self>| async move {
            let household = control.household(&name.branch()).await?;
            let database = household.database(name.id())?.clone();
            database::delete(&database)?;
            let branch = key(&household.branch);
            let removed = control
                .engine
                .remove_database(&branch, &database.postgres_database);
            removed
                .await
                .map_err(|error| refused("delete the database", &error))?;
            let (operation, answer) = control.done(name.as_str(), "Database", &Empty {})?;
            let writes = [Write::RemoveDatabase(database), operation];
            control.catalog.commit(&writes).await?;
            Ok(answer)
        };
        self.change(project, delete).await
    }
}
