//! Reads git: which worktrees a repository has, where their HEADs point, which files git ignores.
//! The only user of git2, which is never asked to fetch. Git itself is run for what libgit2 cannot
//! open and for what it ignores. Changes nothing, and says "unknown" where it could not look.

use crate::machine::is_remote;
use crate::patient::Hangs;
use daemon_core::Timestamp;
use daemon_core::ids::{GitRef, Slot, WorktreeId};
use daemon_core::state::{GitView, Head, Seen, Worktree};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

mod claimants;
mod command;
mod committed;
mod fate;
mod head;
mod ignore;
mod link;
mod linked;
mod process;
mod renames;
mod version;

pub(crate) use claimants::{Claims, claims};
pub(crate) use committed::committed;
use fate::{Life, StoodIn};
pub(crate) use head::{HeadVersion, now as head_now};
pub(crate) use ignore::{Answer, Exposure, Glance, IgnoreRules, Permit, SecretPlace};
pub(crate) use link::leads_back;
use linked::Remembered;

/// What git says of itself, as in `git version 2.39.5`. Blocking.
pub(crate) fn version() -> Result<String, String> {
    command::version()
}

/// Returns major and minor number of `git version 2.39.5 (Apple Git-154)`.
pub(crate) fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(' ').nth(2)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Why a repository cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("cannot find a git repository at `{path}`")]
    NotARepository { path: PathBuf, source: git2::Error },
    #[error("cannot read the git repository at `{path}`")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot read the git repository at `{path}`: {why}")]
    Odd { path: PathBuf, why: String },
    #[error("cannot read the git repository at `{path}`")]
    Hangs { path: PathBuf, source: Hangs },
}

/// Where the parts of a repository are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) common_dir: PathBuf,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// When the common directory was made, in nanoseconds, where the file system tells.
    pub(crate) born: Option<i64>,
    /// `None` for a bare repository, and for one whose git directory does not tell where its worktree is.
    pub(crate) main_worktree: Option<PathBuf>,
    pub(crate) hooks_dir: PathBuf,
}

impl Place {
    /// Its root directory; empty where something else is in its place.
    pub(crate) fn root(&self) -> &Path {
        if self.is_foreign {
            Path::new("")
        } else {
            &self.root
        }
    }

    /// The directory to watch for the root, and its name in there.
    pub(crate) fn entry(&self) -> Option<(&Path, &OsStr)> {
        self.root.parent().zip(self.root.file_name())
    }

    /// The version of HEAD that was read, if its file tells where it points and one can rely on seeing the next one.
    pub(crate) fn head_version(&self) -> Option<HeadVersion> {
        self.remembered.head.as_ref().map(|(version, _)| *version)
    }
}

impl Located {
    /// Where `lakebase.config` is, or belongs: in the main worktree, or in a bare repository's directory.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.main_worktree
            .as_ref()
            .unwrap_or(&self.common_dir)
            .join(crate::repository_config::FILE)
    }
}

/// Where a worktree is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Its root directory, as its git directory names it.
    root: PathBuf,
    /// Something is there that does not lead back to its git directory, so nothing of ours belongs there.
    is_foreign: bool,
    /// Its git directory, with HEAD in it.
    pub(crate) admin_dir: PathBuf,
    /// Device and inode of the root, if that was there and leads back.
    pub(crate) stands_at: Option<(u64, u64)>,
    /// When its git directory was made, in nanoseconds, where the file system tells. Git never changes it.
    pub(crate) born: Option<i64>,
    remembered: Remembered,
    /// What tells later whether the directory was removed or its disk went away.
    stood_in: Option<StoodIn>,
}

/// One complete look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) view: GitView,
    pub(crate) places: BTreeMap<WorktreeId, Place>,
    /// A part of it is on a file system that does not tell of all changes.
    pub(crate) is_remote: bool,
    /// By the worktrees that records are about.
    lives: BTreeMap<WorktreeId, Life>,
}

/// Finds the repository that holds a path.
///
/// # Errors
/// [`GitError`] when there is none, or it cannot be read.
pub(crate) fn locate(path: &Path) -> Result<Located, GitError> {
    // Unlike `discover`, this keeps the worktree that it came from.
    let flags = git2::RepositoryOpenFlags::CROSS_FS;
    match git2::Repository::open_ext(path, flags, &[] as &[&OsStr]) {
        Ok(here) => {
            // From within the main worktree is the one place that always tells where it is.
            let is_main = here.path() == here.commondir() && !here.is_bare();
            let worktree = here.workdir().filter(|_| is_main).map(Path::to_owned);
            locate_again(here.commondir(), worktree.as_deref())
        }
        Err(error) if is_beyond_libgit2(&error, path) => {
            let odd = |why| GitError::Odd {
                path: path.to_owned(),
                why,
            };
            locate_again(&command::common_dir(path).map_err(odd)?, None)
        }
        Err(source) => Err(GitError::NotARepository {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Finds the parts of a repository by its common directory. `worktree` is where its main worktree was when it was registered.
///
/// # Errors
/// [`GitError`] when it is gone, or cannot be read.
pub(crate) fn locate_again(common_dir: &Path, worktree: Option<&Path>) -> Result<Located, GitError> {
    let unreadable = |source| GitError::Unreadable {
        path: common_dir.to_owned(),
        source,
    };
    let common_dir = common_dir.canonicalize().map_err(unreadable)?;
    let meta = std::fs::metadata(&common_dir).map_err(unreadable)?;
    let access = Access::open(&common_dir).map_err(|why| GitError::Odd {
        path: common_dir.clone(),
        why,
    })?;
    let main_worktree = access.main_worktree(&common_dir, worktree);
    let hooks_dir = access.hooks_dir(&common_dir, main_worktree.as_deref());
    Ok(Located {
        device: meta.dev(),
        inode: meta.ino(),
        born: born(&meta),
        common_dir,
        main_worktree,
        hooks_dir,
    })
}

/// Says whether a repository is there that libgit2 takes for none, or cannot open; git itself may know it.
fn is_beyond_libgit2(error: &git2::Error, path: &Path) -> bool {
    let has_one =
        |dir: &Path| dir.join(".git").exists() || dir.join("HEAD").exists() && dir.join("objects").exists();
    error.code() != git2::ErrorCode::Owner && path.ancestors().any(has_one)
}

/// How a repository is read: by libgit2, or by git for what that cannot open.
enum Access {
    Library(git2::Repository),
    Command(command::Listing),
}

impl Access {
    fn open(common_dir: &Path) -> Result<Self, String> {
        match git2::Repository::open(common_dir) {
            Ok(repository) => Ok(Self::Library(repository)),
            Err(error) => {
                let listing = if is_beyond_libgit2(&error, common_dir) {
                    command::Listing::read(common_dir)
                } else {
                    Err(error.message().to_owned())
                };
                listing.map(Self::Command).map_err(|why| {
                    format!(
                        "cannot open `{}`: {} ({why})",
                        common_dir.display(),
                        error.message()
                    )
                })
            }
        }
    }

    /// The main worktree: where the git directory says, unless that is not where git's own link back is found.
    fn main_worktree(&self, common_dir: &Path, registered: Option<&Path>) -> Option<PathBuf> {
        let told = match self {
            Self::Library(repository) => repository.workdir().map(Path::to_owned),
            Self::Command(listing) => listing.main.clone(),
        };
        let candidates = [told.as_deref(), registered].into_iter().flatten();
        let mut roots = candidates.filter_map(|root| root.canonicalize().ok());
        roots.find(|root| link::leads_back(root, common_dir))
    }

    /// `core.hooksPath` (relative to where hooks run), else `hooks` in the common directory.
    fn hooks_dir(&self, common_dir: &Path, main_worktree: Option<&Path>) -> PathBuf {
        let configured = match self {
            Self::Library(repository) => repository
                .config()
                .and_then(|c| c.get_path("core.hooksPath"))
                .ok(),
            Self::Command(_) => command::hooks_path(common_dir),
        };
        match configured {
            Some(path) => main_worktree.unwrap_or(common_dir).join(path),
            None => common_dir.join("hooks"),
        }
    }

    /// Where HEAD of a worktree points, which its file need not be read for again if it is of the version known.
    fn head_of(&self, place: &mut Place, known: Option<(HeadVersion, Head)>) -> Head {
        if let Some((version, head)) = known
            && version.is_still(&place.admin_dir)
        {
            place.remembered.head = Some((version, head.clone()));
            return head;
        }
        match (self, head::read(&place.admin_dir)) {
            (Self::Command(listing), (Head::Unknown(_), _)) => {
                head::in_use(listing.head(&place.root), &place.admin_dir)
            }
            (_, (head, version)) => {
                place.remembered.head = version.map(|version| (version, head.clone()));
                head
            }
        }
    }

    /// Says whether a ref exists; `None` where nobody can tell because of its name.
    fn has(&self, name: &GitRef) -> Result<Option<bool>, String> {
        let repository = match self {
            Self::Library(repository) => repository,
            Self::Command(listing) => return Ok(Some(listing.has(name))),
        };
        match repository.find_reference(name.as_str()) {
            Ok(_) => Ok(Some(true)),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(Some(false)),
            // It is no name by libgit2's rules, or longer than its limit of 1024 bytes.
            Err(error)
                if matches!(
                    error.code(),
                    git2::ErrorCode::InvalidSpec | git2::ErrorCode::BufSize
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(format!("cannot look up `{name}`: {}", error.message())),
        }
    }
}

/// Inodes are used again, so a directory is told from a later one by its birth too.
fn born(meta: &std::fs::Metadata) -> Option<i64> {
    let age = meta.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    age.as_nanos().try_into().ok()
}

/// What to look at, and what is known from before.
pub(crate) struct Question {
    pub(crate) common_dir: PathBuf,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) born: Option<i64>,
    /// Where the main worktree was when the repository was registered.
    pub(crate) main_worktree: Option<PathBuf>,
    /// Refs whose existence is asked, and since when they have records.
    pub(crate) refs: BTreeMap<GitRef, Timestamp>,
    /// The records about worktrees with a detached HEAD, and since when there are; `None` while they are not known.
    pub(crate) worktrees: Option<BTreeMap<WorktreeId, Timestamp>>,
}

/// Looks at all worktrees. Blocking: a dead file system can hold it for long.
pub(crate) fn look(question: &Question, before: Option<&Found>) -> Seen<Found> {
    match try_look(question, before) {
        Ok(found) => Seen::Present(found),
        Err(reason) => Seen::Unknown(reason),
    }
}

fn try_look(question: &Question, before: Option<&Found>) -> Result<Found, String> {
    let common_dir = &question.common_dir;
    let meta = std::fs::metadata(common_dir).map_err(|error| cannot("read", common_dir, &error))?;
    let is_other_birth = matches!((born(&meta), question.born), (Some(now), Some(then)) if now != then);
    if (meta.dev(), meta.ino()) != (question.device, question.inode) || is_other_birth {
        return Err(format!(
            "`{}` is another repository now; run `lakebase init` in it",
            common_dir.display()
        ));
    }
    let access = Access::open(common_dir)?;
    let mut found = Found::default();
    let main_worktree = access.main_worktree(common_dir, question.main_worktree.as_deref());
    let trusted = before.filter(|before| !before.is_remote);
    add_main(&access, &mut found, common_dir, main_worktree, trusted);
    let mut look = linked::Look::new(&access, common_dir, trusted);
    for name in linked_names(common_dir)? {
        look.add(&mut found, &name);
    }
    (found.view.refs, found.view.renamed) = look_at_refs(&access, question, &found.view)?;
    found.is_remote = is_remote(common_dir) || found.is_on_remote();
    fate::compare(question, before, &mut found);
    Ok(found)
}

fn add_main(
    access: &Access,
    found: &mut Found,
    common_dir: &Path,
    root: Option<PathBuf>,
    before: Option<&Found>,
) {
    let is_bare = root.is_none();
    let root = root.unwrap_or_else(|| common_dir.to_owned());
    let known = before.and_then(|before| before.places.get(&WorktreeId::Main));
    let meta = std::fs::symlink_metadata(&root).ok();
    let mut place = Place {
        stands_at: meta.map(|meta| (meta.dev(), meta.ino())),
        root,
        admin_dir: common_dir.to_owned(),
        ..Place::default()
    };
    let head = access.head_of(&mut place, known.and_then(|place| place.remembered.head.clone()));
    if let Head::Branch(name) = &head {
        found.view.main_branch = Some(name.clone());
    }
    if !is_bare {
        found.add(WorktreeId::Main, head, false, place);
    }
}

impl Found {
    /// Says whether a worktree is on a file system of others. All on one device are on the same.
    fn is_on_remote(&self) -> bool {
        let mut devices = BTreeSet::new();
        let mut places = self.places.values();
        places.any(|place| {
            let is_new = place.stands_at.is_none_or(|(device, _)| devices.insert(device));
            is_new && is_remote(&place.root)
        })
    }

    fn add(&mut self, id: WorktreeId, head: Head, is_locked: bool, place: Place) {
        let dir_name = place
            .root
            .file_name()
            .unwrap_or(OsStr::new(""))
            .to_string_lossy()
            .into_owned();
        self.view.worktrees.push(Worktree {
            id: id.clone(),
            dir_name,
            head,
            is_locked,
        });
        self.places.insert(id, place);
    }
}

/// The names below `worktrees/`, every one or an error. No such directory means no linked worktree.
fn linked_names(common_dir: &Path) -> Result<Vec<String>, String> {
    let dir = common_dir.join("worktrees");
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(cannot("list", &dir, &error)),
    };
    let mut names = vec![];
    for entry in entries {
        let entry = entry.map_err(|error| cannot("list", &dir, &error))?;
        let name = entry.file_name().into_string();
        // Git makes these names of printable ASCII; any other is not git's.
        names
            .push(name.map_err(|name| format!("`{}` holds the odd name {}", dir.display(), name.display()))?);
    }
    names.sort_unstable();
    Ok(names)
}

/// Those of the asked-for refs that exist, and the names of today of those that were renamed.
fn look_at_refs(
    access: &Access,
    question: &Question,
    view: &GitView,
) -> Result<(BTreeSet<GitRef>, BTreeMap<GitRef, GitRef>), String> {
    let (mut existing, mut missing) = (BTreeSet::new(), BTreeMap::new());
    let heads: BTreeSet<_> = view.worktrees.iter().filter_map(Worktree::slot).collect();
    for (name, since) in &question.refs {
        // One that nobody can look for is not proven gone. That is its own trouble, not its repository's.
        if access.has(name)?.unwrap_or(true) {
            existing.insert(name.clone());
        } else if !heads.contains(&Slot::Ref(name.clone())) {
            missing.insert(name.clone(), *since);
        }
    }
    let mut renamed = renames::follow(&question.common_dir, &missing);
    for (old, to) in renamed.clone() {
        let is_there = access.has(&to)?;
        if is_there.is_none() {
            existing.insert(old.clone());
        }
        if is_there != Some(true) {
            renamed.remove(&old);
        }
    }
    Ok((existing, renamed))
}

/// Says whether HEAD of a worktree is certain to point where it did. A glance, for a file system of this machine.
pub(crate) fn is_head_still(admin_dir: &Path, version: HeadVersion) -> bool {
    version.is_still(admin_dir)
}

/// When the git directory of a worktree was made, where the file system tells.
pub(crate) fn born_at(admin_dir: &Path) -> Option<i64> {
    born(&std::fs::symlink_metadata(admin_dir).ok()?)
}

/// Says whether a directory is the one that it was, and no link to it. A glance, for a file system of this machine.
pub(crate) fn is_root_still(root: &Path, stands_at: (u64, u64)) -> bool {
    let meta = std::fs::symlink_metadata(root);
    meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == stands_at)
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {verb} `{}`: {error}", path.display())
}

#[cfg(test)]
mod tests;
