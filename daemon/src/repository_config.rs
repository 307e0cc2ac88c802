//! Reads a repository's `lakebase.config`. The file comes with the repository, so it is treated as a stranger's: a plain,
//! small file of ours, parsed as data.

use crate::board::Problem;
use daemon_core::config_file::{self, Settings};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A valid configuration, with its text.
    Valid(Box<Settings>, String),
    /// There is no such file.
    Missing,
    /// It cannot be used.
    Broken(Problem),
}

/// Reads and parses the file. Blocking.
pub(crate) fn read(path: &Path) -> Reading {
    match read_text(path) {
        Ok(text) => parse(path, text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Missing,
        Err(error) => Reading::Broken(problem(path, &format!("cannot read: {error}"))),
    }
}

/// Parses a text that was valid before.
pub(crate) fn parse_again(text: &str) -> Option<Settings> {
    config_file::parse(text).ok()
}

fn parse(path: &Path, text: String) -> Reading {
    match config_file::parse(&text) {
        Ok(settings) => Reading::Valid(Box::new(settings), text),
        Err(error) => Reading::Broken(problem(path, &error.to_string())),
    }
}

fn problem(path: &Path, what: &str) -> Problem {
    Problem {
        message: format!("`{}`: {what}", path.display()),
        fix: "mend the file; until then the last good configuration stays in force".into(),
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
