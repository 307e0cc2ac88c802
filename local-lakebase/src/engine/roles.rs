//! What a branch has besides data: roles and databases. Each of these wakes its compute.

use super::{BranchKey, Engine, EngineError};
use crate::compute::sql;

/// What a role is to be in PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoleShape<'a> {
    /// Its name there.
    pub(crate) name: &'a str,
    /// Whether it may log in.
    pub(crate) can_log_in: bool,
    /// Whether it is a member of `databricks_superuser`.
    pub(crate) is_superuser_member: bool,
    /// What it may do itself.
    pub(crate) attributes: RoleAttributes,
}

/// What a role may do itself, members and memberships aside.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoleAttributes {
    pub(crate) createdb: bool,
    pub(crate) createrole: bool,
    pub(crate) bypassrls: bool,
}

impl Engine {
    /// Makes a role, or makes the one that is there what it should be.
    pub(crate) async fn shape_role(&self, key: &BranchKey, role: &RoleShape<'_>) -> Result<(), EngineError> {
        let session = self.connect(key).await?;
        sql::role::shape(&session.access, role).await
    }

    /// Removes a role; what it owns goes to the heir. Refused if it owns something and there is no heir.
    pub(crate) async fn remove_role(
        &self,
        key: &BranchKey,
        role: &str,
        heir: Option<&str>,
    ) -> Result<(), EngineError> {
        let session = self.connect(key).await?;
        sql::role::remove(&session.access, role, heir).await
    }

    /// Makes a database of this owner; false if one of the name is somebody else's.
    pub(crate) async fn create_database(
        &self,
        key: &BranchKey,
        database: &str,
        owner: &str,
    ) -> Result<bool, EngineError> {
        let session = self.connect(key).await?;
        sql::database::create(&session.access, database, owner).await
    }

    /// Gives a database another name and owner.
    pub(crate) async fn alter_database(
        &self,
        key: &BranchKey,
        before: &str,
        database: &str,
        owner: &str,
    ) -> Result<(), EngineError> {
        let session = self.connect(key).await?;
        sql::database::alter(&session.access, before, database, owner).await
    }

    /// Removes a database and the sessions that use it.
    pub(crate) async fn remove_database(&self, key: &BranchKey, database: &str) -> Result<(), EngineError> {
        let session = self.connect(key).await?;
        sql::database::remove(&session.access, database).await
    }
}
