//! What the daemon shows: the picture of every repository after its last pass. Passes write it, calls read and follow it.
//! Nothing is decided from it.

use chrono::TimeDelta;
use daemon_core::Timestamp;
use daemon_core::config_file::Settings;
use daemon_core::confirmed::Change;
use daemon_core::ids::{BranchId, BranchUid, RepositoryId, Slot, WorktreeId};
use daemon_core::plan::Standing;
use daemon_core::state::Head;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

use crate::credentials::Target;
use crate::git::{HeadVersion, Located};
use crate::patient::Budget;

/// Something that is not as it should be, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) fix: String,
}

/// How a repository's worktrees are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WatchMode {
    Events,
    #[default]
    Polling,
}

/// A repository after its last pass.
#[derive(Debug, Clone)]
pub(crate) struct RepositoryView {
    pub(crate) id: RepositoryId,
    pub(crate) common_dir: PathBuf,
    pub(crate) main_worktree: Option<PathBuf>,
    pub(crate) hooks_dir: PathBuf,
    pub(crate) config_path: PathBuf,
    pub(crate) settings: Option<Arc<Settings>>,
    /// Changes in the file that the user has not confirmed.
    pub(crate) proposed: Vec<Change>,
    /// `local`, or the origin of a workspace; empty until one was reached.
    pub(crate) service: String,
    pub(crate) watch_mode: WatchMode,
    /// All of it was on file systems of this machine at the last look, so that a glance at it cannot hang.
    pub(crate) is_local: bool,
    /// What a person should know.
    pub(crate) problems: Vec<Problem>,
    /// What kept the last pass from its end; it is one of the problems.
    pub(crate) hindrance: Option<Problem>,
    pub(crate) worktrees: Worktrees,
    /// Branches of ours that no worktree uses.
    pub(crate) unused: Vec<UnusedView>,
    /// The number of the last pass that ended, so that a caller can wait for one that began after its call.
    pub(crate) passes: u64,
    /// The last pass found nothing to do and nothing to wait for.
    pub(crate) is_settled: bool,
}

/// A worktree after its repository's last pass.
#[derive(Debug, Clone)]
pub(crate) struct WorktreeView {
    pub(crate) id: WorktreeId,
    /// Empty where something else is in its place.
    pub(crate) root: PathBuf,
    pub(crate) admin_dir: PathBuf,
    /// Device and inode of the root, if it is there and leads back to `admin_dir`.
    pub(crate) stands_at: Option<(u64, u64)>,
    /// When `admin_dir` was made, where the file system tells.
    pub(crate) born: Option<i64>,
    pub(crate) head: Head,
    /// Which version of the file said so; `None` where that cannot be told by a glance.
    pub(crate) head_version: Option<HeadVersion>,
    pub(crate) is_locked: bool,
    pub(crate) slot: Option<Slot>,
    pub(crate) standing: Standing,
    pub(crate) why: String,
    pub(crate) problem: Option<Problem>,
    pub(crate) branch: Option<BranchView>,
    /// Present when credentials can be had.
    pub(crate) target: Option<Arc<Target>>,
}

/// A branch that no worktree uses.
#[derive(Debug, Clone)]
pub(crate) struct UnusedView {
    pub(crate) branch: BranchView,
    /// Its worktree or git branch is gone, and we made it.
    pub(crate) is_orphan: bool,
    /// What the last pass found.
    pub(crate) why: String,
}

/// Whose a branch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// We made it.
    Owned,
    /// It was there before us.
    Adopted,
}

/// The branch of a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BranchView {
    pub(crate) id: BranchId,
    pub(crate) name: String,
    pub(crate) uid: Option<BranchUid>,
    pub(crate) source: Option<String>,
    pub(crate) expire_time: Option<Timestamp>,
    /// `None` while it is not certain that it is there, and whose it is.
    pub(crate) ownership: Option<Ownership>,
    pub(crate) logical_size_bytes: u64,
    pub(crate) own_size_bytes: u64,
    pub(crate) create_time: Option<Timestamp>,
}

pub(crate) type Repositories = BTreeMap<RepositoryId, Arc<RepositoryView>>;

/// The board.
#[derive(Debug)]
pub(crate) struct Board {
    repositories: watch::Sender<Arc<Repositories>>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            repositories: watch::Sender::new(Arc::default()),
        }
    }
}

impl Board {
    /// Shows a repository anew, if it is still shown: a pass may end after its repository was given up.
    pub(crate) fn update(&self, view: RepositoryView) {
        let id = view.id.clone();
        self.amend(&id, |shown| *shown = view);
    }

    /// Shows a repository.
    pub(crate) fn publish(&self, view: RepositoryView) {
        self.repositories.send_modify(|all| {
            Arc::make_mut(all).insert(view.id.clone(), Arc::new(view));
        });
    }

    /// Changes what is shown of a repository, if it is shown.
    pub(crate) fn amend(&self, id: &RepositoryId, change: impl FnOnce(&mut RepositoryView)) {
        self.repositories
            .send_if_modified(|all| match Arc::make_mut(all).get_mut(id) {
                Some(view) => {
                    change(Arc::make_mut(view));
                    true
                }
                None => false,
            });
    }

    /// Takes down every repository but these.
    pub(crate) fn retain(&self, ids: &[RepositoryId]) {
        self.repositories.send_if_modified(|all| {
            let before = all.len();
            Arc::make_mut(all).retain(|id, _| ids.contains(id));
            all.len() != before
        });
    }

    /// Everything that is shown.
    pub(crate) fn repositories(&self) -> Arc<Repositories> {
        self.repositories.borrow().clone()
    }

    /// Device and inode of the root of a worktree at this path, if that is on a file system of this machine.
    pub(crate) fn local_root(&self, path: &Path) -> Option<(u64, u64)> {
        let repositories = self.repositories.borrow();
        let mut local = repositories.values().filter(|view| view.is_local);
        local.find_map(|view| view.worktrees.at(path))?.stands_at
    }

    /// Returns the budget of a path by its prefix, without reading the disk: that of the repository with the longest root above
    /// the path.
    pub(crate) fn budget_of(&self, path: &Path) -> Budget {
        let repositories = self.repositories.borrow();
        if let Some((view, _)) = find_worktree(&repositories, path) {
            return Budget::Repository(view.id.clone());
        }
        let roots = repositories.values().flat_map(|view| {
            let roots = [Some(&view.common_dir), view.main_worktree.as_ref()];
            roots.into_iter().flatten().map(move |root| (root, view))
        });
        let holding = roots.filter(|(root, _)| path.starts_with(root));
        match holding.max_by_key(|(root, _)| root.as_os_str().len()) {
            Some((_, view)) => Budget::Repository(view.id.clone()),
            None => Budget::Elsewhere,
        }
    }

    /// One repository.
    pub(crate) fn repository(&self, id: &RepositoryId) -> Option<Arc<RepositoryView>> {
        self.repositories.borrow().get(id).cloned()
    }

    /// Follows what is shown.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Repositories>> {
        self.repositories.subscribe()
    }
}

/// Finds the worktree that holds a path: the one with the longest root, as worktrees may lie in one another.
pub(crate) fn find_worktree<'a>(
    repositories: &'a Repositories,
    path: &Path,
) -> Option<(&'a Arc<RepositoryView>, &'a Arc<WorktreeView>)> {
    path.ancestors().find_map(|root| {
        let at = |view: &'a Arc<RepositoryView>| Some((view, view.worktrees.at(root)?));
        repositories.values().find_map(at)
    })
}

/// The worktrees of a repository, found by their roots without going through all of them: there may be ten thousand, and
/// each call asks. What is shown of one is shared by all who look at it, and by the next pass, until it changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Worktrees {
    all: Vec<Arc<WorktreeView>>,
    /// By their bytes: to hash a path part by part takes much longer.
    by_root: Arc<HashMap<OsString, usize>>,
}

impl Worktrees {
    /// The roots and identities of these stay as they are from here on; mostly they are those of the last pass, too.
    pub(crate) fn new(all: Vec<Arc<WorktreeView>>, before: &Self) -> Self {
        let has_same_roots = all
            .iter()
            .map(|worktree| &worktree.root)
            .eq(before.all.iter().map(|worktree| &worktree.root));
        if has_same_roots {
            return Self {
                by_root: before.by_root.clone(),
                all,
            };
        }
        let roots = all
            .iter()
            .enumerate()
            .map(|(n, worktree)| (worktree.root.as_os_str().to_owned(), n));
        Self {
            by_root: Arc::new(roots.filter(|(root, _)| !root.is_empty()).collect()),
            all,
        }
    }

    /// The worktree that stands at this root. Where none stood at the last look, whatever is there since may be another's.
    fn at(&self, root: &Path) -> Option<&Arc<WorktreeView>> {
        let worktree = self.all.get(*self.by_root.get(root.as_os_str())?);
        worktree.filter(|worktree| worktree.stands_at.is_some())
    }

    /// Puts a worktree in the place of what is shown of it.
    pub(crate) fn replace(&mut self, shown: Arc<WorktreeView>) {
        let place = self
            .by_root
            .get(shown.root.as_os_str())
            .and_then(|n| self.all.get_mut(*n));
        if let Some(place) = place.filter(|place| place.id == shown.id) {
            *place = shown;
        }
    }
}

impl Deref for Worktrees {
    type Target = [Arc<WorktreeView>];

    fn deref(&self) -> &[Arc<WorktreeView>] {
        &self.all
    }
}

impl DerefMut for Worktrees {
    fn deref_mut(&mut self) -> &mut [Arc<WorktreeView>] {
        &mut self.all
    }
}

impl RepositoryView {
    /// The view of a repository before its first pass.
    pub(crate) fn unseen(id: RepositoryId, located: &Located) -> Self {
        Self {
            id,
            common_dir: located.common_dir.clone(),
            main_worktree: located.main_worktree.clone(),
            hooks_dir: located.hooks_dir.clone(),
            config_path: located.config_path(),
            settings: None,
            proposed: vec![],
            service: String::new(),
            watch_mode: WatchMode::default(),
            is_local: false,
            problems: vec![],
            hindrance: None,
            worktrees: Worktrees::default(),
            unused: vec![],
            passes: 0,
            is_settled: false,
        }
    }

    /// How long a hook is asked to wait.
    pub(crate) fn hook_wait(&self) -> TimeDelta {
        let wait = self
            .settings
            .as_ref()
            .map(|settings| settings.hook_wait)
            .unwrap_or_default();
        TimeDelta::from_std(wait).unwrap_or_default()
    }
}
