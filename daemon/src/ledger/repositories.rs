//! The repositories of the ledger: watched, retired because another directory has their path, given up by a person. One that
//! is not watched any more stays until the leases that were held open in it are given back.

use super::registrations::{Registration, Registrations};
use super::{Ledger, LedgerError};
use crate::reconcile::blocking;
use chrono::DateTime;
use daemon_core::Timestamp;
use daemon_core::ids::RepositoryId;
use sqlx::{FromRow, Sqlite, Transaction};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// A registered repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepositoryRow {
    pub(crate) id: RepositoryId,
    pub(crate) common_dir: PathBuf,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Text of the configuration that the user confirmed. What is in force beside it is in there too.
    pub(crate) confirmed_config: Option<String>,
    /// When the directory was made, where the file system tells.
    pub(crate) born: Option<i64>,
    pub(crate) main_worktree: Option<PathBuf>,
    pub(crate) registered_at: Timestamp,
    /// Nobody watches it any more.
    pub(crate) is_retired: bool,
    /// The ledger was lost or replaced, and its branches are not recovered yet.
    pub(crate) is_unconfirmed: bool,
}

#[derive(FromRow)]
pub(super) struct RawRepository {
    id: String,
    common_dir: Vec<u8>,
    device: i64,
    inode: i64,
    confirmed_config: Option<String>,
    born: Option<i64>,
    main_worktree: Option<Vec<u8>>,
    retired: bool,
    registered_at: i64,
    unconfirmed: bool,
    machine: String,
}

impl Ledger {
    /// Returns every repository that is watched.
    pub(crate) async fn repositories(&self) -> Result<Vec<RepositoryRow>, LedgerError> {
        let rows: Vec<RawRepository> = sqlx::query_as(
            "SELECT id, common_dir, device, inode, confirmed_config, born, main_worktree, retired, registered_at, unconfirmed, machine
             FROM repositories
             WHERE retired = 0 AND machine = ? ORDER BY registered_at, id",
        )
        .bind(&self.keep.machine)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(RepositoryRow::from).collect())
    }

    /// Returns every repository in which leases are held open, watched or not.
    pub(crate) async fn holding(&self) -> Result<Vec<RepositoryRow>, LedgerError> {
        let rows: Vec<RawRepository> = sqlx::query_as(
            "SELECT id, common_dir, device, inode, confirmed_config, born, main_worktree, retired, registered_at, unconfirmed, machine
             FROM repositories
             WHERE machine = ? AND EXISTS (SELECT 1 FROM branches WHERE repository_id = id AND lease_held = 1)
             ORDER BY registered_at, id",
        )
        .bind(&self.keep.machine)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(RepositoryRow::from).collect())
    }

    /// Registers a repository. One that is known by its directory's identity keeps its id under its new path, also when it
    /// was given up; one whose path another directory has taken is retired.
    pub(crate) async fn register(
        &self,
        row: &RepositoryRow,
        now: Timestamp,
    ) -> Result<RepositoryId, LedgerError> {
        let path = row.common_dir.as_os_str().as_bytes();
        let (device, inode) = (signed(row.device), signed(row.inode));
        let mut tx = self.pool.begin().await?;
        let known: Option<String> = sqlx::query_scalar(
            "SELECT id FROM repositories
             WHERE device = ? AND inode = ? AND coalesce(born = ?, retired = 0) AND machine = ? ORDER BY retired",
        )
        .bind(device)
        .bind(inode)
        .bind(row.born)
        .bind(&self.keep.machine)
        .fetch_optional(&mut *tx)
        .await?;
        let id = known.unwrap_or_else(|| row.id.to_string());
        let replaced: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM repositories WHERE common_dir = ? AND machine = ? AND id <> ? AND retired = 0",
        )
        .bind(path)
        .bind(&self.keep.machine)
        .bind(&id)
        .fetch_all(&mut *tx)
        .await?;
        for other in replaced {
            retire(&mut tx, &other).await?;
        }
        sqlx::query(
            "INSERT INTO repositories (id, common_dir, device, inode, registered_at, machine, born, main_worktree)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET common_dir = excluded.common_dir, born = excluded.born, retired = 0,
             main_worktree = coalesce(excluded.main_worktree, main_worktree)",
        )
        .bind(&id)
        .bind(path)
        .bind(device)
        .bind(inode)
        .bind(now.timestamp_millis())
        .bind(&self.keep.machine)
        .bind(row.born)
        .bind(row.main_worktree.as_ref().map(|path| path.as_os_str().as_bytes()))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.note_registrations().await?;
        Ok(RepositoryId::new(id))
    }

    /// Returns the text of the configuration in force.
    pub(crate) async fn confirmed_config(&self, id: &RepositoryId) -> Result<Option<String>, LedgerError> {
        let query = sqlx::query_scalar("SELECT confirmed_config FROM repositories WHERE id = ?");
        let found: Option<Option<String>> = query.bind(id.as_str()).fetch_optional(&self.pool).await?;
        Ok(found.flatten())
    }

    /// Replaces the text of the configuration in force, unless it is not `before` any more: the user may have confirmed another
    /// one. Returns whether it was replaced.
    pub(crate) async fn replace_config(
        &self,
        id: &RepositoryId,
        before: Option<&str>,
        text: &str,
    ) -> Result<bool, LedgerError> {
        let query = sqlx::query(
            "UPDATE repositories SET confirmed_config = ? WHERE id = ? AND confirmed_config IS ?",
        );
        let query = query.bind(text).bind(id.as_str()).bind(before);
        let is_replaced = query.execute(&self.pool).await?.rows_affected() > 0;
        self.note_registrations().await?;
        Ok(is_replaced)
    }

    /// Stops watching a repository. What is left of its branches runs out by itself.
    pub(crate) async fn unregister(&self, id: &RepositoryId) -> Result<(), LedgerError> {
        let mut tx = self.pool.begin().await?;
        retire(&mut tx, id.as_str()).await?;
        tx.commit().await?;
        self.drop_retired().await?;
        self.note_registrations().await
    }

    /// Writes the registrations, and the generation, beside the ledger. Neither is ever ahead: the change is on the disk before.
    pub(super) async fn note_registrations(&self) -> Result<(), LedgerError> {
        if let Some(file) = self.keep.registrations.clone() {
            let turn = self.keep.turn.clone().lock_owned().await;
            let kept = self.registrations().await?;
            let write = move || {
                let _turn = turn;
                file.write(&kept)
            };
            if let Err(error) = blocking(write).await {
                // The ledger itself is right; only its loss could not be mended so well.
                tracing::warn!(%error, "cannot write the registrations beside the ledger");
            }
        }
        self.note().await
    }

    /// Every registration, also those of other machines that share the ledger.
    async fn registrations(&self) -> Result<Registrations, LedgerError> {
        let generation: i64 = sqlx::query_scalar("SELECT generation FROM ledger")
            .fetch_one(&self.pool)
            .await?;
        let rows: Vec<RawRepository> = sqlx::query_as(
            "SELECT id, common_dir, device, inode, confirmed_config, born, main_worktree, retired, registered_at, unconfirmed, machine
             FROM repositories WHERE retired = 0 ORDER BY registered_at, id",
        )
        .fetch_all(&self.pool)
        .await?;
        let repositories = rows.into_iter().map(Registration::from);
        Ok(Registrations::new(generation, repositories.collect()))
    }

    /// Drops repositories that nobody watches, and of which nothing is left to do.
    pub(super) async fn drop_retired(&self) -> Result<(), LedgerError> {
        let idle = "DELETE FROM repositories
             WHERE retired = 1 AND NOT EXISTS (SELECT 1 FROM branches WHERE repository_id = id)";
        sqlx::query(idle).execute(&self.pool).await?;
        Ok(())
    }
}

/// Drops a repository's records, so that their names are free, but for those of branches that would never end.
pub(super) async fn retire(tx: &mut Transaction<'_, Sqlite>, id: &str) -> Result<(), LedgerError> {
    for sql in [
        "DELETE FROM branches WHERE repository_id = ? AND NOT (lease_held = 1 AND state = 'owned' AND kept = 0)",
        "UPDATE repositories SET retired = 1 WHERE id = ?",
    ] {
        sqlx::query(sql).bind(id).execute(&mut **tx).await?;
    }
    Ok(())
}

impl From<RawRepository> for Registration {
    fn from(raw: RawRepository) -> Self {
        let machine = raw.machine.clone();
        Self::of(&RepositoryRow::from(raw), machine)
    }
}

impl From<RawRepository> for RepositoryRow {
    fn from(raw: RawRepository) -> Self {
        Self {
            id: RepositoryId::new(raw.id),
            common_dir: PathBuf::from(OsString::from_vec(raw.common_dir)),
            device: raw.device.cast_unsigned(),
            inode: raw.inode.cast_unsigned(),
            confirmed_config: raw.confirmed_config,
            born: raw.born,
            main_worktree: raw
                .main_worktree
                .map(|path| PathBuf::from(OsString::from_vec(path))),
            registered_at: DateTime::from_timestamp_millis(raw.registered_at).unwrap_or_default(),
            is_retired: raw.retired,
            is_unconfirmed: raw.unconfirmed,
        }
    }
}

/// SQLite has signed integers only; the bits are what counts.
pub(super) fn signed(number: u64) -> i64 {
    number.cast_signed()
}
