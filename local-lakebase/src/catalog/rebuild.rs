//! Makes a catalog out of what is known of its branches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use sqlx::sqlite::SqliteJournalMode;
use sqlx::{ConnectOptions, Connection};

use super::descriptor::Contents;
use super::generation::{CATALOG_ID, GENERATION};
use super::{CatalogError, MIGRATIONS, OperationRow, Write, options, private, save};

/// What a catalog is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) id: String,
    /// The generation of the catalog and of each branch.
    pub(crate) generation: i64,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) branches: Vec<Contents>,
    pub(crate) operations: Vec<OperationRow>,
}

/// Makes a catalog in this file, whole and flushed to the disk, with no other file beside it.
pub(crate) async fn build(file: &Path, wanted: &Wanted) -> Result<(), CatalogError> {
    private(file).map_err(sqlx::Error::Io)?;
    // In this mode there is no log that would have to be moved with it.
    let mut db = options(file)
        .journal_mode(SqliteJournalMode::Delete)
        .connect()
        .await?;
    MIGRATIONS.run(&mut db).await?;
    let mut transaction = db.begin().await?;
    let own = [
        (CATALOG_ID, wanted.id.clone()),
        (GENERATION, wanted.generation.to_string()),
    ];
    let settings = wanted
        .settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.clone()));
    for (key, value) in settings.chain(own) {
        let sql = "INSERT INTO setting VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        sqlx::query(sql)
            .bind(key)
            .bind(value)
            .execute(&mut *transaction)
            .await?;
    }
    for write in writes(wanted) {
        save(&mut transaction, &write).await?;
    }
    let sql = "UPDATE branch SET generation = ?";
    sqlx::query(sql)
        .bind(wanted.generation)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    db.close().await?;
    Ok(sync(file).map_err(sqlx::Error::Io)?)
}

fn writes(wanted: &Wanted) -> Vec<Write> {
    let mut projects = BTreeSet::new();
    let mut writes = vec![];
    for contents in &wanted.branches {
        if projects.insert(&contents.project.name) {
            writes.push(Write::Project(contents.project.clone()));
        }
    }
    for contents in wanted.branches.iter().cloned() {
        writes.push(Write::Branch(contents.branch));
        writes.extend(contents.endpoints.into_iter().map(Write::Endpoint));
        writes.extend(contents.roles.into_iter().map(Write::Role));
        writes.extend(contents.databases.into_iter().map(Write::Database));
    }
    writes.extend(wanted.operations.iter().cloned().map(Write::Operation));
    writes
}

fn sync(file: &Path) -> io::Result<()> {
    fs::File::open(file)?.sync_all()?;
    fs::File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}
