//! Whose development loop this is: the worktree's directory with its `lakebase.dev.toml`, and what is kept about it.

use crate::failure::{Exit, Failure};
use anyhow::Context;
use private_dir::{DirError, Others};
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The file that describes the processes.
pub(crate) const FILE: &str = "lakebase.dev.toml";

/// A worktree and its directory among our state.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The directory that holds the file.
    pub(crate) root: PathBuf,
    /// Which of our directories is its.
    pub(crate) key: String,
    state: PathBuf,
}

impl Place {
    /// Finds the file in the working directory, or in one above it within the same worktree.
    pub(crate) fn here() -> anyhow::Result<Self> {
        let cwd = std::env::current_dir().context("cannot find the working directory")?;
        let cwd = cwd.canonicalize().context("cannot find the working directory")?;
        let root = find(&cwd).ok_or_else(|| {
            Failure::new(
                Exit::NotConfigured,
                format!("there is no `{FILE}` in this worktree"),
            )
            .hint("`lakebase dev --help` shows one to begin with")
        })?;
        Self::of(root)
    }

    /// Returns the place of a directory.
    pub(crate) fn of(root: &Path) -> anyhow::Result<Self> {
        let state = state_dir()
            .context("cannot find the state directory: HOME is not set")?
            .join("dev");
        private_dir::own(&state, Others::Nothing).map_err(untrusted)?;
        Ok(Self {
            root: root.to_owned(),
            key: key(root),
            state,
        })
    }

    #[cfg(test)]
    pub(crate) fn for_test(root: PathBuf, key: &str) -> Self {
        Self {
            state: root.clone(),
            root,
            key: key.to_owned(),
        }
    }

    /// Makes its directory.
    pub(crate) fn open(&self) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.dir())
    }

    /// Removes its directory. The ports go when somebody else needs them.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(self.dir())
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.root.join(FILE)
    }

    /// The ports of all places.
    pub(crate) fn ports_file(&self) -> PathBuf {
        self.state.join("ports.json")
    }

    pub(crate) fn ports_lock(&self) -> PathBuf {
        self.state.join("ports.lock")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir().join("sock")
    }

    pub(crate) fn run_file(&self) -> PathBuf {
        self.dir().join("run.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir().join("log")
    }

    /// What the supervisor says before it has a log, or when it breaks.
    pub(crate) fn last_words(&self) -> PathBuf {
        self.dir().join("supervisor.err")
    }

    /// Waits for the right to start and stop the supervisor.
    pub(crate) fn command_lock(&self) -> io::Result<File> {
        self.open()?;
        lock(&self.dir().join("command.lock"))
    }

    /// The lock that a supervisor holds for life; `None` while one does.
    pub(crate) fn supervisor_lock(&self) -> io::Result<Option<File>> {
        self.open()?;
        let file = private_dir::lock_file(&self.dir().join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn dir(&self) -> PathBuf {
        self.state.join(&self.key)
    }
}

/// Waits for a lock.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let file = private_dir::lock_file(path)?;
    file.lock()?;
    Ok(file)
}

/// Names the command that helps.
fn untrusted(error: DirError) -> anyhow::Error {
    let fix = error.fix("LAKEBASE_STATE_DIR");
    let failure = Failure::new(Exit::Failed, error.to_string());
    match (error, fix) {
        (_, Some(fix)) => failure.hint(fix).into(),
        (error, None) => error.into(),
    }
}

fn find(from: &Path) -> Option<&Path> {
    for dir in from.ancestors() {
        if dir.join(FILE).is_file() {
            return Some(dir);
        }
        if dir.join(".git").exists() {
            // A worktree may lie in another one, whose file is not for it.
            return None;
        }
    }
    None
}

/// A part to read, and one that makes it unique.
fn key(root: &Path) -> String {
    let hash = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let hash = hex::encode(hash.get(..5).unwrap_or_default());
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let name = name.chars().filter(char::is_ascii_alphanumeric).take(16);
    format!("{}-{hash}", name.collect::<String>())
}

fn state_dir() -> Option<PathBuf> {
    let var = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let state_home = || {
        let named = var("XDG_STATE_HOME").filter(|dir| dir.is_absolute());
        named.or_else(|| Some(var("HOME")?.join(".local/state")))
    };
    let state = var("LAKEBASE_STATE_DIR").or_else(|| Some(state_home()?.join("lakebase")))?;
    std::path::absolute(state).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worktree_in_another_one_does_not_use_the_others_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let outer = dir.path();
        let inner = outer.join("trees/a");
        fs::create_dir_all(inner.join("src")).expect("mkdir");
        fs::write(outer.join(FILE), "").expect("write");
        assert_eq!(find(&inner.join("src")), Some(outer));
        fs::write(inner.join(".git"), "gitdir: elsewhere").expect("write");
        assert_eq!(find(&inner.join("src")), None);
        fs::write(inner.join(FILE), "").expect("write");
        assert_eq!(find(&inner.join("src")), Some(inner.as_path()));
    }

    #[test]
    fn two_directories_of_one_name_have_two_keys() {
        let (a, b) = (key(Path::new("/a/shop")), key(Path::new("/b/shop")));
        assert!(
            a.starts_with("shop-") && b.starts_with("shop-") && a != b,
            "{a} {b}"
        );
    }
}
