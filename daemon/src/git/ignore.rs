//! Whether a secret may be written to a file: only where git ignores the file and does not track
//! it, by git's own answer. libgit2 is not asked, as it reads some rules in another way (a rule of
//! the user's that the repository negates, the entries of a merge conflict). What git said is kept
//! with the attributes of every file that the answer depends on. Any doubt is a no.

mod ask;
mod configured;
mod stamp;

use super::process::Git;
use crate::clock;
use crate::config;
use ask::Doubt;
use configured::{Configured, UserFiles};
use stamp::Stamps;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How often the configuration is read until no other file turns out to be included.
const READINGS: usize = 4;

/// A file in a worktree that would hold a secret.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SecretPlace<'a> {
    pub(crate) root: &'a Path,
    /// Relative to the root.
    pub(crate) relative: &'a Path,
    pub(crate) admin_dir: &'a Path,
    pub(crate) common_dir: &'a Path,
    /// All of it is on file systems of this machine, whose attributes of files can be relied on.
    pub(crate) is_local: bool,
}

/// The reason why a file must not hold a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// Git does not ignore it.
    NotIgnored,
    /// The index has an entry for it, at whatever stage.
    Tracked,
    /// It is in a repository that is inside the worktree.
    OtherRepository(PathBuf),
    /// This git is too old to be asked.
    OldGit(String),
    /// Git could not say, or gave a warning.
    Unknown(String),
}

/// Proof that git was asked, and that a secret may be written.
#[derive(Debug)]
pub(crate) struct Permit(());

/// An answer, and how long it is good.
#[derive(Debug)]
pub(crate) struct Answer {
    exposure: Option<Exposure>,
    basis: Basis,
}

#[derive(Debug)]
enum Basis {
    /// Good while these are the same.
    Files { shared: Arc<Shared>, own: Stamps },
    /// Good until then. Only for a no.
    Until(Instant),
    /// Good for the moment in which it was given.
    Nothing,
}

/// What the answers about all worktrees of a repository depend on, or about the one that has a
/// configuration of its own.
#[derive(Debug)]
struct Shared {
    configured: Configured,
    /// The files of the configuration.
    files: Stamps,
    /// The files with rules that are in no worktree.
    excludes: Stamps,
    read_at: Instant,
    is_settled: bool,
}

/// Asks git, and remembers what concerns more than one file.
#[derive(Debug)]
pub(crate) struct IgnoreRules {
    git: Git,
    user: UserFiles,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    is_new_enough: bool,
    system_file: Option<PathBuf>,
    /// By common directory, or by the git directory of the worktree whose own it is.
    shared: HashMap<PathBuf, Arc<Shared>>,
    /// Common directories of repositories whose configuration git did not read in time, and until
    /// when it is not asked again.
    late: HashMap<PathBuf, Instant>,
}

/// One validation of many answers: what they share is looked at once.
#[derive(Debug, Default)]
pub(crate) struct Glance(HashMap<*const Shared, (Arc<Shared>, bool)>);

impl Default for IgnoreRules {
    fn default() -> Self {
        Self::with_env(&config::git_env().collect::<Vec<_>>())
    }
}

impl Glance {
    fn is_still(&mut self, shared: &Arc<Shared>) -> bool {
        let look = || (shared.clone(), shared.is_still());
        self.0.entry(Arc::as_ptr(shared)).or_insert_with(look).1
    }
}

impl Shared {
    fn is_still(&self) -> bool {
        self.files.are_still() && self.excludes.are_still()
    }
}

impl Answer {
    /// Returns the permit to write a secret.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn permit(&self) -> Result<Permit, Exposure> {
        match &self.exposure {
            None => Ok(Permit(())),
            Some(exposure) => Err(exposure.clone()),
        }
    }

    /// Returns whether git is certain to say the same now. Reads attributes of files only.
    pub(crate) fn is_still(&self, glance: &mut Glance) -> bool {
        match &self.basis {
            Basis::Files { shared, own } => glance.is_still(shared) && own.are_still(),
            Basis::Until(until) => Instant::now() < *until,
            Basis::Nothing => false,
        }
    }
}

impl IgnoreRules {
    fn with_env(env: &[(&'static str, OsString)]) -> Self {
        Self {
            git: Git::with_env(env.iter().cloned()),
            user: UserFiles::new(env.iter().cloned()),
            memory: Mutex::default(),
        }
    }

    /// Returns an answer that was true at some time after `since`: the one of before where nothing
    /// that it depends on has changed, else git's. Blocking.
    pub(crate) fn answer(&self, place: SecretPlace<'_>, before: Option<Answer>, since: Instant) -> Answer {
        let before = match before {
            Some(answer) if answer.is_still(&mut Glance::default()) => return answer,
            before => before.and_then(|before| self.carried_over(place, before, since)),
        };
        before.unwrap_or_else(|| match self.ask(place, since) {
            Ok(answer) => answer,
            Err(Doubt { exposure, basis }) => Answer {
                exposure: Some(exposure),
                basis,
            },
        })
    }

    /// Returns the answer of before where only a part of the configuration has changed that
    /// concerns no ignored file.
    fn carried_over(&self, place: SecretPlace<'_>, before: Answer, since: Instant) -> Option<Answer> {
        let Basis::Files { shared: then, own } = before.basis else {
            return None;
        };
        let now = self.shared(place, since).ok()?;
        let is_alike = now.configured == then.configured && now.excludes == then.excludes && own.are_still();
        // While the new files are unsettled the old ones stay the basis, so that the next
        // validation comes here again.
        let shared = if now.is_settled { now } else { then };
        is_alike.then_some(Answer {
            exposure: before.exposure,
            basis: Basis::Files { shared, own },
        })
    }

    fn ask(&self, place: SecretPlace<'_>, since: Instant) -> Result<Answer, Doubt> {
        self.check_version()?;
        let shared = self.shared(place, since)?;
        // Before git reads them: if one changes in between, the next look at its attributes shows
        // it.
        let own = Stamps::of(own_files(place, &shared.configured));
        if let Some(inner) = own.present(".git") {
            let dir = inner.parent().unwrap_or(inner).to_owned();
            return Err(Exposure::OtherRepository(dir).into());
        }
        for stamps in [&own, &shared.excludes] {
            check_regular(stamps)?;
        }
        let exposure = ask::exposure(&self.git, place, &shared.configured)?;
        let is_kept = place.is_local
            && is_clear(place, &shared.configured)
            && shared.is_settled
            && own.are_settled(clock::now());
        let basis = if is_kept {
            Basis::Files { shared, own }
        } else {
            Basis::Nothing
        };
        Ok(Answer { exposure, basis })
    }

    fn check_version(&self) -> Result<(), Doubt> {
        if !self.memory().is_new_enough {
            ask::check_version(&self.git)?;
            self.memory().is_new_enough = true;
        }
        Ok(())
    }

    /// The configuration as it is, or as it was at some time after `since`.
    fn shared(&self, place: SecretPlace<'_>, since: Instant) -> Result<Arc<Shared>, Doubt> {
        if let Some(shared) = self.known(place)?
            && place.is_local
        {
            let is_new = shared.read_at >= since && shared.excludes.are_still();
            if is_new || shared.is_settled && shared.is_still() {
                return Ok(shared);
            }
        }
        let shared = Arc::new(self.read(place).inspect_err(|doubt| {
            if let Basis::Until(until) = doubt.basis {
                self.memory().late.insert(place.common_dir.to_owned(), until);
            }
        })?);
        let mut memory = self.memory();
        memory.shared.remove(place.admin_dir);
        let key = if shared.configured.is_of_one_worktree() {
            place.admin_dir
        } else {
            place.common_dir
        };
        memory.shared.insert(key.to_owned(), shared.clone());
        Ok(shared)
    }

    fn known(&self, place: SecretPlace<'_>) -> Result<Option<Arc<Shared>>, Doubt> {
        let memory = self.memory();
        let late = memory.late.get(place.common_dir).copied();
        if let Some(until) = late.filter(|until| Instant::now() < *until) {
            return Err(Doubt {
                exposure: Exposure::Unknown("git did not read the configuration in time".into()),
                basis: Basis::Until(until),
            });
        }
        let of_worktree = memory.shared.get(place.admin_dir);
        let of_repository = memory.shared.get(place.common_dir);
        // In the place of the repository's may be that of the main worktree alone.
        let of_repository = of_repository.filter(|shared| !shared.configured.is_of_one_worktree());
        Ok(of_worktree.or(of_repository).cloned())
    }

    fn read(&self, place: SecretPlace<'_>) -> Result<Shared, Doubt> {
        let read_at = Instant::now();
        let named = self.configurations(place)?;
        let mut included = vec![];
        let mut configured = Configured::default();
        let mut files = Stamps::of([]);
        let mut is_complete = false;
        for _ in 0..READINGS {
            // Before git reads them, here too; so once more if a file that is included was not
            // among them.
            files = Stamps::of(named.iter().chain(&included).cloned());
            check_regular(&files)?;
            configured = ask::configured(&self.git, place.root, &self.user)?;
            is_complete = configured.included(place) == included;
            if is_complete {
                break;
            }
            included = configured.included(place);
        }
        let excludes = configured.excludes(place.common_dir, &self.user);
        let now = clock::now();
        let is_settled = is_complete && files.are_settled(now) && excludes.are_settled(now);
        Ok(Shared {
            configured,
            files,
            excludes,
            read_at,
            is_settled,
        })
    }

    /// The files that git reads its configuration from, whether or not they are there.
    fn configurations(&self, place: SecretPlace<'_>) -> Result<Vec<PathBuf>, Doubt> {
        let known = self.memory().system_file.clone();
        let system_file = match known {
            Some(file) => file,
            None => ask::system_file(&self.git)?,
        };
        self.memory().system_file = Some(system_file.clone());
        let mut files = self.user.configurations();
        files.extend([system_file, place.common_dir.join("config")]);
        Ok(files)
    }

    /// Forgets what is known of a worktree that is gone, or of a repository by its main worktree.
    pub(crate) fn forget(&self, admin_dir: &Path) {
        let mut memory = self.memory();
        memory.shared.remove(admin_dir);
        memory.late.remove(admin_dir);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that an answer about one worktree depends on, besides those that it shares: its index,
/// the rules on the way to the file, and what would make a directory on the way another repository.
fn own_files(place: SecretPlace<'_>, configured: &Configured) -> Vec<PathBuf> {
    let mut files = vec![place.admin_dir.join("index"), place.root.join(".gitignore")];
    if configured.depends_on_head() {
        files.push(place.admin_dir.join("HEAD"));
    }
    let dirs = place.relative.ancestors().skip(1);
    for dir in dirs.filter(|dir| !dir.as_os_str().is_empty()) {
        let dir = place.root.join(dir);
        files.extend([dir.join(".gitignore"), dir.join(".git")]);
    }
    files
}

fn check_regular(stamps: &Stamps) -> Result<(), Doubt> {
    let Some(odd) = stamps.odd() else {
        return Ok(());
    };
    let what = format!("`{}` is not a regular file that can be read", odd.display());
    Err(Exposure::Unknown(what).into())
}

/// Returns whether all is known that the answer depends on.
fn is_clear(place: SecretPlace<'_>, configured: &Configured) -> bool {
    let is_root = |work_tree: &Path| {
        let dir = place.common_dir.join(work_tree).canonicalize();
        dir.is_ok_and(|dir| dir == place.root)
    };
    let is_in_place = configured.work_tree().is_none_or(is_root);
    let shows_head = !(configured.depends_on_head() && configured.is_reftable());
    is_in_place && shows_head && !configured.is_unclear
}

#[cfg(test)]
mod tests;
