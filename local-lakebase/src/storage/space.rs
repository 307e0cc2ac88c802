//! Whether a copy fits on the disk, and what a branch takes of it. Reads the file system; changes nothing but a probe of its
//! own.

use crate::engine::EngineError;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// What PostgreSQL needs to go on writing, whatever else there is: a full log is a panic.
const RESERVE: u64 = 256 * 1024 * 1024;

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

/// Finds out whether files of this directory can share blocks, by letting two do so: the name of a file system tells
/// little.
pub(super) fn shares_blocks(root: &Path) -> bool {
    let probe = || {
        let dir = tempfile::Builder::new().prefix("probe.").tempdir_in(root)?;
        let first = dir.path().join("first");
        fs::write(&first, [1; 4096])?;
        share(&File::open(&first)?, &File::create(dir.path().join("second"))?)
    };
    probe().is_ok()
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
