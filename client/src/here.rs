//! Where the command was started, and which worktree that is.

use anyhow::Context;
use lakebase_proto::v1::Worktree;
use std::path::{Path, PathBuf};

/// Returns the working directory, free of links.
pub(crate) fn cwd() -> anyhow::Result<PathBuf> {
    let cwd = std::env::current_dir().context("cannot find the working directory")?;
    cwd.canonicalize()
        .with_context(|| format!("cannot find the working directory `{}`", cwd.display()))
}

/// Returns the worktree that holds the path: the innermost, as worktrees may lie in one another.
pub(crate) fn worktree_of<'a>(worktrees: &'a [Worktree], path: &Path) -> Option<&'a Worktree> {
    // Paths come out of the daemon as text.
    let path = PathBuf::from(path.to_string_lossy().into_owned());
    let holding = worktrees
        .iter()
        .filter(|worktree| path.starts_with(&worktree.path));
    holding.max_by_key(|worktree| worktree.path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_worktree_holds_the_path() {
        let at = |path: &str| Worktree {
            path: path.into(),
            ..Worktree::default()
        };
        let worktrees = [at("/shop"), at("/shop/wt/a"), at("/shop/wt/ab")];
        let found =
            |path: &str| worktree_of(&worktrees, Path::new(path)).map(|worktree| worktree.path.as_str());
        assert_eq!(found("/shop/src"), Some("/shop"));
        assert_eq!(found("/shop/wt/a/src"), Some("/shop/wt/a"));
        assert_eq!(found("/shop/wt/ab"), Some("/shop/wt/ab"));
        assert_eq!(found("/other"), None);
    }
}
