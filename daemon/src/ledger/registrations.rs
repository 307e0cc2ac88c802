//! The registrations, written a second time in a file beside the ledger: what a lost ledger starts from. The file changes when a
//! repository is registered, moves, is configured or is unregistered. Holds no secret: a configuration names none.

use super::private_file;
use super::repositories::RepositoryRow;
use chrono::DateTime;
use daemon_core::ids::RepositoryId;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Format of the file. One of another format is left alone.
const FORMAT: u32 = 1;

/// The file.
#[derive(Debug, Clone)]
pub(super) struct RegistrationsFile {
    pub(super) path: PathBuf,
}

/// What was found in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Missing,
    Kept(Registrations),
    /// The text says why.
    Unreadable(String),
}

/// Every repository that was registered at one generation of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registrations {
    format: u32,
    /// The ledger's generation when it was written.
    pub(super) generation: i64,
    pub(super) repositories: Vec<Registration>,
}

/// One registered repository, on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registration {
    pub(super) id: String,
    /// The machine on which device and inode mean something.
    pub(super) machine: String,
    pub(super) common_dir: PathText,
    pub(super) main_worktree: Option<PathText>,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) born: Option<i64>,
    /// In milliseconds since 1970.
    pub(super) registered_at: i64,
    /// The text of the configuration in force.
    pub(super) config: Option<String>,
}

/// A path: text where it is text, else its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum PathText {
    Text(String),
    Bytes(Vec<u8>),
}

impl RegistrationsFile {
    pub(super) fn beside(ledger: &Path) -> Self {
        Self {
            path: ledger.with_file_name("registrations.json"),
        }
    }

    /// Reads the file. Blocking.
    pub(super) fn read(&self) -> Reading {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Reading::Missing,
            Err(error) => return Reading::Unreadable(error.to_string()),
        };
        match serde_json::from_slice::<Registrations>(&bytes) {
            Ok(kept) if kept.format == FORMAT => Reading::Kept(kept),
            Ok(kept) => Reading::Unreadable(format!("it has format {}", kept.format)),
            Err(error) => Reading::Unreadable(error.to_string()),
        }
    }

    /// Replaces the file. Blocking.
    pub(super) fn write(&self, kept: &Registrations) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(kept)?;
        bytes.push(b'\n');
        private_file::replace(&self.path, &bytes)
    }
}

impl Reading {
    /// Returns the generation that it was written at.
    pub(super) fn generation(&self) -> Option<i64> {
        match self {
            Self::Kept(kept) => Some(kept.generation),
            Self::Missing | Self::Unreadable(_) => None,
        }
    }
}

impl Registrations {
    pub(super) fn new(generation: i64, repositories: Vec<Registration>) -> Self {
        Self {
            format: FORMAT,
            generation,
            repositories,
        }
    }
}

impl Registration {
    pub(super) fn of(row: &RepositoryRow, machine: String) -> Self {
        Self {
            id: row.id.to_string(),
            machine,
            common_dir: PathText::of(&row.common_dir),
            main_worktree: row.main_worktree.as_deref().map(PathText::of),
            device: row.device,
            inode: row.inode,
            born: row.born,
            registered_at: row.registered_at.timestamp_millis(),
            config: row.confirmed_config.clone(),
        }
    }

    /// Returns the row that it came from, not confirmed.
    pub(super) fn row(&self) -> RepositoryRow {
        RepositoryRow {
            id: RepositoryId::new(self.id.clone()),
            common_dir: self.common_dir.path(),
            main_worktree: self.main_worktree.as_ref().map(PathText::path),
            device: self.device,
            inode: self.inode,
            born: self.born,
            registered_at: DateTime::from_timestamp_millis(self.registered_at).unwrap_or_default(),
            confirmed_config: self.config.clone(),
            is_retired: false,
            is_unconfirmed: true,
        }
    }
}

impl PathText {
    fn of(path: &Path) -> Self {
        path.to_str().map_or_else(
            || Self::Bytes(path.as_os_str().as_bytes().to_vec()),
            |text| Self::Text(text.to_owned()),
        )
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Text(text) => PathBuf::from(text),
            Self::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn lg_03_registrations_are_read_as_they_were_written_and_are_private() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let file = RegistrationsFile::beside(&dir.path().join("state.db"));
        assert_eq!(file.read(), Reading::Missing);
        let row = RepositoryRow {
            id: RepositoryId::new("r"),
            common_dir: OsString::from_vec(b"/odd/\xff/.git".to_vec()).into(),
            main_worktree: Some("/odd".into()),
            device: u64::MAX,
            inode: 7,
            born: Some(-1),
            registered_at: DateTime::from_timestamp_millis(12).expect("in range"),
            confirmed_config: Some("LAKEBASE_PROJECT_ID=\"shop\"\n".into()),
            is_retired: false,
            is_unconfirmed: true,
        };
        let kept = Registrations::new(5, vec![Registration::of(&row, "m1".into())]);
        file.write(&kept).expect("written");
        assert_eq!(file.read(), Reading::Kept(kept.clone()));
        assert_eq!(kept.repositories[0].row(), row);
        let mode = fs::metadata(&file.path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn lg_03_what_is_no_list_of_registrations_is_unreadable() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let file = RegistrationsFile::beside(&dir.path().join("state.db"));
        let other = r#"{"format": 2, "generation": 1, "repositories": []}"#;
        for text in ["", "{", "[]", other] {
            fs::write(&file.path, text).expect("written");
            assert!(matches!(file.read(), Reading::Unreadable(_)), "{text}");
        }
    }
}
