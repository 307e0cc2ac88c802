//! `lost/`: data directories that the catalog does not name. They are moved here and never removed; a name says which branch,
//! since when and why.

use super::layout::LOST;
use crate::engine::BranchKey;
use chrono::{DateTime, Utc};
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The form of a time in a name.
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// Reason why a data directory was moved to `lost/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No branch of the catalog has it.
    NotInCatalog,
    /// It has no descriptor, so that no branch can be restored from it.
    NoDescriptor,
    /// Its descriptor describes another directory: it is a copy.
    Copy,
    /// It is of a branch that was never finished.
    Unfinished,
    /// Its data are not complete.
    Incomplete,
    /// Another branch has its name.
    NameTaken,
}

impl Reason {
    fn slug(self) -> &'static str {
        match self {
            Self::NotInCatalog => "not-in-catalog",
            Self::NoDescriptor => "no-descriptor",
            Self::Copy => "copy",
            Self::Unfinished => "unfinished",
            Self::Incomplete => "incomplete",
            Self::NameTaken => "name-taken",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInCatalog => "the catalog does not name it",
            Self::NoDescriptor => "it has no descriptor, and the catalog does not name it",
            Self::Copy => "its descriptor is of another directory: it is a copy",
            Self::Unfinished => "its branch was never finished",
            Self::Incomplete => "its data are not complete: there is no `pg_control`",
            Self::NameTaken => "another branch has its name",
        })
    }
}

/// Directory in `lost/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) path: PathBuf,
    /// The branch that its name states; none if this program did not name it.
    pub(crate) key: Option<BranchKey>,
}

/// Returns the directories in `lost/`, by name.
pub(crate) fn list(root: &Path) -> io::Result<Vec<Lost>> {
    let entries = match fs::read_dir(root.join(LOST)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut found = vec![];
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let key = entry.file_name().to_str().and_then(key_in);
            let path = entry.path();
            found.push(Lost { path, key });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Moves a branch's directory to `lost/` and returns its new place.
pub(crate) fn set_aside(
    root: &Path,
    key: &BranchKey,
    reason: Reason,
    now: DateTime<Utc>,
) -> io::Result<PathBuf> {
    let lost = root.join(LOST);
    match DirBuilder::new().mode(0o700).create(&lost) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let from = super::layout::branch_dir(root, key);
    let name = format!(
        "{}.{}.{}.{}",
        key.project,
        key.uid,
        now.format(TIME),
        reason.slug()
    );
    let to = free_name(&lost, &name);
    fs::rename(&from, &to)?;
    sync(&lost)?;
    sync(from.parent().unwrap_or(root))?;
    Ok(to)
}

/// Moves a directory from `lost/` back to its branch's place, which must be free.
pub(crate) fn take_back(root: &Path, lost: &Path, key: &BranchKey) -> io::Result<()> {
    let to = super::layout::branch_dir(root, key);
    if fs::symlink_metadata(&to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(lost, &to)?;
    sync(&root.join(LOST))?;
    sync(to.parent().unwrap_or(root))
}

/// Returns a path that nothing has: two directories may be moved within a second.
pub(crate) fn free_name(dir: &Path, name: &str) -> PathBuf {
    let numbered = (1_u32..).map(|n| match n {
        1 => dir.join(name),
        n => dir.join(format!("{name}.{n}")),
    });
    let mut free = numbered.skip_while(|path| fs::symlink_metadata(path).is_ok());
    free.next().unwrap_or_else(|| dir.join(name))
}

/// Returns the time as a part of a file's name.
pub(crate) fn stamp(now: DateTime<Utc>) -> String {
    now.format(TIME).to_string()
}

fn key_in(name: &str) -> Option<BranchKey> {
    let mut parts = name.split('.');
    let key = BranchKey {
        project: parts.next()?.to_owned(),
        uid: parts.next()?.to_owned(),
    };
    let time = chrono::NaiveDateTime::parse_from_str(parts.next()?, TIME);
    (key.is_plain() && time.is_ok()).then_some(key)
}

/// A rename is durable once both directories are.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-08-01T10:00:00.5Z".parse().expect("a time")
    }

    fn key() -> BranchKey {
        BranchKey {
            project: "shop".into(),
            uid: "br-calm-sea-12345678".into(),
        }
    }

    #[test]
    fn ll_06_what_is_moved_says_which_branch_when_and_why_and_comes_back() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let place = super::super::layout::branch_dir(dir.path(), &key());
        for n in 1..=2 {
            fs::create_dir_all(place.join("pgdata")).expect("made");
            let moved = set_aside(dir.path(), &key(), Reason::NotInCatalog, now()).expect("moved");
            let name = moved.file_name().expect("a name").to_string_lossy().into_owned();
            let base = "shop.br-calm-sea-12345678.20260801T100000Z.not-in-catalog";
            assert_eq!(name, [base.to_owned(), format!("{base}.2")][n - 1]);
        }
        let lost = list(dir.path()).expect("listed");
        assert!(lost.iter().all(|lost| lost.key == Some(key())), "{lost:?}");
        take_back(dir.path(), &lost[0].path, &key()).expect("moved back");
        assert!(place.join("pgdata").is_dir());
        let taken = take_back(dir.path(), &lost[1].path, &key()).expect_err("its place is taken");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(list(dir.path()).expect("listed"), lost[1..]);
    }

    #[test]
    fn a_directory_that_the_user_put_there_is_of_no_branch() {
        assert_eq!(key_in("my backup"), None);
        assert_eq!(key_in("shop.br-x"), None);
        assert_eq!(key_in("shop.br-x.yesterday.copy"), None);
        assert_eq!(key_in("Shop.br-x.20260801T100000Z.copy"), None);
    }
}
