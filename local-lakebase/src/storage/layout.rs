//! Where everything is below the data directory, and that the right user can get there.
//!
//! ```text
//! template-15/pgdata              what new projects are copied from
//! projects/{project}/{uid}/pgdata a branch, with compute.log beside it
//! run/{hash}/                     its socket
//! trash/                          what is being removed
//! ```

use crate::engine::{BranchKey, EngineError};
use crate::postgres::RunAs;
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The port that names a compute's socket; nobody listens on it.
pub(crate) const PORT: u16 = 5432;

/// The longest path of a socket: macOS has 104 bytes with the closing NUL, Linux 108.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// The places below one data directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    /// Where socket directories are: short enough for a socket's path.
    sockets: PathBuf,
    run_as: RunAs,
}

impl Layout {
    /// Makes the directories that are missing, and checks that the user that computes run as can enter them.
    pub(crate) fn prepare(root: &Path, run_as: RunAs) -> Result<Self, EngineError> {
        let io = |source| EngineError::Io {
            path: root.to_owned(),
            source,
        };
        let mode = if run_as == RunAs::Us { 0o700 } else { 0o711 };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(root)
            .map_err(io)?;
        let root = root.canonicalize().map_err(io)?;
        check_entry(&root, run_as)?;
        let sockets = sockets_dir(&root);
        let layout = Self {
            root,
            sockets,
            run_as,
        };
        for dir in [layout.projects(), layout.trash()] {
            layout.make_dir(&dir)?;
        }
        layout.make_dir(&layout.sockets)?;
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn run_as(&self) -> RunAs {
        self.run_as
    }

    pub(crate) fn projects(&self) -> PathBuf {
        self.root.join("projects")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub(crate) fn template(&self, major: u32) -> PathBuf {
        self.root.join(format!("template-{major}"))
    }

    pub(crate) fn branch(&self, key: &BranchKey) -> PathBuf {
        self.projects().join(&key.project).join(&key.uid)
    }

    pub(crate) fn pgdata(&self, key: &BranchKey) -> PathBuf {
        self.branch(key).join("pgdata")
    }

    /// The directory of a branch's socket.
    pub(crate) fn socket_dir(&self, key: &BranchKey) -> PathBuf {
        self.named_socket_dir(&format!("{}/{}", key.project, key.uid))
    }

    /// The directory of a socket that is named after anything.
    pub(crate) fn named_socket_dir(&self, name: &str) -> PathBuf {
        let hash = hex::encode(Sha256::digest(name));
        self.sockets.join(&hash[..12])
    }

    /// Makes a directory that only the user of computes can enter, if it is not there.
    pub(crate) fn make_dir(&self, dir: &Path) -> Result<(), EngineError> {
        let make = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            self.run_as.own(dir)
        };
        make().map_err(|source| EngineError::Io {
            path: dir.to_owned(),
            source,
        })
    }
}

/// The socket of a directory.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

fn sockets_dir(root: &Path) -> PathBuf {
    let inside = root.join("run");
    let longest = socket(&inside.join("0".repeat(12)));
    if longest.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH {
        return inside;
    }
    let hash = hex::encode(Sha256::digest(root.as_os_str().as_bytes()));
    let us = rustix::process::geteuid().as_raw();
    PathBuf::from(format!("/tmp/lakebase-{us}-{}", &hash[..12]))
}

/// Every directory on the way must let that user through.
fn check_entry(root: &Path, run_as: RunAs) -> Result<(), EngineError> {
    let RunAs::User { uid, gid } = run_as else {
        return Ok(());
    };
    for dir in root.ancestors() {
        let meta = fs::metadata(dir).map_err(|source| EngineError::Io {
            path: dir.to_owned(),
            source,
        })?;
        let mode = meta.permissions().mode();
        let needed = match () {
            () if meta.uid() == uid => 0o100,
            () if meta.gid() == gid => 0o010,
            () => 0o001,
        };
        if mode & needed == 0 {
            return Err(EngineError::Closed { dir: dir.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_data_directory_keeps_its_sockets_elsewhere() {
        assert_eq!(sockets_dir(Path::new("/data")), Path::new("/data/run"));
        let long = PathBuf::from(format!("/{}", "d".repeat(90)));
        let dir = sockets_dir(&long);
        assert!(
            dir.starts_with("/tmp") && socket(&dir.join("0".repeat(12))).as_os_str().len() <= MAX_SOCKET_PATH
        );
    }

    #[test]
    fn a_closed_directory_is_named() {
        let dir = tempfile::tempdir().expect("a temp dir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("changed");
        let nobody = RunAs::User {
            uid: 4_000_000,
            gid: 4_000_000,
        };
        let error = check_entry(&dir.path().join(""), nobody).expect_err("it is closed");
        assert!(matches!(error, EngineError::Closed { dir: named } if named == dir.path()));
        assert!(check_entry(dir.path(), RunAs::Us).is_ok());
    }
}
