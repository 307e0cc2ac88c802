//! Reads git's small files, and tells from its attributes whether one has to be read again. Knows nothing of what is in them.

use crate::clock;
use chrono::TimeDelta;
use daemon_core::Timestamp;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The largest HEAD, `gitdir` or `locked` file that is read.
const MAX_GIT_FILE: u64 = 8 * 1024;

/// A file that changed more lately may do so again within the same tick of its file system's clock, and look the same: git calls
/// its index racy then. The longest ticks last two seconds.
const SETTLED: TimeDelta = TimeDelta::seconds(3);

/// What two versions of a file or a directory never have in common. Only to be kept for file systems of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds; unlike the time of the last writing, nobody can set it.
    changed: (i64, i64),
}

impl Version {
    /// The version that is there now; `None` if that is no regular file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::symlink_metadata(path).ok()?;
        meta.is_file().then(|| Self::new(&meta))
    }

    /// The version of a directory, which changes with the names in it; `None` if that is none.
    pub(super) fn of_dir(path: &Path) -> Option<Self> {
        let meta = std::fs::symlink_metadata(path).ok()?;
        meta.is_dir().then(|| Self::new(&meta))
    }

    /// The same, if it has settled.
    pub(super) fn of_settled_dir(path: &Path) -> Option<Self> {
        Self::of_dir(path).filter(|version| version.is_settled(clock::now()))
    }

    pub(super) fn new(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Says whether a version after this one is certain to look different.
    pub(super) fn is_settled(&self, now: Timestamp) -> bool {
        let nanos = self.changed.1.try_into().unwrap_or_default();
        let changed_at = Timestamp::from_timestamp(self.changed.0, nanos);
        changed_at.is_some_and(|at| now - at >= SETTLED)
    }
}

/// Reads a small regular file of git's; never follows a link, never waits for a FIFO. Tells its version, too, if it has settled.
pub(super) fn read(path: &Path) -> io::Result<(Vec<u8>, Option<Version>)> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    // Before its content: if that changes in between, the next look at its attributes tells.
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let version = Some(Version::new(&meta)).filter(|version| version.is_settled(clock::now()));
    // With room for the usual one there is no reading of it by halves.
    let mut bytes = Vec::with_capacity(256);
    file.take(MAX_GIT_FILE).read_to_end(&mut bytes)?;
    Ok((bytes, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_tells_only_once_its_file_was_left_alone_for_a_while() {
        let version = Version {
            device: 1,
            inode: 2,
            size: 3,
            changed: (1_000, 500),
        };
        let after = |age| Timestamp::from_timestamp(1_000, 500).expect("a time") + age;
        assert!(!version.is_settled(after(TimeDelta::zero())));
        assert!(!version.is_settled(after(SETTLED - TimeDelta::nanoseconds(1))));
        assert!(version.is_settled(after(SETTLED)));
        let the_clock_was_set_back = after(TimeDelta::days(-1));
        assert!(!version.is_settled(the_clock_was_set_back));
    }

    #[test]
    fn git_05_another_file_of_the_same_name_and_length_is_another_version() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("HEAD");
        std::fs::write(&path, "ref: refs/heads/a\n").expect("written");
        let before = Version::of(&path);
        assert!(before.is_some());
        assert_eq!(Version::of(&path), before);
        let (bytes, version) = read(&path).expect("readable");
        assert_eq!(bytes, b"ref: refs/heads/a\n");
        assert_eq!(version, None, "it was written just now");
        let lock = dir.path().join("HEAD.lock");
        std::fs::write(&lock, "ref: refs/heads/b\n").expect("written");
        std::fs::rename(&lock, &path).expect("renamed");
        assert_ne!(Version::of(&path), before);
        assert_eq!(Version::of(dir.path()), None, "a directory");
    }
}
