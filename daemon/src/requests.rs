//! What calls ask about branches: a reset, a delete, to keep one, to collect what is orphaned, to give a repository up. Each
//! leaves a wish for the repository's next pass, where the plan answers it, and waits for the answer. Decides nothing.

use crate::board::{RepositoryView, UnusedView, WorktreeView, find_worktree};
use crate::clock;
use crate::convert;
use crate::env_writer::{self, EnvFile};
use crate::lookup::{Now, row_of};
use crate::patient::Budget;
use crate::service::{PATIENCE, Service, ledger_failed, shutting_down};
use crate::wishes::{Answer, Answered};
use daemon_core::ids::{BranchId, BranchUid, RepositoryId};
use daemon_core::state::{Ask, Asks, RecordState};
use lakebase_proto::{Reason, fix_of, status, v1};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::{Instant, timeout};
use tonic::Status;

/// How many passes may go by while a repository is given up: one for each generation of branches that fork from others.
const GENERATIONS: usize = 5;

impl Service {
    /// Makes the worktree's branch anew and waits until it can be used.
    pub(crate) async fn reset(&self, path: &Path) -> Result<v1::Worktree, Status> {
        let (view, worktree) = self.worktree_at(path).await?;
        let (id, old) = branch_of(&worktree)?;
        self.ask(&view.id, id, Ask::Reset).await?;
        self.made_anew(path, &old).await
    }

    /// Deletes a branch that no worktree uses: the one named, or else the worktree's.
    pub(crate) async fn delete(&self, path: &Path, branch: &str) -> Result<(), Status> {
        if branch.is_empty() {
            let (view, worktree) = self.worktree_at(path).await?;
            let (id, _) = branch_of(&worktree)?;
            return self.ask(&view.id, id, Ask::Delete).await;
        }
        let repository = self.lookup.repository_of(&self.repositories(), path).await?;
        self.ask(&repository, BranchId::new(branch), Ask::Delete).await
    }

    /// Keeps the worktree's branch for good, or gives it back.
    pub(crate) async fn keep(&self, path: &Path, release: bool) -> Result<v1::Worktree, Status> {
        let (view, worktree) = self.worktree_at(path).await?;
        let (id, _) = branch_of(&worktree)?;
        let ask = if release { Ask::GiveBack } else { Ask::Keep };
        self.ask(&view.id, id, ask).await?;
        let (view, worktree) = self.worktree_at(path).await?;
        Ok(convert::worktree(&view, &worktree))
    }

    /// Lists the branches whose worktree or git branch is gone; deletes them when told to.
    pub(crate) async fn collect_garbage(
        &self,
        path: &[u8],
        apply: bool,
    ) -> Result<v1::CollectGarbageResponse, Status> {
        let mut collected = v1::CollectGarbageResponse::default();
        if apply {
            self.require_confirmed()?;
        }
        let ids = self.selected(path).await?;
        for id in &ids {
            match self.collect_in(id, apply, &mut collected).await {
                // Of many, one that cannot be looked at does not keep the others from it.
                Err(status) if ids.len() > 1 => collected.refused.push(self.unlooked(id, &status)),
                done => done?,
            }
        }
        Ok(collected)
    }

    /// The same for one repository.
    async fn collect_in(
        &self,
        id: &RepositoryId,
        apply: bool,
        collected: &mut v1::CollectGarbageResponse,
    ) -> Result<(), Status> {
        // What it says must be what is, not what the last pass saw.
        self.wish(id, Asks::default()).await?;
        let Some(view) = self.lookup.board.repository(id) else {
            return Ok(());
        };
        let orphans: Vec<&UnusedView> = view.unused.iter().filter(|unused| unused.is_orphan).collect();
        if !apply {
            let branches = orphans.iter().map(|orphan| convert::branch(&orphan.branch));
            collected.branches.extend(branches);
            return Ok(());
        }
        let asks = Asks {
            collect_garbage: true,
            ..Asks::default()
        };
        for answered in self.wish(id, asks).await? {
            note(collected, &orphans, answered);
        }
        Ok(())
    }

    /// What is told of a repository that could not be looked at.
    fn unlooked(&self, id: &RepositoryId, status: &Status) -> v1::Problem {
        let view = self.lookup.board.repository(id);
        let place = view.map(|view| view.common_dir.display().to_string());
        v1::Problem {
            message: format!("`{}`: {}", place.unwrap_or_default(), status.message()),
            fix: fix_of(status).unwrap_or_default(),
        }
    }

    /// Stops watching a repository; its branches go first if told to.
    pub(crate) async fn unregister(&self, path: &Path, delete_branches: bool) -> Result<(), Status> {
        let id = self.registered(path).await?;
        let view = self.lookup.board.repository(&id);
        if delete_branches {
            self.reconciler.wishes.begin_leaving(&id);
            let left = self.delete_all(&id).await;
            if let Err(status) = left {
                self.reconciler.wishes.end_leaving(&id);
                self.lookup.controller.retry(vec![id]).await;
                return Err(status);
            }
        }
        self.ledger
            .unregister(&id)
            .await
            .map_err(|error| ledger_failed(&error))?;
        self.reconciler.wishes.end_leaving(&id);
        self.reconciler.unwatch(&id);
        self.repositories_changed().await?;
        if let Some(view) = view {
            self.clear_env_files(&view).await;
        }
        Ok(())
    }

    /// Takes our blocks out of the worktrees' `.env` files: nobody renews what is in them any more. Where that fails, the
    /// passwords end by themselves.
    pub(crate) async fn clear_env_files(&self, view: &RepositoryView) {
        let Some(settings) = view.settings.clone() else {
            return;
        };
        let worktrees = view.worktrees.iter();
        let files: Vec<EnvFile> = worktrees
            .filter_map(|worktree| EnvFile::of(worktree, &settings))
            .collect();
        // Nobody waits for a disk that hangs.
        let budget = Budget::Repository(view.id.clone());
        let remove = move || env_writer::remove_all(&files);
        if let Err(hangs) = self.lookup.desk.run(budget, remove).await {
            tracing::warn!(%hangs, "blocks of ours may stay in `.env` files");
        }
    }

    /// The repository that is registered for a path, also when it can no longer be read.
    async fn registered(&self, path: &Path) -> Result<RepositoryId, Status> {
        let repositories = self.repositories();
        let found = self.lookup.repository_of(&repositories, path).await;
        let by_path = || {
            let is_at = |view: &&Arc<RepositoryView>| {
                view.common_dir == path || view.main_worktree.as_deref() == Some(path)
            };
            repositories.values().find(is_at).map(|view| view.id.clone())
        };
        found.or_else(|status| by_path().ok_or(status))
    }

    /// Deletes every branch of ours in a repository that is given up, children before their parents.
    async fn delete_all(&self, id: &RepositoryId) -> Result<(), Status> {
        for _ in 0..GENERATIONS {
            let answers = self.wish(id, Asks::default()).await?;
            let refused = answers.into_iter().find_map(|answered| answered.result.err());
            match (refused, self.owned_left(id).await?) {
                (_, 0) => return Ok(()),
                (Some(problem), left) => {
                    tracing::debug!(left, problem = problem.message, "not all branches are gone yet");
                }
                (None, _) => {}
            }
        }
        Err(status(
            Reason::Refused,
            "some branches could not be deleted",
            "see `lakebase events`; without --delete-branches they are left to run out",
        ))
    }

    async fn owned_left(&self, id: &RepositoryId) -> Result<usize, Status> {
        let records = self.ledger.all_records(id).await;
        let records = records.map_err(|error| ledger_failed(&error))?;
        Ok(records
            .iter()
            .filter(|record| matches!(record.state, RecordState::Owned | RecordState::Intent))
            .count())
    }

    /// Asks about one branch and returns once it is done.
    async fn ask(&self, repository: &RepositoryId, branch: BranchId, ask: Ask) -> Result<(), Status> {
        let asks = Asks {
            branches: [(branch.clone(), ask)].into(),
            ..Asks::default()
        };
        let answers = self.wish(repository, asks).await?;
        let answer = answers.into_iter().find(|answered| answered.branch == branch);
        match answer.map(|answered| answered.result) {
            Some(Ok(())) => Ok(()),
            Some(Err(problem)) => Err(status(Reason::Refused, problem.message, problem.fix)),
            None => Err(status(
                Reason::Refused,
                format!("there is no branch `{branch}` of this repository"),
                "`lakebase ls` and `lakebase gc` show what there is",
            )),
        }
    }

    /// Leaves a wish and waits for the pass that answers it.
    async fn wish(&self, repository: &RepositoryId, asks: Asks) -> Result<Vec<Answered>, Status> {
        let answer = self.reconciler.wishes.leave(repository, asks);
        self.lookup.controller.retry(vec![repository.clone()]).await;
        let answer: Option<Answer> = tokio::select! {
            () = self.stop.cancelled() => return Err(shutting_down()),
            answer = timeout(PATIENCE, answer) => answer.ok().and_then(Result::ok),
        };
        match answer {
            Some(Ok(answers)) => Ok(answers),
            Some(Err(problem)) => Err(status(Reason::NotReady, problem.message, problem.fix)),
            None => Err(status(
                Reason::Internal,
                "the daemon did not get to it in time",
                "see the daemon's log",
            )),
        }
    }

    /// The worktree of a path, as the board has it.
    pub(crate) async fn worktree_at(
        &self,
        path: &Path,
    ) -> Result<(Arc<RepositoryView>, Arc<WorktreeView>), Status> {
        let repositories = self.repositories();
        if let Some((view, worktree)) = find_worktree(&repositories, path) {
            return Ok((view.clone(), worktree.clone()));
        }
        // Tells apart what is not registered and what is just not in a worktree.
        self.lookup.repository_of(&repositories, path).await?;
        Err(status(
            Reason::NotAWorktree,
            format!("`{}` is in no worktree that was seen", path.display()),
            "try again, or run it in a worktree",
        ))
    }

    /// Waits for the branch that comes after this one.
    async fn made_anew(&self, path: &Path, old: &BranchUid) -> Result<v1::Worktree, Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.ready(path, deadline).await?;
            if let Now::Ready(view, worktree, target) = now
                && &target.uid != old
            {
                return Ok(convert::worktree(&view, &worktree));
            }
            let mut board = self.lookup.board.follow();
            board.mark_unchanged();
            if tokio::time::timeout_at(deadline, board.changed()).await.is_err() {
                return Err(status(
                    Reason::NotReady,
                    "the old branch is deleted, and the new one is not there yet",
                    "see `lakebase status`",
                ));
            }
        }
    }

    pub(crate) async fn repositories_changed(&self) -> Result<(), Status> {
        let rows = self.ledger.repositories().await;
        let rows = rows.map_err(|error| ledger_failed(&error))?;
        let ids: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
        self.lookup.board.retain(&ids);
        self.lookup.controller.set_repositories(rows).await;
        Ok(())
    }

    /// Registers the repository that holds a path.
    pub(crate) async fn register(&self, path: PathBuf) -> Result<v1::Repository, Status> {
        self.require_confirmed()?;
        let located = self.lookup.locate(path, "run it in a git repository").await?;
        let id = self.ledger.register(&row_of(&located), clock::now()).await;
        let id = id.map_err(|error| ledger_failed(&error))?;
        let view = self.lookup.board.repository(&id).map_or_else(
            || RepositoryView::unseen(id.clone(), &located),
            |view| RepositoryView {
                common_dir: located.common_dir.clone(),
                ..(*view).clone()
            },
        );
        let answer = convert::repository(&view);
        self.lookup.board.publish(view);
        self.repositories_changed().await?;
        Ok(answer)
    }
}

/// The branch that a worktree is on.
fn branch_of(worktree: &WorktreeView) -> Result<(BranchId, BranchUid), Status> {
    let branch = worktree.branch.as_ref();
    let found = branch.and_then(|branch| Some((branch.id.clone(), branch.uid.clone()?)));
    found.ok_or_else(|| {
        let problem = worktree.problem.clone();
        let (message, fix) = problem.map_or_else(
            || ("the worktree has no branch yet".into(), "try again".into()),
            |problem| (problem.message, problem.fix),
        );
        status(Reason::NotReady, message, fix)
    })
}

fn note(collected: &mut v1::CollectGarbageResponse, orphans: &[&UnusedView], answered: Answered) {
    let orphan = orphans.iter().find(|orphan| orphan.branch.id == answered.branch);
    let Some(orphan) = orphan else { return };
    match answered.result {
        Ok(()) => collected.branches.push(convert::branch(&orphan.branch)),
        Err(problem) => collected.refused.push(convert::problem(&problem)),
    }
}
