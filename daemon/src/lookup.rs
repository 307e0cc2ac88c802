//! From a path to its worktree's branch and credential: what a call waits for, and what it is told when it waits in vain.

use crate::board::{Board, Problem, Repositories, RepositoryView, WorktreeView, find_worktree};
use crate::clock;
use crate::controller::Handle;
use crate::credentials::Target;
use crate::git::{self, Located};
use crate::ledger::{Ledger, RepositoryRow};
use crate::patient::{Budget, Desk};
use crate::services::chain;
use daemon_core::ids::RepositoryId;
use daemon_core::plan::Standing;
use daemon_core::state::{Head, Worktree};
use lakebase_proto::{Reason, status};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tonic::Status;

/// Where a worktree stands right now, checked against its HEAD.
#[derive(Debug)]
pub(crate) enum Now {
    /// Its branch can be used.
    Ready(Arc<RepositoryView>, Arc<WorktreeView>, Arc<Target>),
    /// It is known, and its branch is still to come.
    Coming(Arc<RepositoryView>, Arc<WorktreeView>),
    /// It belongs to this repository, but no pass has seen it as it is now.
    Unseen(RepositoryId),
}

/// Finds worktrees by path.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) board: Arc<Board>,
    pub(crate) controller: Handle,
    pub(crate) ledger: Ledger,
    pub(crate) desk: Desk,
}

impl Lookup {
    /// Makes a path absolute and free of links, as roots on the board are.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is nothing at the path.
    pub(crate) async fn resolve(&self, path: &[u8]) -> Result<PathBuf, Status> {
        let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(
            path,
        ));
        // To look here and now costs less than to wake a thread for it.
        if let Some(stands_at) = self.board.local_root(&path)
            && git::is_root_still(&path, stands_at)
        {
            return Ok(path);
        }
        let shown = path.display().to_string();
        if !path.is_absolute() {
            // It would lead on from where the daemon happens to run.
            let message = format!("cannot find `{shown}`: it is not an absolute path");
            return Err(status(Reason::NotARepository, message, ""));
        }
        let cannot = |error: &dyn std::error::Error| {
            let message = format!("cannot find `{shown}`: {error}");
            status(Reason::NotARepository, message, "")
        };
        let budget = self.board.budget_of(&path);
        let found = self.desk.run(budget, move || path.canonicalize()).await;
        found
            .map_err(|hangs| cannot(&hangs))?
            .map_err(|error| cannot(&error))
    }

    /// Finds the repository of a path as git sees it, registered or not.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none, or it cannot be read.
    pub(crate) async fn locate(&self, path: PathBuf, fix: &str) -> Result<Located, Status> {
        let (budget, place) = (self.board.budget_of(&path), path.clone());
        let located = match self.desk.run(budget, move || git::locate(&place)).await {
            Ok(located) => located,
            Err(source) => Err(git::GitError::Hangs { path, source }),
        };
        located.map_err(|error| status(Reason::NotARepository, chain(&error), fix))
    }

    /// Says where the worktree of a path stands. Hints at its repository when the board is behind.
    ///
    /// # Errors
    /// `NOT_FOUND` when the path is in no registered repository.
    pub(crate) async fn now(&self, repositories: &Repositories, path: &Path) -> Result<Now, Status> {
        if let Some((view, worktree)) = find_worktree(repositories, path)
            && !has_repository_between(&worktree.root, path)
        {
            if !self.is_as_seen(view, worktree).await {
                self.controller.hint(view.id.clone());
                return Ok(Now::Unseen(view.id.clone()));
            }
            let (view, worktree) = (view.clone(), worktree.clone());
            return Ok(match (worktree.standing, worktree.target.clone()) {
                (Standing::Ready, Some(target)) => Now::Ready(view, worktree, target),
                _ => Now::Coming(view, worktree),
            });
        }
        // In a box: every call would carry room for what few come to.
        let id = Box::pin(self.repository_of(repositories, path)).await?;
        self.controller.hint(id.clone());
        Ok(Now::Unseen(id))
    }

    /// The registered repository that a path is in, as git sees it.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none, or it is not registered.
    pub(crate) async fn repository_of(
        &self,
        repositories: &Repositories,
        path: &Path,
    ) -> Result<RepositoryId, Status> {
        let located = self.locate(path.to_owned(), "").await?;
        let found = repositories
            .values()
            .find(|view| view.common_dir == located.common_dir);
        let id = match found {
            Some(view) => Some(view.id.clone()),
            None => self.moved_here(&located).await,
        };
        id.ok_or_else(|| {
            let message = format!("the repository of `{}` is not registered", path.display());
            status(Reason::NotRegistered, message, "run `lakebase init` in it")
        })
    }

    /// The registered repository that this one is, by the identity of its directory: it was renamed, or is reached by another
    /// path. A renamed one is followed.
    async fn moved_here(&self, located: &Located) -> Option<RepositoryId> {
        let rows = self.ledger.repositories().await.ok()?;
        let row = rows.into_iter().find(|row| is_same(row, located))?;
        let (registered, here) = (row.common_dir.clone(), located.clone());
        let is_there_still = self.desk.run(Budget::Repository(row.id.clone()), move || {
            git::locate_again(&registered, None)
                .is_ok_and(|there| there.inode == here.inode && there.device == here.device)
        });
        if !is_there_still.await.ok()? {
            tracing::info!(from = %row.common_dir.display(), to = %located.common_dir.display(), "a repository moved");
            self.ledger.register(&row_of(located), clock::now()).await.ok()?;
            let rows = self.ledger.repositories().await.ok()?;
            self.controller.set_repositories(rows).await;
        }
        Some(row.id)
    }

    /// Looks at the worktree's HEAD as it is at this moment: a checkout may be ahead of the last pass.
    async fn is_as_seen(&self, view: &RepositoryView, worktree: &WorktreeView) -> bool {
        if let Some(version) = worktree.head_version.filter(|_| view.is_local)
            && git::is_head_still(&worktree.admin_dir, version)
        {
            return true;
        }
        let (root, admin_dir) = (worktree.root.clone(), worktree.admin_dir.clone());
        let looking = self.desk.run(Budget::Repository(view.id.clone()), move || {
            let head = git::head_now(&root, &admin_dir);
            (head, git::born_at(&admin_dir))
        });
        let (head, born) = looking
            .await
            .unwrap_or_else(|hangs| (Head::Unknown(hangs.to_string()), None));
        // Another worktree may have its name by now.
        let is_other = matches!((born, worktree.born), (Some(now), Some(then)) if now != then);
        let now = Worktree {
            id: worktree.id.clone(),
            dir_name: String::new(),
            head,
            is_locked: false,
        };
        now.slot() == worktree.slot && !is_other
    }
}

/// What is kept of a repository when it is registered.
pub(crate) fn row_of(located: &Located) -> RepositoryRow {
    RepositoryRow {
        id: RepositoryId::new(uuid::Uuid::new_v4().to_string()),
        common_dir: located.common_dir.clone(),
        device: located.device,
        inode: located.inode,
        confirmed_config: None,
        born: located.born,
        main_worktree: located.main_worktree.clone(),
        registered_at: clock::now(),
        is_retired: false,
        is_unconfirmed: false,
    }
}

/// Says whether a row is about this very directory. A copy, or a later one with the same inode, was born at another time.
pub(crate) fn is_same(row: &RepositoryRow, located: &Located) -> bool {
    let was_born_then = row.born.is_none() || located.born.is_none() || row.born == located.born;
    (row.device, row.inode) == (located.device, located.inode) && was_born_then
}

/// Says whether a path below a worktree's root lies in a repository of its own, as a submodule does.
fn has_repository_between(root: &Path, path: &Path) -> bool {
    path.ancestors()
        .take_while(|dir| *dir != root)
        .any(|dir| dir.join(".git").symlink_metadata().is_ok())
}

/// What a caller is told who cannot go on waiting: the nearest problem, or just that it is not ready.
pub(crate) fn not_ready(view: &RepositoryView, worktree: Option<&WorktreeView>) -> Status {
    let reason = match worktree.map(|worktree| worktree.standing) {
        _ if view.settings.is_none() => Reason::NotConfigured,
        Some(Standing::Blocked) => Reason::Blocked,
        _ => Reason::NotReady,
    };
    let unconfigured = view.problems.first().filter(|_| view.settings.is_none());
    let problem = worktree
        .and_then(|worktree| worktree.problem.as_ref())
        .or(view.hindrance.as_ref())
        .or(unconfigured)
        .cloned();
    match (problem, worktree) {
        (Some(Problem { message, fix }), _) => status(reason, message, fix),
        (None, Some(worktree)) => status(
            reason,
            format!("the branch is not ready yet: {}", worktree.why),
            "try again, or see `lakebase status`",
        ),
        (None, None) => status(
            reason,
            "the worktree was not seen yet",
            "try again, or see `lakebase status`",
        ),
    }
}

/// Says whether waiting longer can help without anybody doing something.
pub(crate) fn is_hopeless(view: &RepositoryView, worktree: &WorktreeView) -> bool {
    worktree.standing == Standing::Blocked || view.settings.is_none() || view.hindrance.is_some()
}
