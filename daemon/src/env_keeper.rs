//! Which worktrees' `.env` files hold a block of ours, and whether it is the right one: that of the branch which the worktree
//! is on now. Losing what is kept here costs a write each. How a file is written is `env_writer`'s.

use crate::board::{Problem, WorktreeView};
use crate::credentials::{Minted, Target};
use crate::env_writer;
use crate::env_writer::EnvFile;
use crate::patient::{Hangs, Turnstile};
use crate::reconcile::env_guard::{EnvGuard, Files, Guarded};
use crate::reconcile::is_same;
use daemon_core::config_file::Settings;
use daemon_core::ids::{BranchUid, WorktreeId};
use daemon_core::plan::Standing;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How long a file that we wrote must be missing before it is written again: its directory may be about to be removed, which
/// takes long when it holds much, and fails if something new appears in it.
const MISSING_FOR: Duration = Duration::from_secs(20);

/// How a file looked; if it looks otherwise, somebody else wrote.
type Stamp = Option<(SystemTime, u64)>;

/// The blocks of one repository's worktrees.
#[derive(Debug)]
pub(crate) struct EnvKeeper {
    /// The files of the worktrees, as they were last inspected.
    files: Arc<Files>,
    inspected_at: std::time::Instant,
    written: BTreeMap<WorktreeId, Written>,
    /// Worktrees that have no branch to use, and no block since that was found.
    cleared: BTreeSet<WorktreeId>,
}

/// What was last written into a worktree's file.
#[derive(Debug)]
struct Written {
    guarded: Arc<Guarded>,
    uid: BranchUid,
    minted: Arc<Minted>,
    /// How it looked after.
    stamp: Stamp,
    /// How it looks now.
    found: Stamp,
    /// When it was first found missing.
    missing_since: Option<Instant>,
}

impl Default for EnvKeeper {
    fn default() -> Self {
        Self {
            files: Arc::default(),
            inspected_at: std::time::Instant::now(),
            written: BTreeMap::new(),
            cleared: BTreeSet::new(),
        }
    }
}

impl EnvKeeper {
    /// Looks at all files that were written, in one go.
    ///
    /// # Errors
    /// When the disk does not answer; then nothing can be written either.
    pub(crate) async fn look(&mut self, disk: &Turnstile) -> Result<(), Hangs> {
        let files = self.written.iter();
        let files: Vec<_> = files
            .map(|(id, written)| (id.clone(), written.guarded.file.path()))
            .collect();
        if files.is_empty() {
            return Ok(());
        }
        let look = move || {
            let found = files.into_iter().map(|(id, path)| (id, stamp(&path)));
            found.collect::<Vec<_>>()
        };
        for (id, found) in disk.run(look).await? {
            if let Some(written) = self.written.get_mut(&id) {
                written.found = found;
            }
        }
        Ok(())
    }

    /// Removes the files of worktrees that are gone, with the directories that are empty then.
    pub(crate) async fn sweep(&mut self, disk: &Turnstile) {
        let files = self.files.clone();
        let sweep = move || {
            let abandoned = files.values().map(|guarded| &guarded.file);
            for file in abandoned.filter(|file| env_writer::is_abandoned(file)) {
                env_writer::remove_abandoned(file);
            }
        };
        if let Err(hangs) = disk.run(sweep).await {
            tracing::debug!(%hangs, "files of removed worktrees may stay");
        }
    }

    /// Takes over the files of the worktrees, whose inspection began then.
    pub(crate) fn inspected(&mut self, files: Arc<Files>, began_at: std::time::Instant) {
        (self.files, self.inspected_at) = (files, began_at);
    }

    /// Keeps a worktree's block in line with its credential.
    ///
    /// # Errors
    /// What hinders that.
    pub(crate) async fn keep(
        &mut self,
        guard: &Arc<EnvGuard>,
        disk: &Turnstile,
        id: &WorktreeId,
        (target, minted): (&Arc<Target>, &Arc<Minted>),
    ) -> Result<(), Problem> {
        let Some(guarded) = self.files.get(id) else {
            return Ok(());
        };
        let verdict = guarded.verdict();
        if let Some(Err(problem)) = verdict {
            // The block was taken out, or will be.
            self.written.remove(id);
            return Err(problem);
        }
        let (guard, place) = (guard.clone(), guarded.clone());
        // One that was there a moment ago and is missing when it is written may be going too.
        let mut may_create = true;
        if let Some(written) = self.written.get_mut(id) {
            let is_right = written.is_right(guarded, minted);
            if is_right && verdict.is_some() || written.may_be_going() {
                return Ok(());
            }
            if written.found.is_some() {
                may_create = false;
            }
            if is_right {
                let since = self.inspected_at;
                let confirmed = disk.run(move || guard.confirm(&place, since)).await;
                return confirmed.map_err(|hangs| hanging(&guarded.file, hangs))?;
            }
        }
        let (of, with) = (target.clone(), minted.clone());
        let write = move || {
            guard
                .write(&place, may_create, &of, &with)
                .map(|()| stamp(&place.file.path()))
        };
        let stamp = disk.run(write).await;
        let stamp = stamp.map_err(|hangs| hanging(&guarded.file, hangs))??;
        let written = Written {
            guarded: guarded.clone(),
            uid: target.uid.clone(),
            minted: minted.clone(),
            stamp,
            found: stamp,
            missing_since: None,
        };
        self.cleared.remove(id);
        self.written.insert(id.clone(), written);
        Ok(())
    }

    /// Takes the blocks out of worktrees that are on another branch by now, which cannot be used yet: who reads the file there
    /// would work on the database of a git branch that was left behind.
    pub(crate) async fn take_back<'a>(
        &mut self,
        disk: &Turnstile,
        worktrees: impl Iterator<Item = &'a WorktreeView>,
    ) {
        let stale = worktrees.filter_map(|worktree| self.stale(worktree));
        let stale: Vec<(WorktreeId, EnvFile)> = stale.collect();
        let files: Vec<EnvFile> = stale.iter().map(|(_, file)| file.clone()).collect();
        if remove(disk, files).await.is_ok() {
            for (id, _) in stale {
                self.written.remove(&id);
                self.cleared.insert(id);
            }
        }
    }

    /// The file in which a worktree may have a block of a branch that is not its own. Of one whose HEAD cannot be read
    /// nothing is known.
    fn stale(&self, worktree: &WorktreeView) -> Option<(WorktreeId, EnvFile)> {
        worktree.slot.as_ref()?;
        let uid = worktree.branch.as_ref().and_then(|branch| branch.uid.as_ref());
        if worktree.standing == Standing::Ready || self.cleared.contains(&worktree.id) {
            return None;
        }
        let file = match self.written.get(&worktree.id) {
            Some(written) => (uid != Some(&written.uid)).then(|| written.guarded.file.clone()),
            // Written by the daemon of last time, perhaps, and for a branch that is only busy.
            None => self.file(&worktree.id).filter(|_| uid.is_none()),
        };
        Some((worktree.id.clone(), file?))
    }

    /// Takes the blocks out of files that are no longer the ones to write: the configuration names another, or none.
    pub(crate) async fn leave(&mut self, disk: &Turnstile, settings: Option<&Settings>) {
        let named = settings.and_then(|settings| settings.env_file.as_deref().map(Path::new));
        let written = std::mem::take(&mut self.written).into_values();
        let files = written
            .map(|written| written.guarded.file.clone())
            .filter(|file| Some(&*file.relative) != named);
        // What could not be done is told there, and nothing more can be done.
        remove(disk, files.collect()).await.ok();
        self.cleared.clear();
    }

    fn file(&self, id: &WorktreeId) -> Option<EnvFile> {
        Some(self.files.get(id)?.file.clone())
    }

    /// Forgets worktrees that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&WorktreeId) -> bool) {
        self.written.retain(|id, _| is_there(id));
        self.cleared.retain(|id| is_there(id));
    }
}

impl Written {
    fn is_right(&self, guarded: &Arc<Guarded>, minted: &Arc<Minted>) -> bool {
        let is_same_file = Arc::ptr_eq(&self.guarded, guarded) || self.guarded.file == guarded.file;
        is_same(&self.minted, minted) && self.found == self.stamp && is_same_file
    }

    fn may_be_going(&mut self) -> bool {
        if self.found.is_some() || !self.guarded.may_hold_block() {
            return false;
        }
        self.missing_since.get_or_insert_with(Instant::now).elapsed() < MISSING_FOR
    }
}

/// Takes our blocks out of files. Where that fails, the passwords end by themselves.
///
/// # Errors
/// When the disk does not answer.
async fn remove(disk: &Turnstile, files: Vec<EnvFile>) -> Result<(), Hangs> {
    if files.is_empty() {
        return Ok(());
    }
    let removed = disk.run(move || env_writer::remove_all(&files)).await;
    if let Err(hangs) = removed {
        tracing::warn!(%hangs, "blocks of ours may stay in `.env` files");
    }
    removed
}

fn hanging(file: &EnvFile, hangs: Hangs) -> Problem {
    Problem {
        message: format!("cannot write `{}`: {hangs}", file.path().display()),
        fix: "check the disk that it is on".into(),
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
