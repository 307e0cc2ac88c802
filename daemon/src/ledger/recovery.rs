//! A ledger that was lost or replaced by an older copy: the registrations that it starts with, the old records that can be read, and
//! the new records that replace them.

use super::registrations::{Reading, Registration};
use super::repositories::{retire, signed};
use super::{Ledger, LedgerError, Place, RepositoryRow, copies, save};
use crate::clock;
use daemon_core::ids::{BranchId, RepositoryId};
use daemon_core::recovery::OldRecord;
use daemon_core::state::Record;
use sqlx::{Sqlite, Transaction};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Ledger {
    /// Reads the registrations beside the ledger. A file that cannot be read is moved aside.
    pub(super) fn kept_registrations(&self) -> Reading {
        let Some(file) = &self.keep.registrations else {
            return Reading::Missing;
        };
        let kept = file.read();
        if let Reading::Unreadable(why) = &kept {
            let name = format!("registrations.json.broken-{}", clock::now().timestamp_millis());
            let moved = std::fs::rename(&file.path, file.path.with_file_name(name));
            tracing::error!(
                why,
                moved = moved.is_ok(),
                "cannot read the registrations beside the ledger"
            );
        }
        kept
    }

    /// Brings back the registrations of last time. Those beside the ledger are the newest: a repository that they do not name was
    /// unregistered since.
    pub(super) async fn restore_registrations(
        &self,
        kept: &Reading,
        generation: i64,
        aside: Option<&Path>,
    ) -> Result<(), LedgerError> {
        let (registrations, are_newest) = match (kept, aside) {
            (Reading::Kept(kept), _) => (kept.repositories.clone(), kept.generation > generation),
            (Reading::Missing | Reading::Unreadable(_), Some(copy)) => {
                (copies::registrations(copy).await, false)
            }
            (Reading::Missing | Reading::Unreadable(_), None) => (vec![], false),
        };
        let mut tx = self.pool.begin().await?;
        for registration in &registrations {
            restore(&mut tx, registration).await?;
        }
        if are_newest {
            let named: BTreeSet<&str> = registrations.iter().map(|it| &*it.id).collect();
            let there: Vec<String> = sqlx::query_scalar("SELECT id FROM repositories WHERE retired = 0")
                .fetch_all(&mut *tx)
                .await?;
            for id in there.iter().filter(|id| !named.contains(id.as_str())) {
                retire(&mut tx, id).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Marks every repository as not confirmed.
    pub(super) async fn doubt_repositories(&self) -> Result<(), LedgerError> {
        sqlx::query("UPDATE repositories SET unconfirmed = 1 WHERE retired = 0 AND unconfirmed = 0")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Returns the records of a repository in one place that can be read: the ledger's own, then those of damaged ones.
    pub(crate) async fn old_records(
        &self,
        id: &RepositoryId,
        place: &Place,
    ) -> Result<Vec<OldRecord>, LedgerError> {
        let own = self.records(id, place).await?.into_iter();
        let mut records: Vec<_> = own
            .map(|record| OldRecord {
                record,
                file: "state.db".into(),
            })
            .collect();
        let copies = self.keep.path.as_deref().map(copies::list);
        for copy in copies.into_iter().flatten() {
            let file = copy
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let read = copies::records(&copy).await.into_iter();
            let of_here = read.filter(|(of, record)| {
                of == id && record.origin == place.origin && record.project == place.project
            });
            records.extend(of_here.map(|(_, record)| OldRecord {
                record,
                file: file.clone(),
            }));
        }
        Ok(records)
    }

    /// Returns the names in a place that records of other repositories than these hold.
    pub(crate) async fn names_of_others(
        &self,
        ids: &[RepositoryId],
        place: &Place,
    ) -> Result<BTreeSet<BranchId>, LedgerError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT repository_id, branch FROM branches WHERE origin = ? AND project = ?")
                .bind(&place.origin)
                .bind(place.project.as_str())
                .fetch_all(&self.pool)
                .await?;
        let is_other = |id: &str| !ids.iter().any(|it| it.as_str() == id);
        let others = rows.into_iter().filter(|(id, _)| is_other(id));
        Ok(others.map(|(_, branch)| BranchId::new(branch)).collect())
    }

    /// Replaces the records of repositories in one place by recovered ones, and confirms the repositories: all of it or nothing.
    pub(crate) async fn recover(
        &self,
        place: &Place,
        recovered: &[(RepositoryId, Vec<Record>)],
    ) -> Result<(), LedgerError> {
        let mut tx = self.pool.begin().await?;
        for (id, _) in recovered {
            sqlx::query("DELETE FROM branches WHERE repository_id = ? AND origin = ? AND project = ?")
                .bind(id.as_str())
                .bind(&place.origin)
                .bind(place.project.as_str())
                .execute(&mut *tx)
                .await?;
        }
        for (id, records) in recovered {
            for record in records {
                save(id, record).execute(&mut *tx).await?;
            }
            confirm(id).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        self.note_registrations().await
    }

    /// Confirms a repository that never had a branch.
    pub(crate) async fn confirm_repository(&self, id: &RepositoryId) -> Result<(), LedgerError> {
        confirm(id).execute(&self.pool).await?;
        Ok(())
    }

    /// Returns the repositories whose branches are not recovered yet.
    pub(crate) async fn unconfirmed(&self) -> Result<Vec<RepositoryRow>, LedgerError> {
        let mut rows = self.repositories().await?;
        rows.retain(|row| row.is_unconfirmed);
        Ok(rows)
    }

    /// Keeps a copy of the ledger as it is, under a name that says why. Nothing is lost by a recovery then.
    pub(crate) async fn keep_copy(&self, why: &str) -> Result<(), LedgerError> {
        let Some(path) = &self.keep.path else {
            return Ok(());
        };
        let name = format!("state.db.{why}-{}", clock::now().timestamp_millis());
        let copy = path.with_file_name(name);
        let Some(text) = copy.to_str() else {
            let source = io::Error::from(io::ErrorKind::InvalidFilename);
            return Err(LedgerError::Aside { path: copy, source });
        };
        sqlx::query("VACUUM INTO ?")
            .bind(text)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn confirm(id: &RepositoryId) -> sqlx::query::Query<'_, Sqlite, sqlx::sqlite::SqliteArguments> {
    sqlx::query("UPDATE repositories SET unconfirmed = 0 WHERE id = ?").bind(id.as_str())
}

/// Brings one registration back, over an older one of the same repository.
async fn restore(tx: &mut Transaction<'_, Sqlite>, registration: &Registration) -> Result<(), LedgerError> {
    let row = registration.row();
    sqlx::query(
        "INSERT INTO repositories (id, common_dir, device, inode, registered_at, machine, born, main_worktree, confirmed_config)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET common_dir = excluded.common_dir, device = excluded.device, inode = excluded.inode,
         born = excluded.born, main_worktree = excluded.main_worktree, confirmed_config = excluded.confirmed_config, retired = 0",
    )
    .bind(row.id.as_str())
    .bind(row.common_dir.as_os_str().as_bytes())
    .bind(signed(row.device))
    .bind(signed(row.inode))
    .bind(row.registered_at.timestamp_millis())
    .bind(&registration.machine)
    .bind(row.born)
    .bind(row.main_worktree.as_ref().map(|path| path.as_os_str().as_bytes()))
    .bind(&row.confirmed_config)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
