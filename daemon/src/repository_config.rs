//! Reads a repository's `lakebase.config`. The file comes with the repository, so it is treated as a stranger's: a plain,
//! small file of ours, parsed as data.

use crate::board::Problem;
use crate::git;
use daemon_core::config_file::{self, Settings};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A valid configuration.
    Valid(Box<Settings>),
    /// There is no such file.
    Missing,
    /// It cannot be used.
    Broken(Problem),
}

/// Name of the file.
pub(crate) const FILE: &str = "lakebase.config";

/// Reads and parses the configuration of a repository: the file in its main worktree. A bare repository has it in its own
/// directory, which no commit reaches, else in the commit that HEAD names. Blocking.
pub(crate) fn of(main_worktree: Option<&Path>, common_dir: &Path) -> Reading {
    let path = main_worktree.unwrap_or(common_dir).join(FILE);
    match read_text(&path) {
        Ok(text) => parse(&path, &text),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Reading::Broken(problem(&path, &format!("cannot read: {error}")))
        }
        Err(_) if main_worktree.is_some() => Reading::Missing,
        Err(_) => committed(common_dir),
    }
}

fn committed(git_dir: &Path) -> Reading {
    let place = PathBuf::from(format!("HEAD:{FILE}"));
    let broken = |why: &str| Reading::Broken(problem(&place, &format!("cannot read: {why}")));
    match git::committed(git_dir, FILE, config_file::MAX_BYTES) {
        Ok(None) => Reading::Missing,
        Ok(Some(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => parse(&place, &text),
            Err(error) => broken(&error.to_string()),
        },
        Err(why) => broken(&why),
    }
}

/// The configuration of a repository that the ledger has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Confirmed {
    /// There was none yet.
    None,
    /// The one in force.
    Valid(Box<Settings>),
    /// There is one, and this release cannot read it. It is not as if there were none: no file replaces it unconfirmed.
    Unreadable,
}

impl Confirmed {
    pub(crate) fn of(text: Option<&str>) -> Self {
        match text.map(config_file::parse_stored) {
            None => Self::None,
            Some(Some(settings)) => Self::Valid(Box::new(settings)),
            Some(None) => Self::Unreadable,
        }
    }

    /// Returns the settings in force, if there are any.
    pub(crate) fn settings(self) -> Option<Settings> {
        match self {
            Self::Valid(settings) => Some(*settings),
            Self::None | Self::Unreadable => None,
        }
    }
}

fn parse(path: &Path, text: &str) -> Reading {
    match config_file::parse(text) {
        Ok(settings) => Reading::Valid(Box::new(settings)),
        Err(error) => Reading::Broken(problem(path, &error.to_string())),
    }
}

fn problem(path: &Path, what: &str) -> Problem {
    Problem {
        message: format!("`{}`: {what}", path.display()),
        fix: "mend the file; until then the confirmed configuration stays in force".into(),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    let limit = u64::try_from(config_file::MAX_BYTES).unwrap_or(u64::MAX);
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text)?;
    Ok(text)
}
