//! What git's small files say: `HEAD`, what a rebase or a bisect notes beside it, and the `gitdir` of a linked worktree. Bytes in,
//! meaning out; whoever wrote them may be anybody.

use crate::ids::GitRef;
use crate::state::Head;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Reads a HEAD file.
pub fn parse_head(bytes: &[u8]) -> Head {
    let Ok(text) = std::str::from_utf8(bytes.trim_ascii()) else {
        return Head::Unknown("HEAD holds something that is not text".into());
    };
    let is_commit = is_commit(text);
    match text.strip_prefix("ref:").map(str::trim_start) {
        Some("refs/heads/.invalid") => Head::Unknown("the repository keeps its refs in a reftable".into()),
        Some(name) => match GitRef::parse(name) {
            Some(name) => Head::Branch(name),
            None => Head::Unknown("HEAD holds what is no name of a ref".into()),
        },
        // What `git worktree add` writes before it knows better.
        None if is_commit && text.bytes().all(|b| b == b'0') => {
            Head::Unknown("the worktree is still being added".into())
        }
        None if is_commit => Head::Detached(text.to_owned()),
        _ => Head::Unknown("HEAD is neither a ref nor a commit".into()),
    }
}

/// Reads the `head-name` of a rebase: the git branch that HEAD goes back to, `None` if it was detached before.
///
/// # Errors
/// What is wrong with it.
pub fn parse_head_name(bytes: &[u8]) -> Result<Option<GitRef>, String> {
    match std::str::from_utf8(bytes.trim_ascii()) {
        Ok("detached HEAD") => Ok(None),
        Ok(text) => named(GitRef::parse_head(text), "head-name"),
        Err(_) => named(None, "head-name"),
    }
}

/// Reads the `BISECT_START` of a bisect: the git branch that it began on, `None` if HEAD was detached before.
///
/// # Errors
/// What is wrong with it.
pub fn parse_bisect_start(bytes: &[u8]) -> Result<Option<GitRef>, String> {
    match std::str::from_utf8(bytes.trim_ascii()) {
        Ok(text) if is_commit(text) => Ok(None),
        Ok(text) => named(GitRef::parse_short(text), "BISECT_START"),
        Err(_) => named(None, "BISECT_START"),
    }
}

fn named(name: Option<GitRef>, file: &str) -> Result<Option<GitRef>, String> {
    let odd = || format!("`{file}` names no git branch");
    name.map(Some).ok_or_else(odd)
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Returns the root of a linked worktree: the directory of the `.git` file that `gitdir` names (absolute, or relative to the
/// admin directory since git 2.48).
pub fn worktree_root(gitdir: &[u8], admin_dir: &Path) -> Option<PathBuf> {
    let path = admin_dir.join(OsStr::from_bytes(gitdir.trim_ascii()));
    (path.file_name() == Some(OsStr::new(".git")))
        .then(|| path.parent().map(Path::to_owned))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_05_a_head_that_is_none_is_unknown() {
        let odd: [&[u8]; 12] = [
            b"",
            b"\n",
            b"ref:",
            b"ref: heads/main",
            b"ref: refs/heads/a\nb",
            b"ref: refs/heads/feature/",
            b"ref: refs/heads/a..b",
            b"ref: refs/heads/a b",
            b"\xff\xfe",
            b"main",
            &[b'a'; 39],
            &[b'0'; 40],
        ];
        for bytes in odd {
            assert!(matches!(parse_head(bytes), Head::Unknown(_)), "{bytes:?}");
        }
        assert_eq!(
            parse_head(b"ref: refs/heads/main\n"),
            Head::Branch(GitRef::new("refs/heads/main"))
        );
        assert_eq!(parse_head(&[b'a'; 40]), Head::Detached("a".repeat(40)));
    }

    #[test]
    fn git_08_a_rebase_and_a_bisect_name_the_git_branch_that_they_are_of() {
        let topic = Ok(Some(GitRef::new("refs/heads/a/topic")));
        assert_eq!(parse_head_name(b"refs/heads/a/topic\n"), topic);
        assert_eq!(parse_bisect_start(b"a/topic\n"), topic);
        assert_eq!(parse_head_name(b"detached HEAD\n"), Ok(None));
        assert_eq!(parse_bisect_start(&[b'a'; 40]), Ok(None));
        for odd in [&b""[..], b"a..b", b"/a", b"refs/tags/a b", b"\xff"] {
            assert!(parse_head_name(odd).is_err(), "{odd:?}");
            assert!(parse_bisect_start(odd).is_err(), "{odd:?}");
        }
        assert!(parse_head_name(b"refs/tags/a").is_err(), "no git branch");
    }

    #[test]
    fn a_gitdir_names_the_directory_of_a_git_file() {
        let root = |text: &[u8]| worktree_root(text, Path::new("/r/.git/worktrees/w"));
        assert_eq!(root(b"/w/.git\n"), Some("/w".into()));
        assert_eq!(
            root(b"../../../w/.git"),
            Some("/r/.git/worktrees/w/../../../w".into())
        );
        for text in [&b""[..], b"/", b"/w", b"/w/.git/x", b".."] {
            assert_eq!(root(text), None);
        }
    }
}
