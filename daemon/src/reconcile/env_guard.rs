//! Keeps passwords away from git: before a `.env` is written git is asked whether it ignores the
//! file, and the block is taken out of a file that git may pick up. Shared by passes, by calls of
//! the hook, and by the task that follows file events.

use crate::board::{Problem, WorktreeView, Worktrees};
use crate::credentials::{Minted, Target};
use crate::env_writer::{self, Emptied, EnvFile, Missing, Names};
use crate::git::{Answer, Exposure, Glance, IgnoreRules, Permit};
use daemon_core::config_file::Settings;
use daemon_core::ids::{RepositoryId, WorktreeId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;
use tokio::sync::Notify;

mod task;

pub(crate) use task::{revalidate, run};

/// The `.env` files of one repository.
pub(crate) type Files = BTreeMap<WorktreeId, Arc<Guarded>>;

/// A `.env` file, and what git says of it.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) file: EnvFile,
    is_local: bool,
    /// Held while git is asked and while the file is written, so that a write follows from the last
    /// answer.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What git said; `None` until it is asked.
    answer: Option<Answer>,
    /// When git was last asked, or its answer last found to be certain.
    asked_at: Option<Instant>,
    /// The last validation found nothing that could change the answer.
    is_current: bool,
    /// The file may hold a block of ours; a file whose block was seen to go holds none.
    may_hold_block: bool,
    /// Why a block could not be taken out.
    stuck: Option<Problem>,
}

/// The worktree that a file is of.
type Key = (RepositoryId, WorktreeId);

/// Outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Nothing is different.
    AsBefore,
    /// Git says something else than before, or a block was taken out. A pass shows it.
    Changed,
}

/// The files of all repositories.
#[derive(Debug, Default)]
pub(crate) struct EnvGuard {
    rules: IgnoreRules,
    repositories: Mutex<BTreeMap<RepositoryId, Arc<Files>>>,
    /// Files to be checked soon, and since when.
    wanted: Mutex<BTreeMap<Key, Instant>>,
    is_wanted: Notify,
}

impl Guarded {
    fn new(file: EnvFile, is_local: bool) -> Self {
        Self {
            file,
            is_local,
            state: Mutex::new(State {
                answer: None,
                asked_at: None,
                is_current: false,
                // By the daemon of before.
                may_hold_block: true,
                stuck: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless git is being asked about the file or it is being written.
    fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Returns what git said, if the last validation found that it still does: nothing, or why the
    /// file is not written. `None` also while git is being asked.
    pub(crate) fn verdict(&self) -> Option<Result<(), Problem>> {
        let state = self.try_state()?;
        let answer = state.answer.as_ref().filter(|_| state.is_current)?;
        Some(match answer.permit() {
            Ok(_) => Ok(()),
            Err(exposure) => Err(state.problem(&self.file, &exposure)),
        })
    }

    /// Returns whether a check would certainly change nothing. Reads attributes of files only, and
    /// never waits.
    pub(crate) fn is_checked(&self) -> bool {
        let Some(state) = self.try_state() else {
            return false;
        };
        let is_still = |answer: &Answer| answer.is_still(&mut Glance::default());
        !state.may_hold_block || !state.is_exposed() && state.answer.as_ref().is_some_and(is_still)
    }

    /// Returns whether there may be a block of ours in it.
    pub(crate) fn may_hold_block(&self) -> bool {
        self.try_state().is_none_or(|state| state.may_hold_block)
    }

    /// Returns whether git is being asked about it, or it is being written.
    pub(crate) fn is_busy(&self) -> bool {
        self.try_state().is_none()
    }
}

impl State {
    /// Returns whether git was last found to pick the file up.
    fn is_exposed(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| answer.permit().is_err())
    }

    /// Returns the answer, if git was asked after `since`: of many calls that wait at the same time
    /// one asks for all.
    fn answer_since(&self, since: Instant) -> Option<&Answer> {
        let is_later = self.asked_at.is_some_and(|at| at >= since);
        self.answer.as_ref().filter(|_| is_later)
    }

    fn problem(&self, file: &EnvFile, exposure: &Exposure) -> Problem {
        self.stuck.clone().unwrap_or_else(|| problem(file, exposure))
    }

    /// Takes the block out of a file that git may pick up. Returns whether there was one.
    fn withdraw(&mut self, file: &EnvFile, exposure: &Exposure) -> bool {
        if !self.may_hold_block {
            return false;
        }
        let emptied = match exposure {
            Exposure::Tracked => Emptied::Stays,
            _ => Emptied::Goes,
        };
        match env_writer::remove(file, emptied) {
            Ok(is_removed) => {
                (self.may_hold_block, self.stuck) = (false, None);
                if is_removed {
                    let reason = problem(file, exposure).message;
                    tracing::warn!(reason, "took the block out of a `.env`");
                }
                is_removed
            }
            Err(Problem { message, fix }) => {
                tracing::warn!(message, "a block stays in a `.env` that git may pick up");
                let message = format!("git may pick up the block that is still there: {message}");
                self.stuck = Some(Problem { message, fix });
                false
            }
        }
    }
}

impl EnvGuard {
    /// Brings the files of a repository in line with its worktrees, and drops the answers that may
    /// no longer be right. Reads attributes of files only. Blocking.
    pub(crate) fn inspect(
        &self,
        repository: &RepositoryId,
        worktrees: &Worktrees,
        settings: &Settings,
        is_local: bool,
    ) -> Arc<Files> {
        let before = self.files(repository);
        let after = files(&before, worktrees, settings, is_local);
        self.lock_repositories().insert(repository.clone(), after.clone());
        if !Arc::ptr_eq(&before, &after) {
            let is_gone = |(id, _): &(&WorktreeId, &Arc<Guarded>)| !after.contains_key(*id);
            for (_, guarded) in before.iter().filter(is_gone) {
                self.rules.forget(&guarded.file.admin_dir);
            }
        }
        let mut glance = Glance::default();
        let mut wanted = vec![];
        for (id, guarded) in &*after {
            // One that is locked is being checked.
            let Some(mut state) = guarded.try_state() else {
                continue;
            };
            let answer = state.answer.as_ref();
            state.is_current = answer.is_some_and(|answer| answer.is_still(&mut glance));
            if state.may_hold_block && (!state.is_current || state.is_exposed()) {
                wanted.push(id.clone());
            }
        }
        self.want(repository, wanted, Instant::now());
        after
    }

    /// Finds blocks about which git may decide otherwise by now, and has them checked. File events do not cover everything that
    /// git reads: rules in a worktree, the user's own. Reads attributes of files on disks of this machine only. Blocking.
    fn revalidate(&self) {
        let repositories = self.lock_repositories().clone();
        for (repository, files) in repositories {
            let mut glance = Glance::default();
            let mut may_differ = |guarded: &Guarded| {
                guarded.is_local
                    && guarded.try_state().is_some_and(|state| {
                        let is_still = |answer: &Answer| answer.is_still(&mut glance);
                        state.may_hold_block && !state.answer.as_ref().is_some_and(is_still)
                    })
            };
            let wanted: Vec<_> = files.iter().filter(|(_, guarded)| may_differ(guarded)).collect();
            if !wanted.is_empty() {
                let ids = wanted.into_iter().map(|(id, _)| id.clone());
                self.want(&repository, ids, Instant::now());
            }
        }
    }

    /// Forgets a repository that has no `.env` files of ours, or is given up.
    pub(crate) fn forget(&self, repository: &RepositoryId) {
        let files = self.lock_repositories().remove(repository);
        for guarded in files.iter().flat_map(|files| files.values()) {
            self.rules.forget(&guarded.file.admin_dir);
            self.rules.forget(&guarded.file.common_dir);
        }
    }

    /// The files of a repository at its last inspection.
    pub(crate) fn files(&self, repository: &RepositoryId) -> Arc<Files> {
        let repositories = self.lock_repositories();
        repositories.get(repository).cloned().unwrap_or_default()
    }

    /// Checks a file soon whose index has changed. `git_dir` is that of its worktree.
    pub(crate) fn index_changed(&self, repository: &RepositoryId, git_dir: &Path, at: Instant) {
        let files = self.files(repository);
        let name = git_dir.file_name().unwrap_or_default().to_string_lossy();
        let linked = files.get_key_value(&WorktreeId::Linked(name.into_owned()));
        let of_dir = linked.into_iter().chain(files.get_key_value(&WorktreeId::Main));
        let found = of_dir.filter(|(_, guarded)| guarded.file.admin_dir == git_dir);
        self.want(repository, found.map(|(id, _)| id.clone()), at);
    }

    fn want(&self, repository: &RepositoryId, ids: impl IntoIterator<Item = WorktreeId>, at: Instant) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            let due = wanted.entry((repository.clone(), id)).or_insert(at);
            *due = at.min(*due);
        }
        drop(wanted);
        self.is_wanted.notify_one();
    }

    /// Asks git about a file unless it is certain to say what it said, and takes the block out of a
    /// file that git may pick up. The answer was true at some time after `since`. Blocking.
    pub(crate) fn check(&self, guarded: &Guarded, since: Instant) -> Checked {
        let mut state = guarded.state();
        let before = state.answer.as_ref().map(|answer| answer.permit().is_ok());
        if before.is_none() {
            // Mostly there is no such file yet, and git need not be asked.
            state.may_hold_block &= env_writer::may_hold_block(&guarded.file).unwrap_or(true);
            if !state.may_hold_block {
                return Checked::AsBefore;
            }
        }
        let permit = self.ask(guarded, &mut state, since);
        let is_changed = before.is_some_and(|before| before != permit.is_ok());
        let is_removed = permit.is_err_and(|exposure| state.withdraw(&guarded.file, &exposure));
        if is_removed || is_changed {
            Checked::Changed
        } else {
            Checked::AsBefore
        }
    }

    /// Writes the block if git does not pick it up; else takes out the one that is there. Whether a file that is missing may be
    /// created is the caller's to say. Blocking.
    ///
    /// # Errors
    /// Why the file is not written.
    pub(crate) fn write(
        &self,
        guarded: &Guarded,
        may_create: bool,
        target: &Target,
        minted: &Minted,
    ) -> Result<(), Problem> {
        let file = &guarded.file;
        env_writer::check_place(file)?;
        let missing = if may_create {
            Missing::Create(Names::of(file))
        } else {
            Missing::Leave
        };
        let mut state = guarded.state();
        let permit = self.permit(guarded, &mut state, Instant::now())?;
        (state.may_hold_block, state.stuck) = (true, None);
        env_writer::write(file, &permit, &missing, target, minted)?;
        // A checkout may have come between the answer and the write.
        self.permit(guarded, &mut state, Instant::now()).map(drop)
    }

    /// Checks that the block may stay, else takes it out. The answer was true at some time after
    /// `since`. Blocking.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn confirm(&self, guarded: &Guarded, since: Instant) -> Result<(), Problem> {
        self.permit(guarded, &mut guarded.state(), since).map(drop)
    }

    fn permit(&self, guarded: &Guarded, state: &mut State, since: Instant) -> Result<Permit, Problem> {
        self.ask(guarded, state, since).map_err(|exposure| {
            state.withdraw(&guarded.file, &exposure);
            state.problem(&guarded.file, &exposure)
        })
    }

    fn ask(&self, guarded: &Guarded, state: &mut State, since: Instant) -> Result<Permit, Exposure> {
        if let Some(answer) = state.answer_since(since) {
            return answer.permit();
        }
        let place = guarded.file.place(guarded.is_local);
        let asked_at = Instant::now();
        let answer = self.rules.answer(place, state.answer.take(), since);
        let permit = answer.permit();
        (state.answer, state.asked_at, state.is_current) = (Some(answer), Some(asked_at), true);
        permit
    }

    fn lock_repositories(&self) -> MutexGuard<'_, BTreeMap<RepositoryId, Arc<Files>>> {
        self.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of these worktrees. While they are the same so is the map, and each entry keeps what
/// is known of its file.
fn files(before: &Arc<Files>, worktrees: &Worktrees, settings: &Settings, is_local: bool) -> Arc<Files> {
    let is_same = |worktree: &WorktreeView, guarded: &Guarded| {
        guarded.is_local == is_local && guarded.file.is_of(worktree, settings)
    };
    let wanted = || {
        let with_root = worktrees
            .iter()
            .filter(|worktree| !worktree.root.as_os_str().is_empty());
        with_root.filter(|_| settings.env_file.is_some())
    };
    let mut in_order = before.iter();
    let are_same = wanted().all(|worktree| {
        let next = in_order.next();
        next.is_some_and(|(id, guarded)| *id == worktree.id && is_same(worktree, guarded))
    });
    if are_same && in_order.next().is_none() {
        return before.clone();
    }
    let entry = |worktree: &Arc<WorktreeView>| {
        let known = before
            .get(&worktree.id)
            .filter(|guarded| is_same(worktree, guarded));
        let fresh = || Some(Arc::new(Guarded::new(EnvFile::of(worktree, settings)?, is_local)));
        Some((worktree.id.clone(), known.cloned().or_else(fresh)?))
    };
    Arc::new(wanted().filter_map(entry).collect())
}

/// Says why a file is not written, and what to do about it.
fn problem(file: &EnvFile, exposure: &Exposure) -> Problem {
    let relative = file.relative.display();
    let (why, fix) = match exposure {
        Exposure::NotIgnored => (
            "git does not ignore it, and it would hold a password".to_owned(),
            format!("add `{relative}` to .gitignore, or set LAKEBASE_ENV_FILE=\"\""),
        ),
        Exposure::Tracked => (
            "git tracks it, so the index may hold a password, which expires in an hour at most".to_owned(),
            format!("run `git rm --cached {relative}`, and add `{relative}` to .gitignore"),
        ),
        Exposure::OtherRepository(dir) => (
            format!("`{}` is another repository", dir.display()),
            "set LAKEBASE_ENV_FILE to a file outside of it".to_owned(),
        ),
        Exposure::OldGit(version) => (
            format!("`{version}` cannot tell for certain which files it ignores"),
            "install git 2.26 or later".to_owned(),
        ),
        Exposure::Unknown(why) => (
            format!("it is not certain that git ignores it: {why}"),
            "run `git status` in the worktree and mend what it says".to_owned(),
        ),
    };
    Problem {
        message: format!("did not write `{}`: {why}", file.path().display()),
        fix,
    }
}
