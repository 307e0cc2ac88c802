//! Whether a copy fits on the disk, and what a branch takes of it. Reads the file system; changes nothing but a probe of its
//! own.

use crate::engine::EngineError;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What PostgreSQL needs to go on writing, whatever else there is: a full log is a panic.
const RESERVE: u64 = 256 * 1024 * 1024;

/// The unit in which file systems count what a file takes.
const BLOCK: u64 = 512;

/// Below this a file has too few pieces for the way of copying to matter.
const LARGE: u64 = 8 * 1024 * 1024;

/// How much of a file there is to a piece where sharing and copying cost the same.
const BYTES_A_PIECE: u64 = 1024 * 1024 * 1024 / 30_000;

/// What a copy of some data takes at first, of a disk of this size.
///
/// Blocks that are shared cost nothing until they are written to; then each does. A copy costs what it is, and a tenth more
/// for the log that is written meanwhile.
fn needed(data: u64, disk: u64, shares_blocks: bool) -> u64 {
    if shares_blocks {
        RESERVE.min(disk / 10) + disk / 50
    } else {
        RESERVE.min(disk / 10) + data + data / 10
    }
}

/// Refuses a copy that would leave no room.
pub(super) fn check(root: &Path, data: u64, shares_blocks: bool) -> Result<(), EngineError> {
    let disk = rustix::fs::statvfs(root).map_err(|error| EngineError::Io {
        path: root.to_owned(),
        source: error.into(),
    })?;
    let free = disk.f_bavail * disk.f_frsize;
    let needed = needed(data, disk.f_blocks * disk.f_frsize, shares_blocks);
    if free < needed {
        return Err(EngineError::NoRoom { needed, free });
    }
    Ok(())
}

/// Says whether files of a directory can share blocks, by letting two do so: the name of a file system tells little.
///
/// False also where a file cannot be made.
pub fn shares_blocks(root: &Path) -> bool {
    let probe = || {
        let dir = tempfile::Builder::new().prefix("probe.").tempdir_in(root)?;
        let first = dir.path().join("first");
        fs::write(&first, [1; 4096])?;
        share(&File::open(&first)?, &File::create(dir.path().join("second"))?)
    };
    probe().is_ok()
}

/// What the files below a directory take of the disk by themselves.
pub(super) fn own(dir: &Path, shares_blocks: bool) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => own(&entry.path(), shares_blocks),
        // What the file system does not tell is counted as unshared.
        Ok(meta) => Some(entry.path())
            .filter(|_| shares_blocks && meta.blocks() > 0)
            .and_then(|path| unshared(&path))
            .unwrap_or(meta.blocks() * BLOCK),
        // Dropped between the list and the look.
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(target_os = "linux")]
fn unshared(path: &Path) -> Option<u64> {
    let extents = fiemap::fiemap(path).ok()?;
    let own = extents.map(|extent| {
        extent.map(|extent| {
            let is_shared = extent.fe_flags.contains(fiemap::FiemapExtentFlags::SHARED);
            if is_shared { 0 } else { extent.fe_length }
        })
    });
    own.sum::<io::Result<u64>>().ok()
}

#[cfg(not(target_os = "linux"))]
fn unshared(_: &Path) -> Option<u64> {
    None
}

/// Says whether a file lies in so many pieces that copying its content is faster than sharing its blocks, which costs tens
/// of microseconds a piece: at 30,000 pieces in a gigabyte the two are even.
#[cfg(target_os = "linux")]
pub(crate) fn is_scattered(file: &File, length: u64) -> bool {
    let limit = usize::try_from(length / BYTES_A_PIECE).unwrap_or(usize::MAX);
    length >= LARGE && fiemap::Fiemap::new(file).take(limit + 1).count() > limit
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_scattered(_: &File, _: u64) -> bool {
    false
}

/// Lets an empty file have the blocks of another one.
#[cfg(target_os = "linux")]
pub(super) fn share(source: &File, target: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(target, source)?)
}

/// Elsewhere the system's own copy shares blocks where it can, and does not say whether it did.
#[cfg(not(target_os = "linux"))]
pub(super) fn share(_: &File, _: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    #[test]
    fn a_copy_needs_its_size_and_shared_blocks_a_little_of_the_disk() {
        assert_eq!(needed(10 * GB, 100 * GB, false), 11 * GB + RESERVE);
        assert_eq!(needed(10 * GB, 100 * GB, true), 2 * GB + RESERVE);
        assert!(
            needed(GB / 100, GB, false) < GB / 5,
            "a small disk is not all reserve"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_figures() {
        let dir = tempfile::tempdir().expect("a temp dir");
        check(dir.path(), 0, true).expect("there is some room");
        let error = check(dir.path(), u64::MAX / 4, false).expect_err("no disk has that");
        assert!(matches!(error, EngineError::NoRoom { needed, free } if needed > free));
    }
}
