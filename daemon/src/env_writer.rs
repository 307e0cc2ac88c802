//! Keeps the marked block in a worktree's `.env`. The file holds a password, so it is written only where git will not pick
//! it up and only the user can read it. What the block says is decided in the core.

use crate::board::{Problem, WorktreeView};
use crate::credentials::{Minted, Target};
use crate::failpoint;
use crate::git::{self, Permit, SecretPlace};
use daemon_core::config_file::Settings;
use daemon_core::env_file::{self, BrokenBlock, Connection, Leftover};
use daemon_core::ids::WorktreeId;
use secrecy::ExposeSecret;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What new files are called before they take the place of the old one.
const TEMPORARY: &str = ".env.lakebase-";

/// How often a write is begun anew because somebody else wrote.
const ATTEMPTS: usize = 1000;

/// A larger file than this is no `.env` of anybody's.
const MAX_ENV_FILE: u64 = 1024 * 1024;

/// Where the block goes, and how its keys are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvFile {
    pub(crate) worktree_root: PathBuf,
    /// Relative to the root; the configuration's grammar keeps it inside.
    pub(crate) relative: PathBuf,
    pub(crate) prefix: String,
    /// Git's directory of the worktree, where a new file is made before it takes its place: a new name in the worktree itself
    /// would make a `git worktree remove` fail that runs just then.
    pub(crate) admin_dir: PathBuf,
    /// Git's directory of the repository.
    pub(crate) common_dir: PathBuf,
}

/// Whether a file may be created that is not there. A new name in a directory makes its removal fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Unless one of these names of the root has gone since.
    Create(Names),
    /// It was there before: perhaps its directory is being removed.
    Leave,
}

/// The names in a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names(Vec<OsString>);

impl Names {
    /// Reads the names in the root of a worktree; none where that cannot be read. Blocking.
    pub(crate) fn of(file: &EnvFile) -> Self {
        let entries = fs::read_dir(&file.worktree_root).into_iter().flatten().flatten();
        Self(entries.map(|entry| entry.file_name()).collect())
    }

    /// Returns whether one of them is missing by now: files are being removed there.
    fn are_going(&self, file: &EnvFile) -> bool {
        let mut all = self.0.iter().map(|name| file.worktree_root.join(name));
        all.any(|path| fs::symlink_metadata(path).is_err())
    }
}

/// What becomes of a file that holds nothing but the block, when that is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emptied {
    /// It stays, empty.
    Stays,
    /// It is deleted: git does not ignore it, and would list it as untracked.
    Goes,
}

impl EnvFile {
    /// The file of a worktree, if the settings want one and it is known where the worktree is.
    pub(crate) fn of(worktree: &WorktreeView, settings: &Settings) -> Option<Self> {
        Some(Self {
            worktree_root: Some(&worktree.root)
                .filter(|root| !root.as_os_str().is_empty())?
                .clone(),
            relative: settings.env_file.as_ref()?.into(),
            prefix: settings.env_prefix.clone(),
            admin_dir: worktree.admin_dir.clone(),
            common_dir: common_dir(worktree).to_owned(),
        })
    }

    /// Returns whether this is the file of a worktree.
    pub(crate) fn is_of(&self, worktree: &WorktreeView, settings: &Settings) -> bool {
        self.worktree_root == worktree.root
            && settings.env_file.as_deref().map(Path::new) == Some(&self.relative)
            && self.prefix == settings.env_prefix
            && self.admin_dir == worktree.admin_dir
    }

    /// The question to git about it.
    pub(crate) fn place(&self, is_local: bool) -> SecretPlace<'_> {
        SecretPlace {
            root: &self.worktree_root,
            relative: &self.relative,
            admin_dir: &self.admin_dir,
            common_dir: &self.common_dir,
            is_local,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.worktree_root.join(&self.relative)
    }
}

/// The git directory of a worktree's repository: two levels above that of a linked worktree.
fn common_dir(worktree: &WorktreeView) -> &Path {
    let admin_dir = &worktree.admin_dir;
    match worktree.id {
        WorktreeId::Main => admin_dir,
        WorktreeId::Linked(_) => admin_dir.ancestors().nth(2).unwrap_or(admin_dir),
    }
}

/// Brings the block up to date. Blocking.
///
/// # Errors
/// Why the file is not written, and what a person can do; the worktree works without it.
pub(crate) fn write(
    file: &EnvFile,
    _: &Permit,
    missing: &Missing,
    target: &Target,
    minted: &Minted,
) -> Result<(), Problem> {
    check_place(file)?;
    let ssl_root_cert = target
        .ssl_root_cert
        .as_deref()
        .map(Path::to_string_lossy)
        .unwrap_or_default();
    let variables = env_file::variables(
        &Connection {
            host: &target.host,
            port: target.port,
            database: &target.database,
            user: &target.user,
            password: minted.password.expose_secret(),
            sslmode: target.sslmode,
            ssl_root_cert: &ssl_root_cert,
        },
        &file.prefix,
    );
    keep_block(file, missing, &variables)
}

/// Returns whether the file may hold a block of ours. Blocking.
///
/// # Errors
/// Why that cannot be found out.
pub(crate) fn may_hold_block(file: &EnvFile) -> Result<bool, Problem> {
    let path = file.path();
    if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
        return Ok(false);
    }
    check_place(file)?;
    let text = read(&path).map_err(|error| cannot("read", &path, &error))?;
    Ok(env_file::without_block(&text).as_ref() != Ok(&text))
}

/// Takes the block out of the file; every other line stays. Returns whether there was one.
/// Blocking.
///
/// # Errors
/// Why it is still there.
pub(crate) fn remove(file: &EnvFile, emptied: Emptied) -> Result<bool, Problem> {
    if is_abandoned(file) {
        return Ok(remove_abandoned(file));
    }
    if !may_hold_block(file)? {
        return Ok(false);
    }
    rewrite(file, &Missing::Leave, env_file::without_block)?;
    if emptied == Emptied::Goes {
        delete_empty(file)?;
    }
    Ok(true)
}

/// Returns whether the worktree was removed and the file is still there: one that was created while `rm -rf` ran, which
/// fails then. Blocking.
pub(crate) fn is_abandoned(file: &EnvFile) -> bool {
    let is_missing =
        |path: &Path| fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    is_missing(&file.worktree_root.join(".git")) && !is_missing(&file.path())
}

/// Deletes a file that holds nothing but our block, and the directories above it that are empty then, up to the root of the
/// removed worktree. Returns whether the file was deleted. Blocking.
pub(crate) fn remove_abandoned(file: &EnvFile) -> bool {
    let path = file.path();
    let Some(text) = read_leftover(&path) else {
        return false;
    };
    let is_only_block =
        env_file::without_block(&text).is_ok_and(|rest| rest != text && rest.trim().is_empty());
    if !is_only_block || fs::remove_file(&path).is_err() {
        return false;
    }
    let mut above = path.ancestors().skip(1);
    let is_removed = |dir: &Path| dir.starts_with(&file.worktree_root) && fs::remove_dir(dir).is_ok();
    while above.next().is_some_and(is_removed) {}
    tracing::info!(file = %path.display(), "removed the `.env` of a worktree that is gone");
    true
}

/// Deletes the file if nothing is in it. It is moved aside before it is read for the last time, so
/// a line that is written at the same time is not lost.
fn delete_empty(file: &EnvFile) -> Result<(), Problem> {
    let path = &file.path();
    let delete = || -> io::Result<String> {
        if fs::symlink_metadata(path)?.len() > 0 {
            return Ok(String::new());
        }
        check_whole(file)?;
        let aside = new_file(file, "", || check_whole(file))?;
        fs::rename(path, aside.file.path())?;
        if !fs::symlink_metadata(aside.file.path())?.is_file() {
            aside.file.persist_noclobber(path)?;
            return Ok(String::new());
        }
        read(aside.file.path())
    };
    let written = delete().map_err(|error| cannot("delete", path, &error))?;
    if written.is_empty() {
        return Ok(());
    }
    let missing = Missing::Create(Names::default());
    rewrite(file, &missing, |text| Ok(format!("{written}{text}")))
}

/// Takes the block out of each of these files; what cannot be done is logged. Blocking.
pub(crate) fn remove_all(files: &[EnvFile]) {
    let removed = files.iter().map(|file| remove(file, Emptied::Stays));
    for problem in removed.filter_map(Result::err) {
        tracing::warn!(problem.message, "a block of ours stays in an `.env`");
    }
}

/// Puts the block into the file.
fn keep_block(file: &EnvFile, missing: &Missing, variables: &[(String, String)]) -> Result<(), Problem> {
    rewrite(file, missing, |text| env_file::with_block(text, variables))
}

/// Changes the file, whatever others write into it meanwhile.
fn rewrite(
    file: &EnvFile,
    missing: &Missing,
    change: impl Fn(&str) -> Result<String, BrokenBlock>,
) -> Result<(), Problem> {
    let path = &file.path();
    for dir in [path.parent(), Some(&*file.admin_dir)].into_iter().flatten() {
        sweep(dir, path);
    }
    let mut before = read(path).map_err(|error| cannot("read", path, &error))?;
    let mut in_place = before.clone();
    for _ in 0..ATTEMPTS {
        let after = change(&before).map_err(|error| Problem {
            message: format!("`{}`: {error}", path.display()),
            fix: String::new(),
        })?;
        if before == after && in_place == after && is_private(path) {
            return Ok(());
        }
        let replaced = replace(file, missing, &after).map_err(|error| cannot("write", path, &error))?;
        if replaced == in_place {
            return Ok(());
        }
        // Somebody wrote between our look and our write; what they wrote is what we begin with now.
        (before, in_place) = (replaced, after);
    }
    Err(Problem {
        message: format!(
            "cannot write `{}`: somebody else keeps writing it",
            path.display()
        ),
        fix: String::new(),
    })
}

/// Removes what a daemon that was killed in the middle of a write left behind; it may hold a password. A leftover with lines
/// that the file does not have is what another program wrote at the same time: it stays, without our block.
fn sweep(dir: &Path, path: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name()) {
            let left = entry.path();
            match read_leftover(&left)
                .zip(read(path).ok())
                .map(|(text, file)| (env_file::leftover(&text, &file), text))
            {
                Some((Leftover::Redundant, _)) => drop(fs::remove_file(&left)),
                Some((Leftover::Unique(rest), text)) if rest != text => strip(&left, &rest),
                Some((Leftover::Unique(_), _)) | None => {}
            }
        }
    }
}

/// Whether a name is exactly what `new_file` makes: the prefix, and the six characters of `tempfile`.
fn is_temporary(name: &OsStr) -> bool {
    let random = name.as_bytes().strip_prefix(TEMPORARY.as_bytes());
    random.is_some_and(|random| random.len() == 6 && random.iter().all(u8::is_ascii_alphanumeric))
}

/// Reads a leftover; none if it is not a plain file of ours.
fn read_leftover(left: &Path) -> Option<String> {
    let meta = fs::symlink_metadata(left).ok()?;
    let is_ours = meta.is_file() && meta.uid() == rustix::process::geteuid().as_raw();
    (is_ours && meta.len() <= MAX_ENV_FILE)
        .then(|| fs::read_to_string(left).ok())
        .flatten()
}

/// Writes a leftover without our block.
fn strip(left: &Path, rest: &str) {
    tracing::warn!(file = %left.display(), "an unfinished write left lines that `.env` does not have; they stay there");
    let written =
        tempfile::NamedTempFile::new_in(left.parent().unwrap_or(Path::new("."))).and_then(|mut file| {
            file.write_all(rest.as_bytes())?;
            Ok(file.persist(left)?)
        });
    if let Err(error) = written {
        tracing::warn!(%error, file = %left.display(), "cannot take our block out of it");
    }
}

fn refuse(path: &Path, what: &str, fix: &str) -> Result<(), Problem> {
    let message = format!("did not write `{}`: {what}", path.display());
    Err(Problem {
        message,
        fix: fix.to_owned(),
    })
}

/// Checks that the file is in the worktree, and a plain file or nothing. Blocking.
///
/// # Errors
/// What is in its place, and what to do about it.
pub(crate) fn check_place(file: &EnvFile) -> Result<(), Problem> {
    let path = &file.path();
    let refuse = |what, fix| refuse(path, what, fix);
    // The last look may have been before somebody else's directory came there.
    if !git::leads_back(&file.worktree_root, &file.admin_dir) {
        return refuse(
            "its directory is no worktree of the repository",
            "run `git worktree repair` in the repository",
        );
    }
    let dir = path.parent().unwrap_or(&file.worktree_root);
    match dir.canonicalize() {
        Ok(real) if real.starts_with(&file.worktree_root) => {}
        Ok(_) => {
            return refuse(
                "its directory is a link out of the worktree",
                "replace the link by a directory",
            );
        }
        Err(error) => return Err(cannot("find", dir, &error)),
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => refuse("it is not a plain file", "move it away"),
        Ok(meta) if meta.len() > MAX_ENV_FILE => {
            refuse("it is too large", "set LAKEBASE_ENV_FILE to another")
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

fn is_private(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.mode() & 0o777 == 0o600)
}

/// Writes a new file and puts it in the place of the old one, so that no reader ever sees half. Returns what it took the
/// place of.
fn replace(file: &EnvFile, missing: &Missing, text: &str) -> io::Result<String> {
    let path = &file.path();
    let dir = path.parent().unwrap_or(Path::new("."));
    let is_there = fs::symlink_metadata(path).is_ok();
    let may_create = matches!(missing, Missing::Create(_)) && !is_there;
    let check = || match missing {
        Missing::Create(names) if may_create && names.are_going(file) => Err(went_away()),
        Missing::Leave if !is_there => Err(went_away()),
        Missing::Create(_) | Missing::Leave => check_whole(file),
    };
    check()?;
    let new = new_file(file, text, check)?;
    let written = &new.file;
    failpoint::pass("env: new file written");
    let replaced = match exchange(written.path(), path)? {
        Swap::Done if fs::symlink_metadata(written.path())?.is_file() => read(written.path())?,
        Swap::Done => {
            // Somebody put a link there meanwhile, and it is neither followed nor lost.
            exchange(written.path(), path)?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a plain file",
            ));
        }
        Swap::NothingThere if !may_create => return Err(went_away()),
        Swap::NothingThere => {
            new.file.persist_noclobber(path)?;
            if is_abandoned(file) {
                remove_abandoned(file);
                return Err(went_away());
            }
            String::new()
        }
        Swap::Unsupported => {
            let replaced = read(path)?;
            new.file.persist(path)?;
            replaced
        }
    };
    failpoint::pass("env: in place");
    fs::File::open(dir)?.sync_all()?;
    Ok(replaced)
}

/// Checks that nothing of the worktree was removed that it needs to be one: see
/// <https://git-scm.com/docs/gitrepository-layout>. A new name in a directory that is being removed makes that fail.
fn check_whole(file: &EnvFile) -> io::Result<()> {
    let parts = [
        file.admin_dir.join("HEAD"),
        file.common_dir.join("objects"),
        file.common_dir.join("refs"),
    ];
    let is_whole = git::leads_back(&file.worktree_root, &file.admin_dir)
        && parts.iter().all(|part| fs::symlink_metadata(part).is_ok());
    if is_whole { Ok(()) } else { Err(went_away()) }
}

fn went_away() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "it went away; perhaps the worktree is being removed",
    )
}

/// A new file, and the directory that was made for it.
struct Fresh {
    file: tempfile::NamedTempFile<()>,
    /// Removed after the file.
    _aside: Option<tempfile::TempDir>,
}

/// Writes a file in git's directory of the worktree. Where that is on another disk, the file is made
/// beside the place where it is to go, in a directory `.git`, which git never lists.
fn new_file(file: &EnvFile, text: &str, check: impl Fn() -> io::Result<()>) -> io::Result<Fresh> {
    let (path, admin_dir) = (file.path(), &*file.admin_dir);
    let dir = path.parent().unwrap_or(&file.worktree_root);
    let device = |dir: &Path| fs::metadata(dir).map(|meta| meta.dev()).ok();
    if device(admin_dir).is_some_and(|there| Some(there) == device(dir))
        && let Ok(file) = written_in(admin_dir, text, &check)
    {
        return Ok(Fresh { file, _aside: None });
    }
    check()?;
    sweep_aside(dir);
    let aside = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(dir)?;
    let hidden = aside.path().join(".git");
    fs::create_dir(&hidden)?;
    let file = written_in(&hidden, text, &check)?;
    Ok(Fresh {
        file,
        _aside: Some(aside),
    })
}

/// Writes a file to the disk and only then gives it a name, where the system can: the directory may be about to be removed,
/// which fails while a new name is in it.
fn written_in(
    dir: &Path,
    text: &str,
    check: &impl Fn() -> io::Result<()>,
) -> io::Result<tempfile::NamedTempFile<()>> {
    let write = |mut file: &fs::File| {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    let unnamed = tempfile::tempfile_in(dir)?;
    write(&unnamed)?;
    // A removal may have begun while the disk was waited for.
    check()?;
    builder
        .make_in(dir, |path| give_name(&unnamed, path))
        .or_else(|_| {
            let file = builder.tempfile_in(dir)?;
            write(file.as_file())?;
            let (_, path) = file.into_parts();
            Ok(tempfile::NamedTempFile::from_parts((), path))
        })
}

/// Gives a file a name that has none: see `O_TMPFILE` in <https://man7.org/linux/man-pages/man2/open.2.html>.
fn give_name(file: &fs::File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, open.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Removes the directories that a killed daemon left beside the file: those with nothing in them
/// but what it made.
fn sweep_aside(dir: &Path) {
    let is_ours = |entry: &fs::DirEntry| entry.file_name().as_bytes().starts_with(TEMPORARY.as_bytes());
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if is_ours(&entry) && is_dir(&entry) {
            let hidden = entry.path().join(".git");
            let left = fs::read_dir(&hidden).into_iter().flatten().flatten();
            for file in left.filter(|file| is_ours(file) && !is_dir(file)) {
                fs::remove_file(file.path()).ok();
            }
            // Neither goes while something else is in it.
            fs::remove_dir(hidden).ok();
            fs::remove_dir(entry.path()).ok();
        }
    }
}

/// What came of swapping two files.
enum Swap {
    Done,
    NothingThere,
    Unsupported,
}

/// Swaps two files in one step, so that nothing that somebody else wrote is lost unseen.
fn exchange(new: &Path, old: &Path) -> io::Result<Swap> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(Swap::Done),
        Err(Errno::NOENT) => Ok(Swap::NothingThere),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(Swap::Unsupported),
        Err(error) => Err(error.into()),
    }
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Problem {
    Problem {
        message: format!("cannot {verb} `{}`: {error}", path.display()),
        fix: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Vec<(String, String)> {
        vec![("PGPASSWORD".into(), "secret".into())]
    }

    /// A worktree that leads back, and its file, which is not there.
    fn env() -> (tempfile::TempDir, EnvFile) {
        let dir = tempfile::tempdir().expect("a temp dir");
        let root = dir.path().canonicalize().expect("there");
        let admin_dir = root.join(".git");
        make_git_dir(&admin_dir);
        let file = EnvFile {
            worktree_root: root,
            relative: ".env".into(),
            prefix: String::new(),
            common_dir: admin_dir.clone(),
            admin_dir,
        };
        (dir, file)
    }

    fn make_git_dir(dir: &Path) {
        fs::create_dir_all(dir.join("objects")).expect("made");
        fs::create_dir(dir.join("refs")).expect("made");
        fs::write(dir.join("HEAD"), "ref: refs/heads/main\n").expect("written");
    }

    fn new_name() -> Missing {
        Missing::Create(Names::default())
    }

    fn put(file: &EnvFile) {
        keep_block(file, &new_name(), &variables()).expect("written");
    }

    /// All names but that of git's directory.
    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("listed").flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != ".git")
            .collect()
    }

    #[test]
    fn fs_13_a_link_that_comes_in_the_middle_of_a_write_is_neither_followed_nor_lost() {
        let (dir, file) = env();
        let path = file.path();
        let outside = dir.path().join("outside");
        fs::write(&outside, "precious\n").expect("written");
        std::os::unix::fs::symlink(&outside, &path).expect("linked");
        assert!(replace(&file, &new_name(), "A=1\n").is_err());
        assert_eq!(fs::read_link(&path).expect("still a link"), outside);
        assert_eq!(fs::read_to_string(&outside).expect("readable"), "precious\n");
        assert_eq!(names(dir.path()).len(), 2, "nothing is left behind");
    }

    #[test]
    fn fs_15_what_a_killed_write_left_is_taken_away() {
        let (dir, file) = env();
        let path = file.path();
        let old = |text: &str| env_file::with_block(text, &variables()).expect("no block");
        fs::write(dir.path().join(".env.lakebase-x1y2z3"), old("A=1\n")).expect("written");
        fs::write(dir.path().join(".env.lakebase-x1y2z4"), old("THEIRS=1\n")).expect("written");
        // Not of our making, whatever is in them.
        let others = [
            ".env.lakebase-my-copy",
            ".env.lakebase-x1y2z",
            ".env.lakebase-x1-2z3",
            ".env.lakebase-",
        ];
        for name in others {
            fs::write(dir.path().join(name), "A=1\n").expect("written");
        }
        fs::create_dir(dir.path().join(".env.lakebase-dirdir")).expect("made");
        std::os::unix::fs::symlink(&path, dir.path().join(".env.lakebase-linked")).expect("linked");
        fs::write(&path, "A=1\n").expect("written");
        put(&file);
        let mut names = names(dir.path());
        names.sort();
        let mut expected = vec![
            ".env",
            ".env.lakebase-dirdir",
            ".env.lakebase-linked",
            ".env.lakebase-x1y2z4",
        ];
        expected.extend(others);
        expected.sort_unstable();
        assert_eq!(names, expected);
        let kept = fs::read_to_string(dir.path().join(".env.lakebase-x1y2z4")).expect("readable");
        assert_eq!(kept, "THEIRS=1\n", "what others wrote stays, and no password");
        assert!(fs::read_to_string(&path).expect("readable").starts_with("A=1\n"));
    }

    #[test]
    fn fs_16_the_file_is_the_users_alone_whatever_it_was() {
        let (_dir, file) = env();
        let path = file.path();
        fs::write(&path, "A=1\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("changed");
        put(&file);
        assert!(is_private(&path));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        put(&file);
        assert!(is_private(&path), "also when the text is right already");
    }

    #[test]
    fn a_write_makes_no_new_name_in_the_worktree() {
        let (dir, file) = env();
        fs::write(file.path(), "A=1\n").expect("written");
        let new = new_file(&file, "", || Ok(())).expect("made");
        assert!(new.file.path().starts_with(&file.admin_dir));
        drop(new);
        put(&file);
        assert_eq!((names(dir.path()).len(), names(&file.admin_dir).len()), (1, 3));
    }

    /// An editor that replaces the file, as most do, while we replace it too: both keep what they wrote.
    #[test]
    fn fs_17_what_somebody_writes_at_the_same_time_is_not_lost() {
        let (dir, file) = env();
        let path = file.path();
        fs::write(&path, "").expect("written");
        let (theirs, new) = (path.clone(), dir.path().join("editor.tmp"));
        let editor = std::thread::spawn(move || {
            for n in 0..300 {
                let mut text = fs::read_to_string(&theirs).expect("it is always there");
                let wanted = format!("LINE_{n}=1\n");
                text.push_str(&wanted);
                fs::write(&new, &text).expect("written");
                fs::rename(&new, &theirs).expect("renamed");
                // The last thing it wrote must come through; an editor does not merge what it has not seen.
                let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
                while !fs::read_to_string(&theirs)
                    .expect("it is always there")
                    .contains(&wanted)
                {
                    assert!(std::time::Instant::now() < deadline, "line {n} is lost");
                }
            }
        });
        let mut n = 0;
        while !editor.is_finished() {
            n += 1;
            let other = vec![("PGPASSWORD".to_owned(), format!("secret{n}"))];
            keep_block(&file, &new_name(), &other).expect("written");
        }
        editor.join().expect("no line is lost");
    }

    /// The file of a worktree that leads back, with a block in it between a user's lines.
    fn in_worktree(before: &str, after: &str) -> (tempfile::TempDir, EnvFile) {
        let (dir, file) = env();
        let block = env_file::with_block(before, &variables()).expect("no block");
        fs::write(file.path(), block + after).expect("written");
        (dir, file)
    }

    #[test]
    fn sec_35_a_block_that_is_taken_out_leaves_every_line_of_the_user() {
        for emptied in [Emptied::Stays, Emptied::Goes] {
            let (_dir, file) = in_worktree("A=1\n", "B=2");
            assert_eq!(remove(&file, emptied), Ok(true));
            assert_eq!(fs::read_to_string(file.path()).expect("there"), "A=1\nB=2");
            assert_eq!(remove(&file, emptied), Ok(false), "there is no block");
            let (_dir, file) = in_worktree("\n", "");
            assert_eq!(remove(&file, emptied), Ok(true));
            assert_eq!(fs::read_to_string(file.path()).expect("there"), "\n");
        }
    }

    #[test]
    fn sec_35_a_file_that_held_only_the_block_goes_where_git_would_list_it() {
        let (_dir, file) = in_worktree("", "");
        assert_eq!(remove(&file, Emptied::Goes), Ok(true));
        assert!(!file.path().exists());
        assert_eq!(names(&file.admin_dir).len(), 3, "nothing is left aside");
        let (_dir, file) = in_worktree("", "");
        assert_eq!(remove(&file, Emptied::Stays), Ok(true));
        assert_eq!(fs::read_to_string(file.path()).expect("there"), "");
        fs::remove_file(file.path()).expect("removed");
        std::os::unix::fs::symlink("elsewhere", file.path()).expect("linked");
        assert_eq!(remove(&file, Emptied::Goes), Ok(false), "a link is not ours");
        assert!(file.path().is_symlink());
    }

    /// A program that puts its file in place whenever there is none, while the block comes and
    /// goes.
    #[test]
    fn sec_35_a_line_that_is_written_while_an_empty_file_goes_is_not_lost() {
        let (_dir, file) = in_worktree("", "");
        let (path, new) = (file.path(), file.worktree_root.join("new"));
        let program = std::thread::spawn(move || {
            let within = |what: &str, is_so: &dyn Fn() -> bool| {
                let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
                while !is_so() {
                    assert!(std::time::Instant::now() < deadline, "{what}");
                }
            };
            for n in 0..100 {
                let line = format!("LINE_{n}=1\n");
                fs::write(&new, &line).expect("written");
                within("it never goes", &|| fs::hard_link(&new, &path).is_ok());
                let has_line = || fs::read_to_string(&path).is_ok_and(|text| text.contains(&line));
                within("a line is lost", &has_line);
                // Another file: this one is linked.
                fs::remove_file(&new).expect("removed");
                fs::write(&new, "").expect("written");
                fs::rename(&new, &path).expect("renamed");
            }
        });
        while !program.is_finished() {
            keep_block(&file, &new_name(), &variables()).ok();
            remove(&file, Emptied::Goes).ok();
        }
        program.join().expect("no line is lost");
    }

    /// A worktree on another disk than its repository.
    #[test]
    fn sec_35_a_new_file_beside_the_old_one_is_not_listed_by_git() {
        let (dir, file) = env();
        let Ok(admin) = tempfile::tempdir_in("/dev/shm") else {
            eprintln!("skipped: there is no other disk");
            return;
        };
        let device = |dir: &Path| fs::metadata(dir).expect("there").dev();
        if device(admin.path()) == device(dir.path()) {
            eprintln!("skipped: there is no other disk");
            return;
        }
        let git = |args: &[&str]| {
            let mut git = std::process::Command::new("git");
            let git = git.args(args).current_dir(dir.path()).env("HOME", dir.path());
            let output = git.output().expect("git is installed");
            assert!(output.status.success(), "git {args:?}");
            String::from_utf8(output.stdout).expect("text")
        };
        fs::remove_dir_all(&file.admin_dir).expect("removed");
        git(&[
            "init",
            "-q",
            "--separate-git-dir",
            admin.path().to_str().expect("text"),
        ]);
        let file = EnvFile {
            admin_dir: admin.path().canonicalize().expect("there"),
            common_dir: admin.path().canonicalize().expect("there"),
            ..file
        };
        let new = new_file(&file, "PGPASSWORD=secret", || Ok(())).expect("made");
        assert!(new.file.path().starts_with(dir.path()));
        assert_eq!(git(&["status", "--porcelain", "-uall"]), "");
        git(&["add", "-A"]);
        assert_eq!(git(&["ls-files"]), "");
        // As when the daemon is killed: the next write takes it away.
        let left = new.file.path().to_owned();
        std::mem::forget(new);
        let kept = dir.path().join(".env.lakebase-kept/.git");
        fs::create_dir_all(&kept).expect("made");
        fs::write(kept.join("mine"), "").expect("written");
        put(&file);
        assert!(!left.exists());
        assert!(kept.join("mine").exists(), "it is not ours");
        let mut names = names(dir.path());
        names.sort();
        assert_eq!(names, [".env", ".env.lakebase-kept"]);
    }

    #[test]
    fn fs_18_a_file_that_was_there_is_not_created_again_while_its_worktree_may_go() {
        let (dir, file) = env();
        assert!(keep_block(&file, &Missing::Leave, &variables()).is_err());
        assert_eq!(names(dir.path()), Vec::<String>::new());
        put(&file);
        keep_block(&file, &Missing::Leave, &variables()).expect("it is there");
        fs::remove_dir_all(&file.admin_dir).expect("removed");
        assert!(
            keep_block(&file, &new_name(), &variables()).is_ok(),
            "nothing to write"
        );
        fs::remove_file(file.path()).expect("removed");
        assert!(keep_block(&file, &new_name(), &variables()).is_err());
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn fs_18_no_file_is_created_while_others_go() {
        let (dir, file) = env();
        fs::write(dir.path().join("code"), "").expect("written");
        let missing = Missing::Create(Names::of(&file));
        fs::remove_file(dir.path().join("code")).expect("removed");
        assert!(keep_block(&file, &missing, &variables()).is_err());
        assert_eq!(names(dir.path()), Vec::<String>::new());
        let missing = Missing::Create(Names::of(&file));
        keep_block(&file, &missing, &variables()).expect("nothing went");
    }

    #[test]
    fn fs_18_what_is_left_of_a_removed_worktree_goes_unless_it_holds_more_than_the_block() {
        let (dir, file) = env();
        put(&file);
        assert!(!is_abandoned(&file));
        fs::remove_dir_all(&file.admin_dir).expect("removed");
        assert!(is_abandoned(&file));
        fs::write(dir.path().join("mine"), "").expect("written");
        assert_eq!(remove(&file, Emptied::Stays), Ok(true));
        assert_eq!(names(dir.path()), ["mine"]);
        for text in ["", "A=1\n"] {
            fs::write(file.path(), text).expect("written");
            assert_eq!(remove(&file, Emptied::Stays), Ok(false));
            assert_eq!(fs::read_to_string(file.path()).expect("there"), text);
        }
        fs::remove_file(file.path()).expect("removed");
        fs::remove_file(dir.path().join("mine")).expect("removed");
        make_git_dir(&file.admin_dir);
        put(&file);
        fs::remove_dir_all(&file.admin_dir).expect("removed");
        assert_eq!(remove(&file, Emptied::Stays), Ok(true));
        assert!(!dir.path().exists());
    }
}
