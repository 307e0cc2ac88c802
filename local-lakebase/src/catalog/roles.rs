//! The rows of roles and databases. They belong to a branch, go with it, and are copied when it is forked.

use sqlx::SqliteConnection;

use super::{Catalog, CatalogError};
use crate::model::record::{DatabaseRecord, RoleRecord};

impl Catalog {
    pub(crate) async fn roles(&self, branch_uid: &str) -> Result<Vec<RoleRecord>, CatalogError> {
        let sql = "SELECT * FROM role WHERE branch_uid = ? ORDER BY id";
        Ok(sqlx::query_as(sql).bind(branch_uid).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn databases(&self, branch_uid: &str) -> Result<Vec<DatabaseRecord>, CatalogError> {
        let sql = "SELECT * FROM pg_database WHERE branch_uid = ? ORDER BY id";
        Ok(sqlx::query_as(sql).bind(branch_uid).fetch_all(&self.pool).await?)
    }
}

/// Writes a role, or what can change of one that is there.
pub(super) async fn save_role(db: &mut SqliteConnection, role: &RoleRecord) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO role (branch_uid, id, postgres_role, identity_type, auth_method, is_superuser_member, \
               createdb, createrole, bypassrls, password_nonce, create_time, update_time) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
               ON CONFLICT (branch_uid, id) DO UPDATE SET is_superuser_member = excluded.is_superuser_member, \
               createdb = excluded.createdb, createrole = excluded.createrole, bypassrls = excluded.bypassrls, \
               update_time = excluded.update_time";
    let query = sqlx::query(sql)
        .bind(&role.branch_uid)
        .bind(&role.id)
        .bind(&role.postgres_role)
        .bind(role.identity_type.as_str())
        .bind(role.auth_method.as_str())
        .bind(role.is_superuser_member)
        .bind(role.attributes.createdb)
        .bind(role.attributes.createrole)
        .bind(role.attributes.bypassrls)
        .bind(&role.password_nonce)
        .bind(role.create_time)
        .bind(role.update_time);
    query.execute(db).await.map(drop)
}

/// Writes a database, or what can change of one that is there.
pub(super) async fn save_database(
    db: &mut SqliteConnection,
    database: &DatabaseRecord,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO pg_database (branch_uid, id, postgres_database, role_id, create_time, update_time) \
               VALUES (?, ?, ?, ?, ?, ?) \
               ON CONFLICT (branch_uid, id) DO UPDATE SET postgres_database = excluded.postgres_database, \
               role_id = excluded.role_id, update_time = excluded.update_time";
    let query = sqlx::query(sql)
        .bind(&database.branch_uid)
        .bind(&database.id)
        .bind(&database.postgres_database)
        .bind(&database.role_id)
        .bind(database.create_time)
        .bind(database.update_time);
    query.execute(db).await.map(drop)
}

pub(super) async fn remove_role(
    db: &mut SqliteConnection,
    branch_uid: &str,
    id: &str,
) -> Result<(), sqlx::Error> {
    let sql = "DELETE FROM role WHERE branch_uid = ? AND id = ?";
    let query = sqlx::query(sql).bind(branch_uid).bind(id);
    query.execute(db).await.map(drop)
}

pub(super) async fn remove_database(
    db: &mut SqliteConnection,
    branch_uid: &str,
    id: &str,
) -> Result<(), sqlx::Error> {
    let sql = "DELETE FROM pg_database WHERE branch_uid = ? AND id = ?";
    let query = sqlx::query(sql).bind(branch_uid).bind(id);
    query.execute(db).await.map(drop)
}

/// Gives a child all that its source has, as PostgreSQL's copy does.
pub(super) async fn inherit(
    db: &mut SqliteConnection,
    source_uid: &str,
    child_uid: &str,
    new_passwords: bool,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO role SELECT ?, id, postgres_role, identity_type, auth_method, is_superuser_member, \
               createdb, createrole, bypassrls, \
               CASE WHEN ? AND password_nonce IS NOT NULL THEN lower(hex(randomblob(16))) ELSE password_nonce END, \
               create_time, update_time FROM role WHERE branch_uid = ?";
    let query = sqlx::query(sql)
        .bind(child_uid)
        .bind(new_passwords)
        .bind(source_uid);
    query.execute(&mut *db).await?;
    let sql = "INSERT INTO pg_database SELECT ?, id, postgres_database, role_id, create_time, update_time \
               FROM pg_database WHERE branch_uid = ?";
    let query = sqlx::query(sql).bind(child_uid).bind(source_uid);
    query.execute(db).await.map(drop)
}
