//! Keeps the marked block in a worktree's `.env`. The file holds a password, so it is written only where git will not pick
//! it up and only the user can read it. What the block says is decided in the core.

use crate::board::Problem;
use crate::credentials::{Minted, Target};
use crate::git;
use daemon_core::env_file::{self, Connection};
use secrecy::ExposeSecret;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A larger file than this is no `.env` of anybody's.
const MAX_ENV_FILE: u64 = 1024 * 1024;

/// Where the block goes, and how its keys are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvFile {
    pub(crate) worktree_root: PathBuf,
    /// Relative to the root; the configuration's grammar keeps it inside.
    pub(crate) relative: PathBuf,
    pub(crate) prefix: String,
}

/// Brings the block up to date. Blocking.
///
/// # Errors
/// Why the file is not written, and what a person can do; the worktree works without it.
pub(crate) fn write(file: &EnvFile, target: &Target, minted: &Minted) -> Result<(), Problem> {
    let path = file.worktree_root.join(&file.relative);
    check_place(file, &path)?;
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
    let before = read(&path).map_err(|error| cannot("read", &path, &error))?;
    let after = env_file::with_block(&before, &variables).map_err(|error| Problem {
        message: format!("`{}`: {error}", path.display()),
        fix: String::new(),
    })?;
    if before == after && is_private(&path) {
        return Ok(());
    }
    replace(&path, &after).map_err(|error| cannot("write", &path, &error))
}

/// The file must be in the worktree, a plain file or nothing, and nothing that git would commit.
fn check_place(file: &EnvFile, path: &Path) -> Result<(), Problem> {
    let refuse = |what: &str, fix: &str| {
        let message = format!("did not write `{}`: {what}", path.display());
        Err(Problem {
            message,
            fix: fix.to_owned(),
        })
    };
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
        Ok(meta) if !meta.is_file() => return refuse("it is not a plain file", "move it away"),
        Ok(meta) if meta.len() > MAX_ENV_FILE => {
            return refuse("it is too large", "set LAKEBASE_ENV_FILE to another");
        }
        _ => {}
    }
    match git::is_safely_ignored(&file.worktree_root, &file.relative) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let fix = format!(
                "add `{}` to .gitignore, or set LAKEBASE_ENV_FILE=\"\"",
                file.relative.display()
            );
            refuse("git does not ignore it, and it would hold a password", &fix)
        }
        Err(error) => refuse(&error, "run `git status` in the worktree and mend what it says"),
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

/// Writes a new file beside the old one and renames it over it, so that no reader ever sees half.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".env.lakebase-")
        .tempfile_in(dir)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(dir)?.sync_all()
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Problem {
    Problem {
        message: format!("cannot {verb} `{}`: {error}", path.display()),
        fix: String::new(),
    }
}
