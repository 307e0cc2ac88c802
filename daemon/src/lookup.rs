//! From a path to its worktree's branch and credential: what a call waits for, and what it is told when it waits in vain.

use crate::board::{Board, Problem, Repositories, RepositoryView, WorktreeView, find_worktree};
use crate::controller::Handle;
use crate::credentials::Target;
use crate::git;
use crate::reconcile::blocking;
use daemon_core::ids::{RepositoryId, Slot};
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
    Ready(Arc<RepositoryView>, Box<WorktreeView>, Arc<Target>),
    /// It is known, and its branch is still to come.
    Coming(Arc<RepositoryView>, Box<WorktreeView>),
    /// It belongs to this repository, but no pass has seen it as it is now.
    Unseen(RepositoryId),
}

/// Finds worktrees by path.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) board: Arc<Board>,
    pub(crate) controller: Handle,
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
        let shown = path.display().to_string();
        if !path.is_absolute() {
            // It would lead on from where the daemon happens to run.
            let message = format!("cannot find `{shown}`: it is not an absolute path");
            return Err(status(Reason::NotARepository, message, ""));
        }
        tokio::fs::canonicalize(path).await.map_err(|error| {
            status(
                Reason::NotARepository,
                format!("cannot find `{shown}`: {error}"),
                "",
            )
        })
    }

    /// Says where the worktree of a path stands. Hints at its repository when the board is behind.
    ///
    /// # Errors
    /// `NOT_FOUND` when the path is in no registered repository.
    pub(crate) async fn now(&self, repositories: &Repositories, path: &Path) -> Result<Now, Status> {
        if let Some((view, worktree)) = find_worktree(repositories, path)
            && !has_repository_between(&worktree.root, path)
        {
            if slot_now(worktree) != worktree.slot {
                self.controller.hint(view.id.clone());
                return Ok(Now::Unseen(view.id.clone()));
            }
            let (view, worktree) = (view.clone(), Box::new(worktree.clone()));
            return Ok(match (worktree.standing, worktree.target.clone()) {
                (Standing::Ready, Some(target)) => Now::Ready(view, worktree, target),
                _ => Now::Coming(view, worktree),
            });
        }
        let id = self.repository_of(repositories, path).await?;
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
        let place = path.to_owned();
        let located = blocking(move || git::locate(&place)).await;
        let located = located.map_err(|error| status(Reason::NotARepository, error.to_string(), ""))?;
        let found = repositories
            .values()
            .find(|view| view.common_dir == located.common_dir);
        found.map(|view| view.id.clone()).ok_or_else(|| {
            let message = format!("the repository of `{}` is not registered", path.display());
            status(Reason::NotRegistered, message, "run `lakebase init` in it")
        })
    }
}

/// Reads the worktree's HEAD as it is at this moment: a checkout may be ahead of the last pass. One small local file, so it
/// is read in place.
fn slot_now(worktree: &WorktreeView) -> Option<Slot> {
    let head = git::read_head(&worktree.admin_dir);
    let now = Worktree {
        id: worktree.id.clone(),
        dir_name: String::new(),
        head,
        is_locked: false,
    };
    now.slot()
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
        (None, Some(worktree)) => {
            let message = match &worktree.head {
                Head::Unknown(why) => format!("HEAD cannot be read: {why}"),
                Head::Branch(_) | Head::Detached(_) => {
                    format!("the branch is not ready yet: {}", worktree.why)
                }
            };
            status(reason, message, "try again, or see `lakebase status`")
        }
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
