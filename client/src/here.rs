//! Where the command was started, which worktree that is, and which programs were installed with this one.

use anyhow::Context;
use lakebase_proto::v1::Worktree;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the working directory, free of links.
pub(crate) fn cwd() -> anyhow::Result<PathBuf> {
    let cwd = std::env::current_dir().context("cannot find the working directory")?;
    cwd.canonicalize()
        .with_context(|| format!("cannot find the working directory `{}`", cwd.display()))
}

/// Returns the command of a program of ours: the one beside this program, else the one on PATH.
pub(crate) fn program(name: &str) -> Command {
    let beside = std::env::current_exe().and_then(|this| this.canonicalize());
    let beside = beside.map(|this| this.with_file_name(name)).ok();
    Command::new(
        beside
            .filter(|path| path.is_file())
            .unwrap_or_else(|| name.into()),
    )
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
