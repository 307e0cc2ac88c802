//! What survives a restart: the only user of SQL here. It keeps no secret and no rule; what may be written is decided
//! before it gets here. What concerns one branch is also written beside its data, by `commit` alone.

mod descriptor;
mod generation;
mod inspect;
mod rebuild;
mod roles;

#[cfg(test)]
pub(crate) use self::descriptor::tests::descriptor;
pub(crate) use self::descriptor::{Contents, Described, Descriptor, Stamp};
pub(crate) use self::inspect::{Found, Remembered, Row, Rows, files, inspect, remembered};
pub(crate) use self::rebuild::{Wanted, build};

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lakebase_api::{BranchName, EndpointName, ProjectName};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};

use self::descriptor::Descriptors;
use self::generation::Gone;
use crate::model::record::{BranchRecord, DatabaseRecord, EndpointRecord, ProjectRecord, RoleRecord};
use crate::private_file;

/// The catalog's file in a data directory.
pub(crate) const CATALOG: &str = "catalog.db";

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Says that the catalog cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the catalog")]
pub enum CatalogError {
    /// The database refused.
    Database(#[from] sqlx::Error),
    /// Its schema could not be brought up to date.
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// One thing to write. Several are written together or not at all.
#[derive(Debug)]
pub(crate) enum Write {
    Project(ProjectRecord),
    Branch(BranchRecord),
    Endpoint(EndpointRecord),
    Role(RoleRecord),
    Database(DatabaseRecord),
    Operation(OperationRow),
    /// Gives a child the roles and databases of its source.
    Inherit {
        source_uid: String,
        child_uid: String,
        new_passwords: bool,
    },
    /// Forgets a branch and all in it.
    RemoveBranch(String),
    RemoveRole(RoleRecord),
    RemoveDatabase(DatabaseRecord),
    /// Forgets a project and all in it.
    RemoveProject(ProjectName),
}

/// A finished operation, as it is answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OperationRow {
    pub(crate) name: String,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) body: String,
}

/// The catalog. Clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pool: SqlitePool,
    descriptors: Arc<Descriptors>,
}

impl Catalog {
    /// Opens the catalog in this file, and makes it if there is none. The data directories are in `projects` beside it;
    /// `key_id` names the key that passwords are made with.
    pub(crate) async fn open(file: &Path, key_id: &str) -> Result<Self, CatalogError> {
        private(file).map_err(sqlx::Error::Io)?;
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options(file).journal_mode(SqliteJournalMode::Wal))
            .await?;
        MIGRATIONS.run(&pool).await?;
        let root = file.parent().unwrap_or(Path::new("."));
        let descriptors = Descriptors::new(root.to_owned(), key_id.to_owned());
        Ok(Self { pool, descriptors })
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn projects(&self) -> Result<Vec<ProjectRecord>, CatalogError> {
        let sql = "SELECT * FROM project";
        Ok(sqlx::query_as(sql).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn project(&self, name: &ProjectName) -> Result<Option<ProjectRecord>, CatalogError> {
        let sql = "SELECT * FROM project WHERE name = ?";
        Ok(sqlx::query_as(sql)
            .bind(name.as_str())
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Returns every branch of a project, whatever its phase.
    pub(crate) async fn branches(&self, project: &ProjectName) -> Result<Vec<BranchRecord>, CatalogError> {
        let sql = "SELECT * FROM branch WHERE project = ? ORDER BY name";
        Ok(sqlx::query_as(sql)
            .bind(project.as_str())
            .fetch_all(&self.pool)
            .await?)
    }

    pub(crate) async fn branch(&self, name: &BranchName) -> Result<Option<BranchRecord>, CatalogError> {
        let sql = "SELECT * FROM branch WHERE name = ?";
        Ok(sqlx::query_as(sql)
            .bind(name.as_str())
            .fetch_optional(&self.pool)
            .await?)
    }

    pub(crate) async fn endpoints(&self, branch_uid: &str) -> Result<Vec<EndpointRecord>, CatalogError> {
        let sql = "SELECT * FROM endpoint WHERE branch_uid = ? ORDER BY name";
        Ok(sqlx::query_as(sql).bind(branch_uid).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn endpoint(&self, name: &EndpointName) -> Result<Option<EndpointRecord>, CatalogError> {
        let sql = "SELECT * FROM endpoint WHERE name = ?";
        Ok(sqlx::query_as(sql)
            .bind(name.as_str())
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Returns an operation's answer.
    pub(crate) async fn operation(&self, name: &str) -> Result<Option<String>, CatalogError> {
        let sql = "SELECT body FROM operation WHERE name = ?";
        Ok(sqlx::query_scalar(sql)
            .bind(name)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Forgets operations older than that.
    pub(crate) async fn forget_operations(&self, before: DateTime<Utc>) -> Result<(), CatalogError> {
        let sql = "DELETE FROM operation WHERE unixepoch(create_time) < ?";
        sqlx::query(sql)
            .bind(before.timestamp())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets the branches that were being made when the last run ended, once their data are removed.
    pub(crate) async fn forget_unfinished(&self) -> Result<(), CatalogError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let sql = "DELETE FROM branch WHERE phase = 'creating'";
        sqlx::query(sql).execute(&mut *transaction).await?;
        let sql = "DELETE FROM project WHERE name NOT IN (SELECT project FROM branch)";
        sqlx::query(sql).execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn setting(&self, key: &str) -> Result<Option<String>, CatalogError> {
        let sql = "SELECT value FROM setting WHERE key = ?";
        Ok(sqlx::query_scalar(sql)
            .bind(key)
            .fetch_optional(&self.pool)
            .await?)
    }

    pub(crate) async fn set(&self, key: &str, value: &str) -> Result<(), CatalogError> {
        let sql = "INSERT INTO setting VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        sqlx::query(sql).bind(key).bind(value).execute(&self.pool).await?;
        Ok(())
    }

    /// Writes all of these or nothing, and then the descriptors of the branches that they change.
    pub(crate) async fn commit(&self, writes: &[Write]) -> Result<(), CatalogError> {
        let _turn = self.descriptors.turn.lock().await;
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for write in writes {
            save(&mut transaction, write).await?;
        }
        let changed = generation::raise(&mut transaction, &self.descriptors.key_id, writes).await?;
        transaction.commit().await?;
        self.descriptors.write(changed).await;
        Ok(())
    }
}

/// How the catalog is opened, whatever for.
fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
}

async fn save(db: &mut SqliteConnection, write: &Write) -> Result<(), sqlx::Error> {
    match write {
        Write::Project(project) => save_project(db, project).await,
        Write::Branch(branch) => save_branch(db, branch).await,
        Write::Endpoint(endpoint) => save_endpoint(db, endpoint).await,
        Write::Role(role) => roles::save_role(db, role).await,
        Write::Database(database) => roles::save_database(db, database).await,
        Write::Operation(operation) => save_operation(db, operation).await,
        Write::Inherit {
            source_uid,
            child_uid,
            new_passwords,
        } => roles::inherit(db, source_uid, child_uid, *new_passwords).await,
        Write::RemoveBranch(uid) => {
            generation::note_removal(db, Gone::Branch, uid).await?;
            let sql = "DELETE FROM branch WHERE uid = ?";
            sqlx::query(sql).bind(uid).execute(db).await.map(drop)
        }
        Write::RemoveProject(name) => {
            generation::note_removal(db, Gone::Project, name.as_str()).await?;
            let sql = "DELETE FROM project WHERE name = ?";
            sqlx::query(sql).bind(name.as_str()).execute(db).await.map(drop)
        }
        Write::RemoveRole(role) => roles::remove_role(db, &role.branch_uid, &role.id).await,
        Write::RemoveDatabase(database) => {
            roles::remove_database(db, &database.branch_uid, &database.id).await
        }
    }
}

/// Makes the file before SQLite does, so that only its owner reads it; SQLite's other files take after it.
fn private(file: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(private_file::SECRET);
    options.open(file).map(drop)
}

/// Writes a project, or what can change of one that is there.
async fn save_project(db: &mut SqliteConnection, project: &ProjectRecord) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO project (name, uid, display_name, owner, pg_version, default_branch, \
               retention_seconds, suspend_seconds, min_cu, max_cu, create_time, update_time, enable_pg_native_login, \
               custom_tags, budget_policy_id, delete_time, purge_time) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
               ON CONFLICT (name) DO UPDATE SET display_name = excluded.display_name, \
               default_branch = excluded.default_branch, retention_seconds = excluded.retention_seconds, \
               suspend_seconds = excluded.suspend_seconds, min_cu = excluded.min_cu, max_cu = excluded.max_cu, \
               update_time = excluded.update_time, enable_pg_native_login = excluded.enable_pg_native_login, \
               custom_tags = excluded.custom_tags, budget_policy_id = excluded.budget_policy_id, \
               delete_time = excluded.delete_time, purge_time = excluded.purge_time";
    let query = sqlx::query(sql)
        .bind(project.name.as_str())
        .bind(&project.uid)
        .bind(&project.display_name)
        .bind(&project.owner)
        .bind(project.pg_version)
        .bind(project.default_branch.as_str())
        .bind(project.retention_seconds)
        .bind(project.suspend_seconds)
        .bind(project.min_cu)
        .bind(project.max_cu)
        .bind(project.create_time)
        .bind(project.update_time)
        .bind(project.enable_pg_native_login)
        .bind(&project.custom_tags)
        .bind(&project.budget_policy_id)
        .bind(project.delete_time)
        .bind(project.purge_time);
    query.execute(db).await.map(drop)
}

/// Writes a branch, or what can change of one that is there.
async fn save_branch(db: &mut SqliteConnection, branch: &BranchRecord) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO branch (uid, name, project, phase, source_uid, source_name, source_lsn, source_time, \
               is_protected, expire_time, create_time, update_time, state_change_time, delete_time, purge_time) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
               ON CONFLICT (uid) DO UPDATE SET phase = excluded.phase, source_lsn = excluded.source_lsn, \
               source_time = excluded.source_time, is_protected = excluded.is_protected, \
               expire_time = excluded.expire_time, update_time = excluded.update_time, \
               state_change_time = excluded.state_change_time, delete_time = excluded.delete_time, \
               purge_time = excluded.purge_time";
    let query = sqlx::query(sql)
        .bind(&branch.uid)
        .bind(branch.name.as_str())
        .bind(branch.name.project().to_string())
        .bind(branch.phase)
        .bind(&branch.source_uid)
        .bind(&branch.source_name)
        .bind(&branch.source_lsn)
        .bind(branch.source_time)
        .bind(branch.is_protected)
        .bind(branch.expire_time)
        .bind(branch.create_time)
        .bind(branch.update_time)
        .bind(branch.state_change_time)
        .bind(branch.delete_time)
        .bind(branch.purge_time);
    query.execute(db).await.map(drop)
}

/// Writes an endpoint, or what can change of one that is there.
async fn save_endpoint(db: &mut SqliteConnection, endpoint: &EndpointRecord) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO endpoint (uid, name, branch_uid, address, disabled, suspend_seconds, min_cu, max_cu, \
               create_time, update_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
               ON CONFLICT (uid) DO UPDATE SET address = excluded.address, disabled = excluded.disabled, \
               suspend_seconds = excluded.suspend_seconds, min_cu = excluded.min_cu, max_cu = excluded.max_cu, \
               update_time = excluded.update_time";
    let query = sqlx::query(sql)
        .bind(&endpoint.uid)
        .bind(endpoint.name.as_str())
        .bind(&endpoint.branch_uid)
        .bind(&endpoint.address)
        .bind(endpoint.disabled)
        .bind(endpoint.suspend_seconds)
        .bind(endpoint.min_cu)
        .bind(endpoint.max_cu)
        .bind(endpoint.create_time)
        .bind(endpoint.update_time);
    query.execute(db).await.map(drop)
}

async fn save_operation(db: &mut SqliteConnection, operation: &OperationRow) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO operation VALUES (?, ?, ?)";
    let query = sqlx::query(sql)
        .bind(&operation.name)
        .bind(operation.create_time)
        .bind(&operation.body);
    query.execute(db).await.map(drop)
}

#[cfg(test)]
pub(crate) mod tests;
