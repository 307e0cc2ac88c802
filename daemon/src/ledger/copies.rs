//! Ledgers that were moved aside because they were damaged: the rows that can still be read. They are evidence, and no more: a
//! record counts only where the service has a branch with its uid.

use super::registrations::Registration;
use super::repositories::RawRepository;
use super::{RawRecord, Record};
use daemon_core::ids::RepositoryId;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, FromRow};
use std::path::{Path, PathBuf};

#[derive(FromRow)]
struct RecordOf {
    repository_id: String,
    #[sqlx(flatten)]
    record: RawRecord,
}

/// Lists the ledgers beside this one that were moved aside, the newest first. Blocking.
pub(super) fn list(ledger: &Path) -> Vec<PathBuf> {
    let name = ledger.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}.broken-");
    let number = |path: &PathBuf| -> Option<i64> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix(&*prefix)?.parse().ok()
    };
    let entries = ledger.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut copies: Vec<_> = paths.filter_map(|path| Some((number(&path)?, path))).collect();
    copies.sort_unstable();
    copies.into_iter().rev().map(|(_, path)| path).collect()
}

/// Returns the records of a copy, as far as it can be read.
pub(super) async fn records(copy: &Path) -> Vec<(RepositoryId, Record)> {
    let mut found = vec![];
    let Some(mut connection) = open(copy).await else {
        return found;
    };
    let mut rows = sqlx::query_as::<_, RecordOf>(
        "SELECT repository_id, origin, project, slot, branch, state, uid, source, since, lease_held, reap_after, was_locked, kept
         FROM branches",
    )
    .fetch(&mut connection);
    while let Ok(Some(row)) = rows.try_next().await {
        if let Ok(record) = Record::try_from(row.record) {
            found.push((RepositoryId::new(row.repository_id), record));
        }
    }
    found
}

/// Returns the registrations of a copy, as far as it can be read.
pub(super) async fn registrations(copy: &Path) -> Vec<Registration> {
    let mut found = vec![];
    let Some(mut connection) = open(copy).await else {
        return found;
    };
    // An earlier release has the column under its old name, and damage hides where the schema ends.
    for config in ["confirmed_config", "last_config AS confirmed_config"] {
        let sql = format!(
            "SELECT id, common_dir, device, inode, {config}, born, main_worktree, retired, registered_at, 1 AS unconfirmed, machine
             FROM repositories WHERE retired = 0"
        );
        let mut rows = sqlx::query_as::<_, RawRepository>(AssertSqlSafe(sql)).fetch(&mut connection);
        while let Ok(Some(row)) = rows.try_next().await {
            found.push(row.into());
        }
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// Opens a copy for reading; without its write-ahead log if that cannot be used.
async fn open(copy: &Path) -> Option<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(copy)
        .read_only(true)
        // A file that is shorter than its header says is refused otherwise
        // (<https://www.sqlite.org/pragma.html#pragma_writable_schema>).
        .pragma("writable_schema", "ON");
    for options in [options.clone(), options.immutable(true)] {
        let Ok(mut connection) = options.disable_statement_logging().connect().await else {
            continue;
        };
        let schema = sqlx::query("SELECT count(*) FROM sqlite_schema");
        if schema.fetch_one(&mut connection).await.is_ok() {
            return Some(connection);
        }
        connection.close().await.ok();
    }
    None
}
