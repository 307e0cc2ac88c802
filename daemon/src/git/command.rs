//! Questions to git itself about what libgit2 cannot open: refs in a reftable, SHA-256, partial
//! clones.

use super::process::{Finished, Git, Start};
use daemon_core::ids::GitRef;
use daemon_core::state::Head;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long git may take for one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// What git lists of a repository.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The main worktree; `None` for a bare repository.
    pub(super) main: Option<PathBuf>,
    heads: BTreeMap<PathBuf, Head>,
    refs: BTreeSet<GitRef>,
}

impl Listing {
    /// Asks git for worktrees and git branches.
    pub(super) fn read(common_dir: &Path) -> Result<Self, String> {
        let git_dir = [b"--git-dir=", common_dir.as_os_str().as_bytes()].concat();
        let git_dir = OsStr::from_bytes(&git_dir);
        let worktrees = ask(
            Start::At(common_dir),
            &[
                git_dir,
                "worktree".as_ref(),
                "list".as_ref(),
                "--porcelain".as_ref(),
                "-z".as_ref(),
            ],
        )?;
        let refs = ask(
            Start::At(common_dir),
            &[
                git_dir,
                "for-each-ref".as_ref(),
                "--format=%(refname)".as_ref(),
                "refs/heads".as_ref(),
            ],
        )?;
        let mut listing = parse_worktrees(&worktrees);
        listing.refs = String::from_utf8_lossy(&refs).lines().map(GitRef::new).collect();
        Ok(listing)
    }

    /// Where the HEAD of the worktree at a root points.
    pub(super) fn head(&self, root: &Path) -> Head {
        let unlisted = || Head::Unknown("git does not list the worktree".into());
        self.heads.get(root).cloned().unwrap_or_else(unlisted)
    }

    pub(super) fn has(&self, name: &GitRef) -> bool {
        self.refs.contains(name)
    }

    /// The local git branches.
    pub(super) fn refs(&self) -> impl Iterator<Item = &GitRef> {
        self.refs.iter()
    }
}

/// Parts end with a NUL, entries with an empty part; the first entry is the main worktree.
fn parse_worktrees(bytes: &[u8]) -> Listing {
    let mut listing = Listing::default();
    let mut root = PathBuf::new();
    let mut is_first = true;
    for part in bytes.split(|byte| *byte == 0) {
        let (key, value) = match part.iter().position(|byte| *byte == b' ') {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, &b""[..]),
        };
        match key {
            b"worktree" => {
                let path = PathBuf::from(OsStr::from_bytes(value));
                root = path.canonicalize().unwrap_or(path);
                if std::mem::take(&mut is_first) {
                    listing.main = Some(root.clone());
                }
            }
            b"bare" => listing.main = None,
            b"HEAD" => {
                let commit = String::from_utf8_lossy(value).into_owned();
                listing.heads.insert(root.clone(), Head::Detached(commit));
            }
            b"branch" => {
                let name = GitRef::new(String::from_utf8_lossy(value));
                listing.heads.insert(root.clone(), Head::Branch(name));
            }
            _ => {}
        }
    }
    listing
}

/// The common directory of the repository that holds a path.
pub(super) fn common_dir(path: &Path) -> Result<PathBuf, String> {
    let args = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
    let said = ask(Start::Within(path), &args.map(OsStr::new))?;
    Ok(PathBuf::from(OsStr::from_bytes(said.trim_ascii_end())))
}

/// `core.hooksPath`, if it is set in the repository's own configuration.
pub(super) fn hooks_path(common_dir: &Path) -> Option<PathBuf> {
    let config = common_dir.join("config");
    let args = [
        "config".as_ref(),
        "--file".as_ref(),
        config.as_os_str(),
        "--path".as_ref(),
        "core.hooksPath".as_ref(),
    ];
    let said = ask(Start::At(common_dir), &args).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(said.trim_ascii_end())))
}

/// Where HEAD of the worktree at a root points at this moment.
pub(super) fn head(root: &Path) -> Head {
    let symbolic = run(Start::At(root), &["symbolic-ref", "-q", "HEAD"].map(OsStr::new));
    match symbolic {
        Ok(finished) if finished.status.success() => Head::Branch(GitRef::new(String::from_utf8_lossy(
            finished.output.trim_ascii_end(),
        ))),
        Ok(_) => match ask(
            Start::At(root),
            &["rev-parse", "--verify", "-q", "HEAD"].map(OsStr::new),
        ) {
            Ok(said) => Head::Detached(String::from_utf8_lossy(said.trim_ascii_end()).into_owned()),
            Err(reason) => Head::Unknown(reason),
        },
        Err(reason) => Head::Unknown(reason),
    }
}

/// What git says of itself.
pub(super) fn version() -> Result<String, String> {
    let said = ask(Start::At(Path::new("/")), &["version".as_ref()])?;
    Ok(String::from_utf8_lossy(said.trim_ascii_end()).into_owned())
}

pub(super) fn ask(start: Start<'_>, args: &[&OsStr]) -> Result<Vec<u8>, String> {
    let finished = run(start, args)?;
    if finished.status.success() {
        return Ok(finished.output);
    }
    let dir = match start {
        Start::At(dir) | Start::Within(dir) => dir.display(),
    };
    Err(match finished.complaint() {
        Some(complaint) => format!("git cannot read `{dir}`: {complaint}"),
        None => format!("git cannot read `{dir}`: {}", finished.status),
    })
}

pub(super) fn run(start: Start<'_>, args: &[&OsStr]) -> Result<Finished, String> {
    Git::default()
        .run(start, PATIENCE, args)
        .map_err(|error| error.to_string())
}
