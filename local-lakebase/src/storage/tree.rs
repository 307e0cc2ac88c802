//! Copies a data directory's files: by sharing their blocks where the file system can, by copying them in the kernel
//! elsewhere. Files that vanish meanwhile were dropped, and do not matter.

use super::space;
use crate::postgres::RunAs;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// More do not help: one file costs tens of microseconds, nearly all of it in the kernel.
const WORKERS: usize = 2;

/// Directories whose contents a server makes anew at its start.
const NEVER: [&str; 6] = [
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_replslot",
];
/// Directories that a live copy leaves empty as well: subtransactions are of no use after a start from a backup, and the
/// write-ahead log is copied after everything else.
const NEVER_LIVE: [&str; 2] = ["pg_subtrans", "pg_wal"];

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// The file system refused.
    #[error("cannot copy `{path}`")]
    Io {
        /// Which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Data outside the data directory cannot be copied with it.
    #[error("cannot copy `{0}`: tablespaces are not supported")]
    Tablespace(PathBuf),
    /// The source threw a part of its log away that the copy needs.
    #[error("cannot copy the write-ahead log: segment `{0}` is gone")]
    SegmentGone(String),
    /// Whoever wanted the copy went away.
    #[error("cannot finish the copy: nobody waits for it")]
    Abandoned,
}

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    /// What a stopped server leaves lying.
    StoppedOnly,
    /// Also what a running one uses.
    Live,
}

/// How a file is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Who owns the copy.
    pub(crate) run_as: RunAs,
    /// Whether files there can share blocks.
    pub(crate) shares_blocks: bool,
}

/// A copy of the tree of a data directory into an existing, empty one.
#[derive(Debug)]
pub(crate) struct Copying {
    /// What is copied.
    pub(crate) from: PathBuf,
    /// Where to.
    pub(crate) to: PathBuf,
    /// How its files are copied.
    pub(crate) how: How,
    /// What is left out.
    pub(crate) skip: Skip,
    /// Becomes true when nobody waits for it any more.
    pub(crate) abandoned: Arc<AtomicBool>,
}

impl Copying {
    /// Copies; `global/pg_control` comes last.
    pub(crate) fn run(&self) -> Result<(), CopyError> {
        let mut files = vec![];
        self.plan(Path::new(""), &mut files)?;
        let control = PathBuf::from("global/pg_control");
        files.retain(|file| *file != control);
        self.copy_all(&files)?;
        self.copy_one(&control).map(drop)
    }

    /// Makes the directories and lists the files.
    fn plan(&self, relative: &Path, files: &mut Vec<PathBuf>) -> Result<(), CopyError> {
        let dir = self.from.join(relative);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(CopyError::Io { path: dir, source }),
        };
        for entry in entries {
            let entry = entry.map_err(|source| CopyError::Io {
                path: dir.clone(),
                source,
            })?;
            let path = relative.join(entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_symlink() {
                return Err(CopyError::Tablespace(self.from.join(path)));
            }
            if is_skipped_file(&path) {
                continue;
            }
            if kind.is_file() {
                files.push(path);
            } else if kind.is_dir() {
                make_dir(&self.to.join(&path), self.how.run_as)?;
                if !is_left_empty(&path, self.skip) {
                    self.plan(&path, files)?;
                }
            }
        }
        Ok(())
    }

    fn copy_all(&self, files: &[PathBuf]) -> Result<(), CopyError> {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.copy_one(file) {
                    // The other worker stops at the end of the list.
                    next.store(files.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            let ends = workers.into_iter().map(|worker| match worker.join() {
                Ok(end) => end,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            // Each is waited for; the first error is as good as any.
            ends.fold(Ok(()), Result::and)
        })
    }

    fn copy_one(&self, file: &Path) -> Result<u64, CopyError> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(CopyError::Abandoned);
        }
        copy_file(&self.from.join(file), &self.to.join(file), self.how)
    }
}

fn is_left_empty(relative: &Path, skip: Skip) -> bool {
    let is_one_of = |names: &[&str]| names.iter().any(|name| relative == Path::new(name));
    is_one_of(&NEVER) || (skip == Skip::Live && is_one_of(&NEVER_LIVE))
}

/// Leftovers of a running server, and of its sorts.
fn is_skipped_file(relative: &Path) -> bool {
    let name = relative.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("pgsql_tmp")
        || name.starts_with("pg_internal.init")
        || matches!(
            &*name,
            "postmaster.pid" | "postmaster.opts" | "backup_label.old" | "current_logfiles"
        )
}

/// Copies one file; one that is not there any more counts as empty.
pub(crate) fn copy_file(from: &Path, to: &Path, how: How) -> Result<u64, CopyError> {
    let copied = match File::open(from) {
        Ok(source) => copy_content(source, from, to, how),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    };
    copied.map_err(|source| CopyError::Io {
        path: from.to_owned(),
        source,
    })
}

/// Lets the two files share their blocks until one is written to, where the file system can; else copies in the kernel, by
/// `copy_file_range`.
#[cfg(target_os = "linux")]
fn copy_content(mut source: File, _: &Path, to: &Path, how: How) -> io::Result<u64> {
    use std::os::unix::fs::{OpenOptionsExt, fchown};
    let mut options = std::fs::OpenOptions::new();
    let mut target = options.write(true).create_new(true).mode(0o600).open(to)?;
    if let RunAs::User { uid, gid } = how.run_as {
        fchown(&target, Some(uid), Some(gid))?;
    }
    let length = source.metadata()?.len();
    if how.shares_blocks && !space::is_scattered(&source, length) && space::share(&source, &target).is_ok() {
        return Ok(target.metadata()?.len());
    }
    io::copy(&mut source, &mut target)
}

/// The system's own copy clones where it can, on macOS.
#[cfg(not(target_os = "linux"))]
fn copy_content(_: File, from: &Path, to: &Path, how: How) -> io::Result<u64> {
    let bytes = fs::copy(from, to)?;
    how.run_as.own(to)?;
    Ok(bytes)
}

fn make_dir(dir: &Path, run_as: RunAs) -> Result<(), CopyError> {
    let make = || {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        run_as.own(dir)
    };
    make().map_err(|source| CopyError::Io {
        path: dir.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: How = How {
        run_as: RunAs::Us,
        shares_blocks: false,
    };

    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temp dir");
        for file in [
            "PG_VERSION",
            "global/pg_control",
            "global/pg_internal.init",
            "base/1/2601",
            "base/pgsql_tmp/pgsql_tmp1.0",
            "pg_wal/000000010000000000000001",
            "pg_subtrans/0000",
            "pg_replslot/slot/state",
            "postmaster.pid",
        ] {
            let path = dir.path().join("from").join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, file).expect("written");
        }
        fs::create_dir(dir.path().join("to")).expect("made");
        dir
    }

    fn copying(dir: &tempfile::TempDir, skip: Skip) -> Copying {
        Copying {
            from: dir.path().join("from"),
            to: dir.path().join("to"),
            how: HERE,
            skip,
            abandoned: Arc::default(),
        }
    }

    #[test]
    fn a_copy_that_nobody_waits_for_ends() {
        let dir = sample();
        let copying = copying(&dir, Skip::Live);
        copying.abandoned.store(true, Ordering::Relaxed);
        assert!(matches!(copying.run(), Err(CopyError::Abandoned)));
    }

    fn copied(skip: Skip) -> Vec<String> {
        let dir = sample();
        let to = dir.path().join("to");
        copying(&dir, skip).run().expect("copied");
        let mut files = vec![];
        list(&to, &to, &mut files);
        let mut names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        names.sort();
        names
    }

    fn list(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("listed").flatten() {
            if entry.path().is_dir() {
                list(root, &entry.path(), files);
            } else {
                files.push(entry.path().strip_prefix(root).expect("inside").to_owned());
            }
        }
    }

    #[test]
    fn a_live_copy_leaves_the_log_for_later_and_neither_takes_leftovers() {
        assert_eq!(
            copied(Skip::Live),
            ["PG_VERSION", "base/1/2601", "global/pg_control"]
        );
        assert_eq!(
            copied(Skip::StoppedOnly),
            [
                "PG_VERSION",
                "base/1/2601",
                "global/pg_control",
                "pg_subtrans/0000",
                "pg_wal/000000010000000000000001"
            ]
        );
    }

    #[test]
    fn a_tablespace_is_refused() {
        let dir = sample();
        fs::create_dir(dir.path().join("from/pg_tblspc")).expect("made");
        std::os::unix::fs::symlink("/elsewhere", dir.path().join("from/pg_tblspc/16400")).expect("linked");
        let result = copying(&dir, Skip::Live).run();
        assert!(matches!(result, Err(CopyError::Tablespace(_))));
    }

    #[test]
    fn a_file_that_vanished_is_passed_over_and_one_that_cannot_be_written_is_not() {
        let dir = sample();
        let missing = copy_file(&dir.path().join("nothing"), &dir.path().join("to/x"), HERE);
        assert_eq!(missing.expect("it was dropped"), 0);
        let from = dir.path().join("from/PG_VERSION");
        assert!(matches!(
            copy_file(&from, &dir.path().join("nowhere/x"), HERE),
            Err(CopyError::Io { .. })
        ));
    }
}
