//! Reads a catalog that may be lost, broken or of another time, and changes nothing about it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lakebase_api::ProjectName;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::descriptor::Contents;
use super::generation::{self, CATALOG_ID, GENERATION};
use super::{CATALOG, Catalog, CatalogError, MIGRATIONS, OperationRow, options};
use crate::engine::BranchKey;
use crate::model::record::Phase;

/// What there is in the place of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Missing,
    /// A file of no bytes.
    Empty,
    /// The text is the reason.
    Unreadable(String),
    /// A newer version of this program wrote it.
    Newer,
    Readable(Rows),
}

/// What a start has to know of a catalog before it trusts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// None in a catalog from before there were descriptors.
    pub(crate) id: Option<String>,
    pub(crate) generation: i64,
    pub(crate) branches: Vec<Row>,
    /// Branches whose data are being removed.
    pub(crate) removals: Vec<BranchKey>,
}

/// A branch of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: BranchKey,
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) generation: i64,
}

/// All that a catalog remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Remembered {
    /// Each branch, with the generation in which it was last changed.
    pub(crate) branches: Vec<(i64, Contents)>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) operations: Vec<OperationRow>,
}

/// Looks at the catalog in a data directory.
pub(crate) async fn inspect(root: &Path) -> Found {
    let file = root.join(CATALOG);
    match fs::metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&file).is_err() => {
            return Found::Missing;
        }
        Err(error) => return Found::Unreadable(error.to_string()),
        Ok(meta) if !meta.is_file() => return Found::Unreadable("it is not a file".to_owned()),
        // SQLite would take a log beside an empty file for an old one, and delete it.
        Ok(meta) if meta.len() == 0 => return Found::Empty,
        Ok(_) => {}
    }
    read(&file)
        .await
        .unwrap_or_else(|error| Found::Unreadable(reason(&error)))
}

async fn read(file: &Path) -> Result<Found, sqlx::Error> {
    let mut db = options(file)
        .create_if_missing(false)
        .read_only(true)
        .connect()
        .await?;
    let checked: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut db)
        .await?;
    let found = match checked.lines().last() {
        Some("ok") => rows(&mut db).await,
        // A heading may come first.
        Some(reason) => Ok(Found::Unreadable(reason.to_owned())),
        None => Ok(Found::Unreadable("it was not checked".to_owned())),
    };
    db.close().await?;
    found
}

async fn rows(db: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *db)
        .await?;
    if !tables.iter().any(|table| table == "branch") {
        // Made, and ended before it was filled.
        let is_new = tables
            .iter()
            .all(|table| table.starts_with("_sqlx") || table.starts_with("sqlite_"));
        let other = || Found::Unreadable("it is another program's database".to_owned());
        return Ok(if is_new {
            Found::Readable(Rows::default())
        } else {
            other()
        });
    }
    let version: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(&mut *db)
        .await?;
    if MIGRATIONS.iter().all(|migration| migration.version < version) {
        return Ok(Found::Newer);
    }
    // Before descriptors there was no generation.
    let has_generation = tables.iter().any(|table| table == "removal");
    let sql = if has_generation {
        "SELECT project, uid, name, phase, generation FROM branch"
    } else {
        "SELECT project, uid, name, phase, 0 FROM branch"
    };
    let branches: Vec<(String, String, String, Phase, i64)> = sqlx::query_as(sql).fetch_all(&mut *db).await?;
    let mut removals: Vec<(String, String)> = vec![];
    if has_generation {
        let sql = "SELECT project, uid FROM removal";
        removals = sqlx::query_as(sql).fetch_all(&mut *db).await?;
    }
    let row = |(project, uid, name, phase, generation): (String, String, _, _, _)| {
        let key = key(&project, uid)?;
        Some(Row {
            key,
            name,
            phase,
            generation,
        })
    };
    let generation = setting(db, GENERATION).await?;
    Ok(Found::Readable(Rows {
        id: setting(db, CATALOG_ID).await?,
        generation: generation.and_then(|text| text.parse().ok()).unwrap_or_default(),
        branches: branches.into_iter().filter_map(row).collect(),
        removals: removals
            .into_iter()
            .filter_map(|(project, uid)| key(&project, uid))
            .collect(),
    }))
}

async fn setting(db: &mut SqliteConnection, key: &str) -> Result<Option<String>, sqlx::Error> {
    let sql = "SELECT value FROM setting WHERE key = ?";
    sqlx::query_scalar(sql).bind(key).fetch_optional(db).await
}

fn key(project: &str, uid: String) -> Option<BranchKey> {
    let project: ProjectName = project.parse().ok()?;
    let project = project.id().to_owned();
    Some(BranchKey { project, uid })
}

fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
}

/// Reads all that a readable catalog remembers. A copy is read, because one of an older version has to be migrated first.
pub(crate) async fn remembered(root: &Path) -> Result<Remembered, CatalogError> {
    let (scratch, file) = copy(root).map_err(sqlx::Error::Io)?;
    let catalog = Catalog::open(&file, "").await?;
    let read = catalog.remembered().await;
    catalog.close().await;
    drop(scratch);
    read
}

/// Copies the catalog with its log, which may hold the last commits.
fn copy(root: &Path) -> io::Result<(tempfile::TempDir, PathBuf)> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join(CATALOG);
    for name in [CATALOG.to_owned(), format!("{CATALOG}-wal")] {
        match fs::copy(root.join(&name), scratch.path().join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok((scratch, file))
}

impl Catalog {
    async fn remembered(&self) -> Result<Remembered, CatalogError> {
        let mut db = self.pool.acquire().await?;
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT uid, generation FROM branch ORDER BY name")
            .fetch_all(&mut *db)
            .await?;
        let mut branches = vec![];
        for (uid, generation) in rows {
            let contents = generation::contents(&mut db, &uid).await?;
            branches.extend(contents.map(|contents| (generation, contents)));
        }
        let operations: Vec<(String, chrono::DateTime<chrono::Utc>, String)> =
            sqlx::query_as("SELECT name, create_time, body FROM operation")
                .fetch_all(&mut *db)
                .await?;
        let operation = |(name, create_time, body)| OperationRow {
            name,
            create_time,
            body,
        };
        Ok(Remembered {
            branches,
            settings: generation::stamp(&mut db, "").await?.0.settings,
            operations: operations.into_iter().map(operation).collect(),
        })
    }
}

/// The catalog and the files that SQLite keeps beside it.
pub(crate) fn files(root: &Path) -> [PathBuf; 4] {
    ["-wal", "-shm", "-journal", ""].map(|suffix| root.join(format!("{CATALOG}{suffix}")))
}
