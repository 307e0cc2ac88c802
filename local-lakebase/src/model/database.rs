//! The rules of databases: what they are called and whose they are.

use chrono::{DateTime, Utc};
use lakebase_api::{BranchName, DatabaseSpec, RoleName};

use super::record::{DatabaseRecord, RoleRecord};
use super::role::{LONGEST_NAME, SUPERUSER_ID};
use super::{id, mask};
use crate::error::ApiError;

/// The fields of a database that a PATCH may name.
pub(crate) const MASK: &[&str] = &[NAME, ROLE];

const NAME: &str = "spec.postgres_database";
const ROLE: &str = "spec.role";

/// The name in PostgreSQL of the database that every branch has, and its id, where an underscore cannot stand.
pub(crate) const DEFAULT: &str = "databricks_postgres";
pub(crate) const DEFAULT_ID: &str = "databricks-postgres";

/// Databases of a branch.
const MOST: usize = 500;

/// Databases that every cluster has and nobody is shown.
const RESERVED: &[&str] = &["postgres", "template0", "template1"];

/// What a branch has: its name, its roles and its databases.
#[derive(Debug)]
pub(crate) struct Home<'a> {
    pub(crate) branch: &'a BranchName,
    pub(crate) branch_uid: &'a str,
    pub(crate) roles: &'a [RoleRecord],
    pub(crate) databases: &'a [DatabaseRecord],
}

/// The database that a project's first branch is born with.
pub(crate) fn born(branch_uid: &str, now: DateTime<Utc>) -> DatabaseRecord {
    DatabaseRecord {
        branch_uid: branch_uid.to_owned(),
        id: DEFAULT_ID.to_owned(),
        postgres_database: DEFAULT.to_owned(),
        role_id: SUPERUSER_ID.to_owned(),
        create_time: now,
        update_time: now,
    }
}

/// A database whose owner is gone, in the hands of the heir.
pub(crate) fn owned_by(database: &DatabaseRecord, heir: &RoleRecord) -> DatabaseRecord {
    DatabaseRecord {
        role_id: heir.id.clone(),
        ..database.clone()
    }
}

impl Home<'_> {
    /// Finds the role that a caller names, which must be of this branch.
    pub(crate) fn role(&self, name: &str, field: &str) -> Result<&RoleRecord, ApiError> {
        let wrong = || {
            ApiError::invalid(format!(
                "Field '{field}' must be the name of a role of branch '{}'",
                self.branch
            ))
        };
        let name: RoleName = name.parse().map_err(|_| wrong())?;
        if name.branch() != *self.branch {
            return Err(wrong());
        }
        let role = self.roles.iter().find(|role| role.id == name.id());
        role.ok_or_else(|| ApiError::not_found("role"))
    }

    /// Finds the role that owns a database.
    pub(crate) fn owner(&self, database: &DatabaseRecord) -> Result<&RoleRecord, ApiError> {
        let role = self.roles.iter().find(|role| role.id == database.role_id);
        role.ok_or_else(|| ApiError::not_found("role"))
    }

    fn check_name(&self, name: &str, id: &str) -> Result<(), ApiError> {
        if name.len() > LONGEST_NAME || name.contains('\0') {
            let text = "postgres_database must be a PostgreSQL identifier of at most 63 bytes";
            return Err(ApiError::invalid(text));
        }
        let taken = |other: &DatabaseRecord| other.id != id && other.postgres_database == name;
        if RESERVED.contains(&name) || self.databases.iter().any(taken) {
            return Err(already_exists());
        }
        Ok(())
    }
}

/// Decides what a request to create a database comes to: a new one, or the one that is there with what may change of it.
pub(crate) fn create(
    home: &Home<'_>,
    database_id: Option<&str>,
    spec: &DatabaseSpec,
    replace_existing: bool,
    now: DateTime<Utc>,
) -> Result<DatabaseRecord, ApiError> {
    let role = spec.role.as_deref().filter(|role| !role.is_empty());
    let role = role.ok_or_else(|| ApiError::required("database.spec.role"))?;
    let name = spec.postgres_database.as_deref().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::required("database.spec.postgres_database"))?;
    let owner = home.role(role, "database.spec.role")?;
    let is_taken = |id: &str| home.databases.iter().any(|database| database.id == id);
    let asked = database_id.filter(|id| !id.is_empty());
    let same = |it: &&DatabaseRecord| {
        it.postgres_database == name && asked.is_none_or(|id| id == it.id) && replace_existing
    };
    if let Some(existing) = home.databases.iter().find(same) {
        let role_id = owner.id.clone();
        return Ok(DatabaseRecord {
            role_id,
            update_time: now,
            ..existing.clone()
        });
    }
    let id = match asked {
        Some(id) if is_taken(id) => return Err(already_exists()),
        Some(id) => id::database(id)?,
        None => id::derive(name, "db", 4, is_taken),
    };
    home.check_name(name, &id)?;
    if home.databases.len() >= MOST {
        return Err(ApiError::bad_request("databases limit exceeded"));
    }
    Ok(DatabaseRecord {
        branch_uid: home.branch_uid.to_owned(),
        id,
        postgres_database: name.to_owned(),
        role_id: owner.id.clone(),
        create_time: now,
        update_time: now,
    })
}

/// Decides what a PATCH makes of a database.
pub(crate) fn update(
    home: &Home<'_>,
    existing: &DatabaseRecord,
    spec: &DatabaseSpec,
    mask: &[&str],
    now: DateTime<Utc>,
) -> Result<DatabaseRecord, ApiError> {
    let mut database = existing.clone();
    for path in mask {
        let field = match *path {
            NAME => &spec.postgres_database,
            _ => &spec.role,
        };
        let value = field.as_deref().unwrap_or_default();
        mask::populated(path, !value.is_empty())?;
        if *path == ROLE {
            database.role_id.clone_from(&home.role(value, ROLE)?.id);
        } else {
            home.check_name(value, &existing.id)?;
            value.clone_into(&mut database.postgres_database);
        }
    }
    if database.postgres_database != existing.postgres_database {
        check_not_default(existing, "renamed")?;
    }
    database.update_time = now;
    Ok(database)
}

/// Decides whether a database may be deleted.
pub(crate) fn delete(database: &DatabaseRecord) -> Result<(), ApiError> {
    check_not_default(database, "deleted")
}

/// Every client expects the default database, so it stays.
fn check_not_default(database: &DatabaseRecord, done: &str) -> Result<(), ApiError> {
    if database.postgres_database == DEFAULT {
        return Err(ApiError::bad_request(format!(
            "the default database \"{DEFAULT}\" cannot be {done}"
        )));
    }
    Ok(())
}

pub(crate) fn already_exists() -> ApiError {
    ApiError::bad_request("database with that name already exists")
}
