//! Which git directory the root of a worktree leads to. A git directory says where its worktree is, and whoever copied or made
//! it may have written any place there; so it is believed only where the `.git` at that place leads back.

use super::version::{self, Version};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the `.git` of a directory leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// To the git directory in question.
    Back,
    /// To another one.
    Elsewhere(PathBuf),
    /// Nowhere: it is missing or broken, or it names what is not there.
    Nowhere,
}

/// Says whether the `.git` of a directory is this git directory, or a file that names it.
pub(crate) fn leads_back(root: &Path, git_dir: &Path) -> bool {
    Link::of(root, git_dir).0 == Link::Back
}

impl Link {
    /// Reads it, and tells the version of the file that leads back, if that has settled.
    pub(super) fn of(root: &Path, git_dir: &Path) -> (Self, Option<Version>) {
        let dot_git = root.join(".git");
        let (target, version) = match version::read(&dot_git) {
            Ok((text, version)) => match text.trim_ascii().strip_prefix(b"gitdir: ") {
                Some(named) => (root.join(OsStr::from_bytes(named)), version),
                None => return (Self::Nowhere, None),
            },
            Err(_) => (dot_git, None),
        };
        match target.canonicalize() {
            Ok(target) if target == git_dir => (Self::Back, version),
            Ok(target) => (Self::Elsewhere(target), None),
            Err(_) => (Self::Nowhere, None),
        }
    }
}
