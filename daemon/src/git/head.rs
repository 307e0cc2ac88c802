//! Reads where HEAD of a worktree points. While git rebases or bisects it is detached, and a file beside it names the git branch
//! that it comes from and goes back to: that is where it points for everybody but git.

use super::version::{self, Version};
use super::{cannot, command};
use daemon_core::git_file;
use daemon_core::ids::GitRef;
use daemon_core::state::Head;
use std::io;
use std::path::Path;

/// What HEAD holds in a repository whose refs are in a reftable.
const REFTABLE_HEAD: &[u8] = b"ref: refs/heads/.invalid";

/// Of which version everything is that tells where a HEAD points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadVersion {
    file: Version,
    /// The directory, where HEAD is detached: it changes when a rebase or a bisect begins or ends.
    dir: Option<Version>,
}

impl HeadVersion {
    /// Says whether HEAD is certain to point where it did.
    pub(super) fn is_still(self, git_dir: &Path) -> bool {
        let is_still = |dir| Version::of_dir(git_dir) == Some(dir);
        Version::of(&git_dir.join("HEAD")) == Some(self.file) && self.dir.is_none_or(is_still)
    }
}

/// Reads where HEAD points, in a worktree's git directory, and of which version.
pub(super) fn read(git_dir: &Path) -> (Head, Option<HeadVersion>) {
    // Before its content: if that changes in between, the next look at its attributes tells.
    let dir = Version::of_settled_dir(git_dir);
    let (head, file) = read_file(git_dir);
    let Head::Detached(_) = head else {
        return (head, file.map(|file| HeadVersion { file, dir: None }));
    };
    let version = file.zip(dir);
    let version = version.map(|(file, dir)| HeadVersion { file, dir: Some(dir) });
    match to_come_back(git_dir) {
        // What it waits for is written into a directory of its own, which shows in no version of ours.
        Some(Head::Unknown(reason)) => (Head::Unknown(reason), None),
        Some(head) => (head, version),
        // What ends just now puts HEAD back first, and takes its own files away after.
        None => match read_file(git_dir).0 {
            again if again == head => (head, version),
            again => (again, None),
        },
    }
}

/// Where HEAD of a worktree points at this moment.
pub(crate) fn now(root: &Path, git_dir: &Path) -> Head {
    match version::read(&git_dir.join("HEAD")) {
        Ok((bytes, _)) if bytes.trim_ascii() == REFTABLE_HEAD => in_use(command::head(root), git_dir),
        _ => read(git_dir).0,
    }
}

/// Where a HEAD points for everybody but git.
pub(super) fn in_use(head: Head, git_dir: &Path) -> Head {
    match head {
        Head::Detached(_) => to_come_back(git_dir).unwrap_or(head),
        Head::Branch(_) | Head::Unknown(_) => head,
    }
}

fn read_file(git_dir: &Path) -> (Head, Option<Version>) {
    match version::read(&git_dir.join("HEAD")) {
        Ok((bytes, version)) => (git_file::parse_head(&bytes), version),
        Err(error) => (Head::Unknown(cannot("read HEAD in", git_dir, &error)), None),
    }
}

/// Where HEAD comes from that was detached for a rebase or a bisect; `None` without one, or if it was detached before.
fn to_come_back(git_dir: &Path) -> Option<Head> {
    let rebase = ["rebase-merge", "rebase-apply"].into_iter();
    let mut named = rebase.map(|name| rebased(&git_dir.join(name)));
    let named = named.find_map(Result::transpose);
    match named.or_else(|| bisected(git_dir).transpose())? {
        Ok(name) => Some(Head::Branch(name)),
        Err(reason) => Some(Head::Unknown(reason)),
    }
}

/// The git branch that is rebased in this directory, if it is there.
fn rebased(dir: &Path) -> Result<Option<GitRef>, String> {
    // A link is not followed here either.
    if !std::fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir()) {
        return Ok(None);
    }
    match version::read(&dir.join("head-name")) {
        Ok((bytes, _)) => git_file::parse_head_name(&bytes),
        // One that applies patches writes the name only when it stops.
        Err(_) if dir.join("rebasing").exists() => Err("a rebase is going on".into()),
        // `git am` has such a directory too, and leaves HEAD alone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read `head-name` in", dir, &error)),
    }
}

/// The git branch that a bisect began on.
fn bisected(git_dir: &Path) -> Result<Option<GitRef>, String> {
    match version::read(&git_dir.join("BISECT_START")) {
        Ok((bytes, _)) => git_file::parse_bisect_start(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read BISECT_START in", git_dir, &error)),
    }
}
