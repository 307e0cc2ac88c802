//! The catalog's generation: a number that grows with each commit that changes a descriptor, and what was changed.

use std::collections::{BTreeMap, BTreeSet};

use lakebase_api::ProjectName;
use sqlx::SqliteConnection;

use super::descriptor::{Contents, Descriptor, Stamp};
use super::{Catalog, CatalogError, Write};
use crate::engine::BranchKey;
use crate::model::record::{BranchRecord, Phase};

/// The setting that tells this catalog from any other.
pub(super) const CATALOG_ID: &str = "catalog_id";

/// The setting that counts its states.
pub(super) const GENERATION: &str = "generation";

/// The branches that some writes change, by uid, and the projects all of whose branches they change.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changed<'a> {
    branches: BTreeSet<&'a str>,
    projects: BTreeSet<&'a str>,
}

impl<'a> Changed<'a> {
    fn by(writes: &'a [Write]) -> Self {
        let mut changed = Self::default();
        for write in writes {
            match write {
                Write::Project(project) => changed.projects.insert(project.name.as_str()),
                Write::Branch(branch) => changed.branches.insert(&branch.uid),
                Write::Endpoint(endpoint) => changed.branches.insert(&endpoint.branch_uid),
                Write::Role(role) | Write::RemoveRole(role) => changed.branches.insert(&role.branch_uid),
                Write::Database(database) | Write::RemoveDatabase(database) => {
                    changed.branches.insert(&database.branch_uid)
                }
                Write::Inherit { child_uid, .. } => changed.branches.insert(child_uid),
                Write::Operation(_) | Write::RemoveBranch(_) | Write::RemoveProject(_) => false,
            };
        }
        changed
    }
}

/// Raises the generation if the writes change a descriptor, and returns the descriptors as they are now.
pub(super) async fn raise(
    db: &mut SqliteConnection,
    key_id: &str,
    writes: &[Write],
) -> Result<Vec<Descriptor>, sqlx::Error> {
    let changed = Changed::by(writes);
    if changed == Changed::default() {
        return Ok(vec![]);
    }
    let sql = "UPDATE setting SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE key = ?";
    sqlx::query(sql).bind(GENERATION).execute(&mut *db).await?;
    let (stamp, generation) = stamp(db, key_id).await?;
    let mut uids: BTreeSet<String> = BTreeSet::new();
    for uid in changed.branches {
        let sql = "UPDATE branch SET generation = ? WHERE uid = ?";
        sqlx::query(sql)
            .bind(generation)
            .bind(uid)
            .execute(&mut *db)
            .await?;
        uids.insert(uid.to_owned());
    }
    for project in changed.projects {
        let sql = "UPDATE branch SET generation = ? WHERE project = ? RETURNING uid";
        let all = sqlx::query_scalar(sql).bind(generation).bind(project);
        uids.extend(all.fetch_all(&mut *db).await?);
    }
    let mut descriptors = Vec::with_capacity(uids.len());
    for uid in &uids {
        descriptors.extend(describe(db, uid, generation, &stamp).await?);
    }
    Ok(descriptors)
}

/// What descriptors say of this catalog, and its generation.
pub(super) async fn stamp(db: &mut SqliteConnection, key_id: &str) -> Result<(Stamp, i64), sqlx::Error> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT key, value FROM setting")
        .fetch_all(db)
        .await?;
    let mut settings: BTreeMap<_, _> = rows.into_iter().collect();
    let generation = settings.remove(GENERATION).and_then(|text| text.parse().ok());
    let stamp = Stamp {
        catalog_id: settings.remove(CATALOG_ID).unwrap_or_default(),
        key_id: key_id.to_owned(),
        settings,
    };
    Ok((stamp, generation.unwrap_or_default()))
}

/// The descriptor of a branch that was last changed in a generation; none for one that is still being made, whose directory
/// does not have its name yet.
pub(super) async fn describe(
    db: &mut SqliteConnection,
    uid: &str,
    generation: i64,
    stamp: &Stamp,
) -> Result<Option<Descriptor>, sqlx::Error> {
    let contents = contents(db, uid).await?;
    let finished = contents.filter(|contents| contents.branch.phase != Phase::Creating);
    Ok(finished.map(|contents| Descriptor::new(stamp, generation, contents)))
}

/// Everything that the catalog remembers of a branch.
pub(super) async fn contents(db: &mut SqliteConnection, uid: &str) -> Result<Option<Contents>, sqlx::Error> {
    let sql = "SELECT * FROM branch WHERE uid = ?";
    let branch: Option<BranchRecord> = sqlx::query_as(sql).bind(uid).fetch_optional(&mut *db).await?;
    let Some(branch) = branch else {
        return Ok(None);
    };
    let project = sqlx::query_as("SELECT * FROM project WHERE name = ?")
        .bind(branch.name.project().to_string())
        .fetch_one(&mut *db)
        .await?;
    let endpoints = sqlx::query_as("SELECT * FROM endpoint WHERE branch_uid = ? ORDER BY name")
        .bind(uid)
        .fetch_all(&mut *db)
        .await?;
    let roles = sqlx::query_as("SELECT * FROM role WHERE branch_uid = ? ORDER BY id")
        .bind(uid)
        .fetch_all(&mut *db)
        .await?;
    let databases = sqlx::query_as("SELECT * FROM pg_database WHERE branch_uid = ? ORDER BY id")
        .bind(uid)
        .fetch_all(&mut *db)
        .await?;
    Ok(Some(Contents {
        project,
        branch,
        endpoints,
        roles,
        databases,
    }))
}

/// Notes that the data of branches whose rows are about to go have to be removed.
pub(super) async fn note_removal(
    db: &mut SqliteConnection,
    column: Gone,
    value: &str,
) -> Result<(), sqlx::Error> {
    let sql = match column {
        Gone::Branch => "INSERT OR IGNORE INTO removal SELECT project, uid FROM branch WHERE uid = ?",
        Gone::Project => "INSERT OR IGNORE INTO removal SELECT project, uid FROM branch WHERE project = ?",
    };
    sqlx::query(sql).bind(value).execute(db).await.map(drop)
}

/// What is removed with its data.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gone {
    Branch,
    Project,
}

impl Catalog {
    /// Returns the branches whose rows are gone and whose data may still be there.
    pub(crate) async fn removals(&self) -> Result<Vec<BranchKey>, CatalogError> {
        let sql = "SELECT project, uid FROM removal";
        self.keys(sql).await
    }

    /// Forgets a removal whose data are gone.
    pub(crate) async fn forget_removal(&self, uid: &str) -> Result<(), CatalogError> {
        let sql = "DELETE FROM removal WHERE uid = ?";
        sqlx::query(sql).bind(uid).execute(&self.pool).await?;
        Ok(())
    }

    /// Returns the branches that were being made when the last run ended.
    pub(crate) async fn unfinished(&self) -> Result<Vec<BranchKey>, CatalogError> {
        let sql = "SELECT project, uid FROM branch WHERE phase = 'creating'";
        self.keys(sql).await
    }

    async fn keys(&self, sql: &'static str) -> Result<Vec<BranchKey>, CatalogError> {
        let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let keys = rows.into_iter().filter_map(|(project, uid)| {
            let project: ProjectName = project.parse().ok()?;
            let project = project.id().to_owned();
            Some(BranchKey { project, uid })
        });
        Ok(keys.collect())
    }

    /// Writes the descriptors that the disk does not have as they are here: after a process that ended too early, and for
    /// branches that are older than descriptors. `is_current` says whether the disk has one of a generation.
    pub(crate) async fn renew_descriptors(
        &self,
        is_current: impl Fn(&str, i64) -> bool,
    ) -> Result<(), CatalogError> {
        let sql = "SELECT uid, generation FROM branch WHERE phase <> 'creating'";
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let old = rows
            .into_iter()
            .filter(|(uid, generation)| !is_current(uid, *generation));
        self.write_descriptors(old.map(|(uid, _)| uid)).await
    }

    /// Writes the descriptors that could not be written before.
    pub(crate) async fn retry_descriptors(&self) -> Result<(), CatalogError> {
        self.write_descriptors(self.descriptors.unwritten()).await
    }

    async fn write_descriptors(&self, uids: impl IntoIterator<Item = String>) -> Result<(), CatalogError> {
        let uids: Vec<String> = uids.into_iter().collect();
        if uids.is_empty() {
            return Ok(());
        }
        let _turn = self.descriptors.turn.lock().await;
        let mut db = self.pool.acquire().await?;
        let (stamp, _) = stamp(&mut db, &self.descriptors.key_id).await?;
        let mut descriptors = vec![];
        for uid in &uids {
            let sql = "SELECT generation FROM branch WHERE uid = ?";
            let found: Option<i64> = sqlx::query_scalar(sql).bind(uid).fetch_optional(&mut *db).await?;
            match describe(&mut db, uid, found.unwrap_or_default(), &stamp).await? {
                Some(descriptor) => descriptors.push(descriptor),
                None => self.descriptors.forget(uid),
            }
        }
        drop(db);
        self.descriptors.write(descriptors).await;
        Ok(())
    }
}
