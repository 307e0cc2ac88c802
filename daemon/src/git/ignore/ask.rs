//! The questions to git about one file, and about the configuration behind the answers.

use super::super::process::{Finished, Git, NotFinished, Start};
use super::configured::{Configured, RELEVANT, UserFiles};
use super::{Basis, Exposure, SecretPlace};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long git may take for one question. A hook may be waiting.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long git is not asked again after it did not answer in time.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The first git whose `check-ignore` is right when the last matching rule is negated: see its
/// release notes.
const OLDEST: (u32, u32) = (2, 26);

/// The file of system-wide configuration where git does not say which it is.
const USUAL_SYSTEM_FILE: &str = "/etc/gitconfig";

/// Why git gave no answer, and how long it is not asked again.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) exposure: Exposure,
    pub(super) basis: Basis,
}

impl From<Exposure> for Doubt {
    fn from(exposure: Exposure) -> Self {
        Self {
            exposure,
            basis: Basis::Nothing,
        }
    }
}

impl From<NotFinished> for Doubt {
    fn from(error: NotFinished) -> Self {
        let basis = match error {
            NotFinished::Late { .. } => Basis::Until(Instant::now() + RETRY_AFTER),
            NotFinished::Failed { .. } => Basis::Nothing,
        };
        Self {
            exposure: Exposure::Unknown(error.to_string()),
            basis,
        }
    }
}

/// Asks git whether a file would hold a secret safely; `None` if it would.
///
/// Without `--no-index`, `check-ignore` takes no file for ignored that has an entry in the index,
/// at any stage.
pub(super) fn exposure(
    git: &Git,
    place: SecretPlace<'_>,
    configured: &Configured,
) -> Result<Option<Exposure>, Doubt> {
    let file = prefixed("./", place.relative);
    let args = ["check-ignore", "-q", "--"].map(OsStr::new);
    let said = ask(git, Start::At(place.root), &[&args[..], &[&file]].concat())?;
    let is_ignored = clean(&said, &[0, 1])? == 0;
    if is_ignored && configured.is_partial() {
        check_rules_are_here(git, place)?;
    }
    let folds_case = configured.ignores_case() || folds_case(place.root);
    if is_ignored && !folds_case {
        return Ok(None);
    }
    if has_entry(git, place, folds_case)? {
        return Ok(Some(Exposure::Tracked));
    }
    Ok((!is_ignored).then_some(Exposure::NotIgnored))
}

/// Asks git whether the index has an entry for the file, at any stage.
fn has_entry(git: &Git, place: SecretPlace<'_>, folds_case: bool) -> Result<bool, Doubt> {
    let magic = if folds_case {
        ":(literal,icase)./"
    } else {
        ":(literal)./"
    };
    let file = prefixed(magic, place.relative);
    Ok(!entries(git, place.root, &[file])?.is_empty())
}

/// Checks that git has the rules that it reads from the index, where sparse checkout leaves their
/// files out. From 2.45 on it goes on without a word when they would have to be fetched.
fn check_rules_are_here(git: &Git, place: SecretPlace<'_>) -> Result<(), Doubt> {
    let dirs = place.relative.ancestors().skip(1);
    let rules = dirs.map(|dir| dir.join(".gitignore"));
    let left_out = rules.filter(|file| !place.root.join(file).is_file());
    let left_out: Vec<_> = left_out.map(|file| prefixed(":(literal)./", &file)).collect();
    if left_out.is_empty() {
        return Ok(());
    }
    let listed = entries(git, place.root, &left_out)?;
    for entry in listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        // Mode, object, stage and path.
        let object = entry.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let args = ["cat-file".as_ref(), "-e".as_ref(), OsStr::from_bytes(object)];
        if !ask(git, Start::At(place.root), &args)?.status.success() {
            let why = "a `.gitignore` is not in this partial clone; git would fetch it".to_owned();
            return Err(Exposure::Unknown(why).into());
        }
    }
    Ok(())
}

/// Asks git for the entries of the index at these paths, at every stage.
fn entries(git: &Git, root: &Path, paths: &[OsString]) -> Result<Vec<u8>, Doubt> {
    let args = ["ls-files", "--stage", "-z", "--"].map(OsStr::new);
    let paths = paths.iter().map(OsString::as_os_str);
    let args: Vec<&OsStr> = args.into_iter().chain(paths).collect();
    let said = ask(git, Start::At(root), &args)?;
    clean(&said, &[0])?;
    Ok(said.output)
}

/// Returns whether names that differ in case are the same file in a worktree, as git finds out when
/// it makes a repository.
fn folds_case(root: &Path) -> bool {
    let inode = |name: &str| {
        let meta = std::fs::symlink_metadata(root.join(name)).ok()?;
        Some((meta.dev(), meta.ino()))
    };
    inode(".GIT").is_some_and(|other| inode(".git") == Some(other))
}

fn prefixed(prefix: &str, path: &Path) -> OsString {
    OsString::from_vec([prefix.as_bytes(), path.as_os_str().as_bytes()].concat())
}

/// Reads the configuration that decides what is ignored in a worktree.
pub(super) fn configured(git: &Git, root: &Path, user: &UserFiles) -> Result<Configured, Doubt> {
    let args = ["config", "-z", "--show-origin", "--get-regexp", RELEVANT].map(OsStr::new);
    let said = ask(git, Start::At(root), &args)?;
    // 1: no key matches.
    clean(&said, &[0, 1])?;
    Ok(Configured::parse(&said.output, root, user))
}

/// Finds the file of system-wide configuration, whose place is fixed when git is built.
pub(super) fn system_file(git: &Git) -> Result<PathBuf, Doubt> {
    let args = [
        "config",
        "--system",
        "--show-origin",
        "-z",
        "--name-only",
        "--list",
    ];
    let said = ask(git, Start::At(Path::new("/")), &args.map(OsStr::new))?;
    let origin = said.output.split(|byte| *byte == 0).next();
    let named = origin.and_then(|origin| origin.strip_prefix(b"file:"));
    // Where it is missing git names it in its error: unable to read config file '…': No such file
    // or directory.
    let missing = || said.complaint.split(|byte| *byte == b'\'').nth(1);
    let file = named.or_else(missing).filter(|file| file.starts_with(b"/"));
    let file = file.map(|file| PathBuf::from(OsStr::from_bytes(file)));
    Ok(file.unwrap_or_else(|| USUAL_SYSTEM_FILE.into()))
}

/// Asks for git's version, and refuses one that is too old.
pub(super) fn check_version(git: &Git) -> Result<(), Doubt> {
    let said = ask(git, Start::At(Path::new("/")), &["version".as_ref()])?;
    let said = String::from_utf8_lossy(said.output.trim_ascii()).into_owned();
    match super::super::parse_version(&said) {
        Some(version) if version >= OLDEST => Ok(()),
        _ => Err(Exposure::OldGit(said).into()),
    }
}

fn ask(git: &Git, start: Start<'_>, args: &[&OsStr]) -> Result<Finished, Doubt> {
    Ok(git.run(start, PATIENCE, args)?)
}

/// Returns the exit code, if it is one of these and git gave no warning: it warns of rules that it
/// could not read.
fn clean(finished: &Finished, codes: &[i32]) -> Result<i32, Doubt> {
    let code = finished.status.code().filter(|code| codes.contains(code));
    match (code, finished.complaint()) {
        (Some(code), None) => Ok(code),
        (_, Some(complaint)) => Err(Exposure::Unknown(complaint).into()),
        (None, None) => Err(Exposure::Unknown(format!("git failed: {}", finished.status)).into()),
    }
}
