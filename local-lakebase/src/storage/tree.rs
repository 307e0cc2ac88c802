//! Copies a data directory's files: by sharing their blocks where the file system can, by copying them in the kernel
//! elsewhere. Files that vanish meanwhile were dropped, and do not matter.

use crate::postgres::RunAs;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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
}

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    /// What a stopped server leaves lying.
    StoppedOnly,
    /// Also what a running one uses.
    Live,
}

/// Copies the tree of a data directory into an existing, empty one. `global/pg_control` comes last. Returns the bytes.
pub(crate) fn copy(from: &Path, to: &Path, run_as: RunAs, skip: Skip) -> Result<u64, CopyError> {
    let mut files = vec![];
    plan(from, Path::new(""), to, run_as, skip, &mut files)?;
    let control = PathBuf::from("global/pg_control");
    files.retain(|file| *file != control);
    let bytes = copy_all(from, to, run_as, &files)?;
    Ok(bytes + copy_file(&from.join(&control), &to.join(&control), run_as)?)
}

/// Makes the directories and lists the files.
fn plan(
    from: &Path,
    relative: &Path,
    to: &Path,
    run_as: RunAs,
    skip: Skip,
    files: &mut Vec<PathBuf>,
) -> Result<(), CopyError> {
    let dir = from.join(relative);
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
            return Err(CopyError::Tablespace(from.join(path)));
        }
        if is_skipped_file(&path) {
            continue;
        }
        if kind.is_file() {
            files.push(path);
        } else if kind.is_dir() {
            make_dir(&to.join(&path), run_as)?;
            if !is_left_empty(&path, skip) {
                plan(from, &path, to, run_as, skip, files)?;
            }
        }
    }
    if relative == Path::new("pg_wal") {
        make_dir(&to.join("pg_wal/archive_status"), run_as)?;
    }
    Ok(())
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

fn copy_all(from: &Path, to: &Path, run_as: RunAs, files: &[PathBuf]) -> Result<u64, CopyError> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let work = || {
        let mut bytes = 0;
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            match copy_file(&from.join(file), &to.join(file), run_as) {
                Ok(copied) => bytes += copied,
                Err(error) => {
                    // The first error is as good as any; the others stop at the end of the list.
                    next.store(files.len(), Ordering::Relaxed);
                    failed
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .get_or_insert(error);
                }
            }
        }
        bytes
    };
    let bytes = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_default())
            .sum()
    });
    match failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        Some(error) => Err(error),
        None => Ok(bytes),
    }
}

/// Copies one file; one that is not there any more counts as empty.
pub(crate) fn copy_file(from: &Path, to: &Path, run_as: RunAs) -> Result<u64, CopyError> {
    let copy = || {
        let mut source = match File::open(from) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)?;
        if let RunAs::User { uid, gid } = run_as {
            std::os::unix::fs::fchown(&target, Some(uid), Some(gid))?;
        }
        if share(&source, &target) {
            return Ok(target.metadata()?.len());
        }
        // In the kernel, by `copy_file_range`.
        io::copy(&mut source, &mut target)
    };
    copy().map_err(|source| CopyError::Io {
        path: from.to_owned(),
        source,
    })
}

/// Lets two files share their blocks until one is written to, where the file system can.
#[cfg(target_os = "linux")]
fn share(source: &File, target: &File) -> bool {
    rustix::fs::ioctl_ficlone(target, source).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn share(_: &File, _: &File) -> bool {
    false
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

    fn copied(skip: Skip) -> Vec<String> {
        let dir = sample();
        let to = dir.path().join("to");
        copy(&dir.path().join("from"), &to, RunAs::Us, skip).expect("copied");
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
        let result = copy(
            &dir.path().join("from"),
            &dir.path().join("to"),
            RunAs::Us,
            Skip::Live,
        );
        assert!(matches!(result, Err(CopyError::Tablespace(_))));
    }

    #[test]
    fn a_file_that_vanished_is_passed_over_and_one_that_cannot_be_written_is_not() {
        let dir = sample();
        let missing = copy_file(&dir.path().join("nothing"), &dir.path().join("to/x"), RunAs::Us);
        assert_eq!(missing.expect("it was dropped"), 0);
        let from = dir.path().join("from/PG_VERSION");
        assert!(matches!(
            copy_file(&from, &dir.path().join("nowhere/x"), RunAs::Us),
            Err(CopyError::Io { .. })
        ));
    }
}
