//! Attributes of the files that an answer of git depends on. While they are the same, so is the
//! answer.

use super::super::version::Version;
use daemon_core::Timestamp;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A file that git read, or would have read had it been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    Missing,
    /// A regular file.
    File(Version),
    /// `/dev/null`, which is how git is told to read nothing.
    Null,
    /// A link: its own attributes, and those of the regular file that it leads to, if there is one.
    Link(Version, Target),
    /// Neither, or its attributes cannot be read. Reading it could block (a FIFO) or never end (a
    /// device).
    Odd,
}

/// The end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Missing,
    File(Version),
    Null,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        let meta = match std::fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if is_missing(&error) => return Self::Missing,
            Err(_) => return Self::Odd,
        };
        if meta.is_file() {
            return Self::File(Version::new(&meta));
        }
        if !meta.is_symlink() {
            return if is_null(&meta) { Self::Null } else { Self::Odd };
        }
        let link = Version::new(&meta);
        match std::fs::metadata(path) {
            Ok(target) if target.is_file() => Self::Link(link, Target::File(Version::new(&target))),
            Ok(target) if is_null(&target) => Self::Link(link, Target::Null),
            Err(error) if is_missing(&error) => Self::Link(link, Target::Missing),
            Ok(_) | Err(_) => Self::Odd,
        }
    }

    /// Returns whether the next change is certain to look different.
    fn is_settled(self, now: Timestamp) -> bool {
        match self {
            Self::Missing | Self::Null => true,
            Self::File(file) | Self::Link(file, Target::Missing | Target::Null) => file.is_settled(now),
            Self::Link(link, Target::File(file)) => link.is_settled(now) && file.is_settled(now),
            Self::Odd => false,
        }
    }
}

fn is_null(meta: &Metadata) -> bool {
    let null = std::fs::metadata("/dev/null");
    let is_device = meta.file_type().is_char_device();
    is_device && null.is_ok_and(|null| null.rdev() == meta.rdev())
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Files with their stamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamps(Box<[(PathBuf, Stamp)]>);

impl Stamps {
    pub(super) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamped = |path: PathBuf| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        };
        Self(paths.into_iter().map(stamped).collect())
    }

    /// Returns whether all files are as they were.
    pub(super) fn are_still(&self) -> bool {
        self.0.iter().all(|(path, stamp)| Stamp::of(path) == *stamp)
    }

    pub(super) fn are_settled(&self, now: Timestamp) -> bool {
        self.0.iter().all(|(_, stamp)| stamp.is_settled(now))
    }

    /// Returns a file that git must not be made to read.
    pub(super) fn odd(&self) -> Option<&Path> {
        let odd = self.0.iter().find(|(_, stamp)| *stamp == Stamp::Odd);
        odd.map(|(path, _)| path.as_path())
    }

    /// Returns a file that is there, of those whose names end so.
    pub(super) fn present(&self, name: &str) -> Option<&Path> {
        let is_present = |(path, stamp): &&(PathBuf, Stamp)| path.ends_with(name) && *stamp != Stamp::Missing;
        self.0.iter().find(is_present).map(|(path, _)| path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join(".gitignore");
        (dir, path)
    }

    /// Each change is one that `stat` shows without a difference in the time of the last write.
    #[test]
    fn sec_33_whatever_happens_to_a_file_changes_its_stamp() {
        let (dir, path) = dir();
        let other = dir.path().join("other");
        let mut seen = vec![Stamp::of(&path)];
        let mut note = |what: &str| {
            let now = Stamp::of(&path);
            assert!(!seen.contains(&now), "{what}: {now:?} of {seen:?}");
            seen.push(now);
        };
        assert_eq!(Stamp::of(&path), Stamp::Missing);
        fs::write(&path, ".env\n").expect("written");
        note("it appears");
        fs::write(&other, "!.env").expect("written");
        fs::rename(&other, &path).expect("renamed");
        note("another file of the same size takes its place");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("changed");
        note("it can no longer be read");
        fs::rename(&path, &other).expect("renamed");
        symlink(&other, &path).expect("linked");
        note("a link takes its place");
        fs::write(dir.path().join("third"), ".env\n").expect("written");
        fs::rename(dir.path().join("third"), &other).expect("renamed");
        note("the target of the link is replaced");
        fs::remove_file(&other).expect("removed");
        note("the target of the link is removed");
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("made");
        note("a directory takes its place");
        assert_eq!(Stamp::of(&path), Stamp::Odd);
    }

    #[test]
    fn sec_33_a_file_below_a_file_is_missing_and_a_loop_is_odd() {
        let (dir, path) = dir();
        fs::write(&path, "").expect("written");
        assert_eq!(Stamp::of(&path.join(".git")), Stamp::Missing);
        let endless = dir.path().join("loop");
        symlink(&endless, &endless).expect("linked");
        assert_eq!(Stamp::of(&endless), Stamp::Odd);
        assert_eq!(Stamp::of(Path::new("/dev/null")), Stamp::Null);
        assert_eq!(Stamp::of(Path::new("/dev/zero")), Stamp::Odd);
        let masked = dir.path().join("masked");
        symlink("/dev/null", &masked).expect("linked");
        assert!(matches!(Stamp::of(&masked), Stamp::Link(_, Target::Null)));
    }

    #[test]
    fn sec_33_stamps_are_kept_only_of_files_that_were_left_alone_for_a_while() {
        let (_dir, path) = dir();
        fs::write(&path, ".env\n").expect("written");
        let stamps = Stamps::of([path.clone(), path.with_file_name("missing")]);
        let now = crate::clock::now();
        assert!(stamps.are_still());
        assert!(!stamps.are_settled(now));
        assert!(stamps.are_settled(now + TimeDelta::minutes(1)));
        fs::write(path.with_file_name("missing"), "").expect("written");
        assert!(!stamps.are_still(), "a file that appears counts");
    }
}
