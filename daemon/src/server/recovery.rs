//! Answers about a ledger that was lost or replaced: what it can be rebuilt from, and what is left behind when it starts over.

use crate::convert;
use crate::ledger::RepositoryRow;
use crate::lookup::{is_same, row_of};
use crate::reconcile::recovery::{Recoveries, RepositoryRecovery};
use crate::service::{Service, ledger_failed};
use crate::view;
use daemon_core::ids::Slot;
use daemon_core::recovery::Recovered;
use lakebase_proto::{Reason, status, v1};
use std::path::PathBuf;
use tonic::Status;

impl Service {
    /// Lists what an unconfirmed ledger can be rebuilt from; with `apply` rebuilds and confirms it.
    pub(crate) async fn recover_ledger(
        &self,
        path: &[u8],
        apply: bool,
    ) -> Result<v1::RecoverLedgerResponse, Status> {
        let failed = |error| ledger_failed(&error);
        let is_unconfirmed = self.ledger.is_unconfirmed();
        let mut rows = self.ledger.unconfirmed().await.map_err(failed)?;
        let new = if is_unconfirmed {
            self.unregistered(path).await?
        } else {
            None
        };
        if apply && (is_unconfirmed || !rows.is_empty()) {
            self.ledger.keep_copy("before-recovery").await.map_err(failed)?;
        }
        if let Some((mut row, _)) = new.clone() {
            if apply {
                let registered = self.ledger.register(&row, row.registered_at).await;
                row.id = registered.map_err(failed)?;
            }
            rows.push(row);
        }
        let recovered = self.reconciler.recover(rows, &self.lookup.desk, apply).await;
        let recovered = recovered.map_err(failed)?;
        if apply {
            self.ledger.confirm().await.map_err(failed)?;
            if let Some((_, path)) = new {
                self.register(path).await?;
            }
            self.look_again(&recovered).await?;
        }
        Ok(v1::RecoverLedgerResponse {
            unconfirmed: is_unconfirmed,
            repositories: recovered.repositories.iter().map(repository).collect(),
            left: recovered.left.iter().map(convert::branch).collect(),
        })
    }

    /// Lists what is left behind when an unconfirmed ledger starts over; with `apply` starts over.
    pub(crate) async fn reset_ledger(&self, apply: bool) -> Result<v1::ResetLedgerResponse, Status> {
        let failed = |error| ledger_failed(&error);
        if !self.ledger.is_unconfirmed() {
            return Err(status(
                Reason::Refused,
                "the ledger is confirmed, so it does not start over",
                "run `lakebase forget` in a repository to unregister it",
            ));
        }
        let rows = self.ledger.unconfirmed().await.map_err(failed)?;
        let found = self
            .reconciler
            .recover(rows.clone(), &self.lookup.desk, false)
            .await;
        let found = found.map_err(failed)?;
        if apply {
            self.ledger.keep_copy("before-reset").await.map_err(failed)?;
            self.unregister_all(&rows).await?;
        }
        Ok(left_behind(&found))
    }

    /// Has every recovered repository reconciled, and waits for it: until then the worktrees seem to lack their branches.
    async fn look_again(&self, recovered: &Recoveries) -> Result<(), Status> {
        let is_done = |it: &&RepositoryRecovery| it.problem.is_none();
        let ids = recovered.repositories.iter().filter(is_done).map(|it| &it.row.id);
        let wanted: Vec<_> = ids
            .map(|id| (id.clone(), self.reconciler.begun(id) + 1))
            .collect();
        self.repositories_changed().await?;
        self.settled(&wanted).await;
        Ok(())
    }

    async fn unregister_all(&self, rows: &[RepositoryRow]) -> Result<(), Status> {
        let views: Vec<_> = rows
            .iter()
            .filter_map(|row| self.lookup.board.repository(&row.id))
            .collect();
        for row in rows {
            let unregistered = self.ledger.unregister(&row.id).await;
            unregistered.map_err(|error| ledger_failed(&error))?;
            self.reconciler.unwatch(&row.id);
        }
        let confirmed = self.ledger.confirm().await;
        confirmed.map_err(|error| ledger_failed(&error))?;
        self.repositories_changed().await?;
        for view in views {
            self.clear_env_files(&view).await;
        }
        Ok(())
    }

    /// The repository at a path, if it is none that the ledger knows. A path in no repository is not asked for.
    async fn unregistered(&self, path: &[u8]) -> Result<Option<(RepositoryRow, PathBuf)>, Status> {
        if path.is_empty() {
            return Ok(None);
        }
        let path = self.lookup.resolve(path).await?;
        let Ok(located) = self.lookup.locate(path.clone(), "").await else {
            return Ok(None);
        };
        let rows = self.ledger.repositories().await;
        let rows = rows.map_err(|error| ledger_failed(&error))?;
        let is_known = rows.iter().any(|row| is_same(row, &located));
        Ok((!is_known).then(|| (row_of(&located), path)))
    }

    /// Fails while the ledger is not confirmed.
    pub(crate) fn require_confirmed(&self) -> Result<(), Status> {
        if !self.ledger.is_unconfirmed() {
            return Ok(());
        }
        let problem = view::unconfirmed_ledger();
        Err(status(Reason::Refused, problem.message, problem.fix))
    }
}

fn repository(recovery: &RepositoryRecovery) -> v1::RecoveredRepository {
    let row = &recovery.row;
    let place = recovery.place.as_ref();
    v1::RecoveredRepository {
        id: row.id.to_string(),
        common_dir: convert::path(&row.common_dir),
        main_worktree: row
            .main_worktree
            .as_deref()
            .map(convert::path)
            .unwrap_or_default(),
        project_id: place.map(|place| place.project.to_string()).unwrap_or_default(),
        service: place.map(|place| place.origin.clone()).unwrap_or_default(),
        branches: recovery
            .branches
            .iter()
            .map(|(found, view)| v1::RecoveredBranch {
                branch: Some(convert::branch(view)),
                ..branch(recovery, found)
            })
            .collect(),
        missing: recovery
            .missing
            .iter()
            .map(|slot| v1::RecoveredSlot {
                slot: slot.to_string(),
                worktrees: worktrees(recovery, slot),
            })
            .collect(),
        problem: recovery.problem.as_ref().map(convert::problem),
    }
}

fn branch(recovery: &RepositoryRecovery, found: &Recovered) -> v1::RecoveredBranch {
    v1::RecoveredBranch {
        slot: found.record.slot.to_string(),
        worktrees: worktrees(recovery, &found.record.slot),
        branch: None,
        proof: found.proof.to_string(),
        lapsed: found.has_lapsed,
        kept: found.record.is_kept,
    }
}

fn worktrees(recovery: &RepositoryRecovery, slot: &Slot) -> Vec<String> {
    let roots = recovery.roots.get(slot).into_iter().flatten();
    roots.map(|root| convert::path(root)).collect()
}

fn left_behind(found: &Recoveries) -> v1::ResetLedgerResponse {
    v1::ResetLedgerResponse {
        repositories: found.repositories.iter().map(repository).collect(),
        left: found.left.iter().map(convert::branch).collect(),
    }
}
