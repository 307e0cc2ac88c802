//! What libgit2 cannot open, asked of git itself: refs in a reftable, SHA-256. Git runs with an environment of its own and
//! a deadline, and nothing that a repository configures is executed.

use crate::config;
use daemon_core::ids::GitRef;
use daemon_core::state::Head;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long git may take for one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is set against whatever a repository's configuration says.
const NEUTRAL: [&str; 6] = [
    "-c",
    "core.fsmonitor=",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.quotePath=false",
];

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
            common_dir,
            &[
                git_dir,
                "worktree".as_ref(),
                "list".as_ref(),
                "--porcelain".as_ref(),
                "-z".as_ref(),
            ],
        )?;
        let refs = ask(
            common_dir,
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
    let said = ask(path, &args.map(OsStr::new))?;
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
    let said = ask(common_dir, &args).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(said.trim_ascii_end())))
}

/// Where HEAD of the worktree at a root points at this moment.
pub(super) fn head(root: &Path) -> Head {
    let symbolic = run(root, &["symbolic-ref", "-q", "HEAD"].map(OsStr::new));
    match symbolic {
        Ok((status, said)) if status.success() => {
            Head::Branch(GitRef::new(String::from_utf8_lossy(said.trim_ascii_end())))
        }
        Ok(_) => match ask(root, &["rev-parse", "--verify", "-q", "HEAD"].map(OsStr::new)) {
            Ok(said) => Head::Detached(String::from_utf8_lossy(said.trim_ascii_end()).into_owned()),
            Err(reason) => Head::Unknown(reason),
        },
        Err(reason) => Head::Unknown(reason),
    }
}

/// Says whether git ignores a path; one that it tracks is not ignored.
pub(super) fn is_ignored(root: &Path, relative: &Path) -> Result<bool, String> {
    let args = [
        "check-ignore".as_ref(),
        "-q".as_ref(),
        "--".as_ref(),
        relative.as_os_str(),
    ];
    let (status, _) = run(root, &args)?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(format!("git check-ignore failed in `{}`", root.display())),
    }
}

/// What git says of itself.
pub(super) fn version() -> Result<String, String> {
    let said = ask(Path::new("/"), &["version".as_ref()])?;
    Ok(String::from_utf8_lossy(said.trim_ascii_end()).into_owned())
}

fn ask(dir: &Path, args: &[&OsStr]) -> Result<Vec<u8>, String> {
    let (status, said) = run(dir, args)?;
    if status.success() {
        Ok(said)
    } else {
        Err(format!("git cannot read `{}`: {status}", dir.display()))
    }
}

/// Runs git and returns how it ended and what it said. Its output goes to a file: a pipe that is full would hold it.
fn run(dir: &Path, args: &[&OsStr]) -> Result<(ExitStatus, Vec<u8>), String> {
    let cannot = |error: io::Error| format!("cannot run git in `{}`: {error}", dir.display());
    let mut output = tempfile::tempfile().map_err(cannot)?;
    let mut git = Command::new("git")
        .args(NEUTRAL)
        .args(args)
        .current_dir(dir)
        .env_clear()
        .envs(config::program_env())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(cannot)?)
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = git.try_wait().map_err(cannot)? {
            break status;
        }
        if Instant::now() > deadline {
            drop(git.kill());
            drop(git.wait());
            return Err(format!("git did not answer in time in `{}`", dir.display()));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut said = vec![];
    output.rewind().map_err(cannot)?;
    output.read_to_end(&mut said).map_err(cannot)?;
    Ok((status, said))
}
