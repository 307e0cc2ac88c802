//! Finds PostgreSQL's server programs on this machine, and the user to run them as. Starts nothing but `--version`.

mod owner;

pub(crate) use owner::OwnerPassword;

use crate::engine::EngineError;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest release whose backup functions and `syncfs` start-up we rely on.
const OLDEST_MAJOR: u32 = 15;

/// The server programs of one release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Postgres {
    bindir: PathBuf,
    major: u32,
    version: String,
}

impl Postgres {
    /// Finds a release that is new enough: in the given directory if there is one, else `pg_config`'s, `PATH`, and the
    /// places where Debian, Homebrew and Postgres.app put theirs; the newest of them.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self, EngineError> {
        let dirs = given.map_or_else(usual_places, |dir| vec![dir.to_owned()]);
        let found: Vec<Self> = dirs.iter().filter_map(|dir| Self::at(dir)).collect();
        let newest = found.iter().max_by_key(|postgres| postgres.major);
        match newest {
            Some(postgres) if postgres.major >= OLDEST_MAJOR => Ok(postgres.clone()),
            Some(postgres) => Err(EngineError::TooOld {
                version: postgres.version.clone(),
                fix: fix(),
            }),
            None => Err(EngineError::NoPostgres { fix: fix() }),
        }
    }

    fn at(bindir: &Path) -> Option<Self> {
        if !bindir.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(bindir.join("postgres"))
            .arg("--version")
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = parse_version(&text)?;
        let major = version
            .split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()?;
        Some(Self {
            bindir: bindir.to_owned(),
            major,
            version: version.to_owned(),
        })
    }

    /// The version, as in `15.18`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The release, as in 15: data directories of one are of no use to another.
    pub(crate) fn major(&self) -> u32 {
        self.major
    }

    /// The path of one of the programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → `15.18`.
fn parse_version(text: &str) -> Option<&str> {
    text.strip_prefix("postgres (PostgreSQL) ")?
        .split_whitespace()
        .next()
}

fn usual_places() -> Vec<PathBuf> {
    let mut dirs = vec![];
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        dirs.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    dirs.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(|path| std::env::split_paths(path).collect::<Vec<_>>()),
    );
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
        ("/Applications/Postgres.app/Contents/Versions", ""),
    ] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        dirs.extend(named.map(|entry| entry.path().join("bin")));
    }
    dirs
}

fn fix() -> String {
    let command = if cfg!(target_os = "macos") {
        "brew install postgresql@17"
    } else {
        "sudo apt-get install postgresql"
    };
    format!(
        "install PostgreSQL {OLDEST_MAJOR} or newer (`{command}`), or set LAKEBASE_PG_BINDIR to its bin directory"
    )
}

/// Whom computes run as, and own their files: PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// As ourselves.
    Us,
    /// We are root, and become this user.
    User {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

impl RunAs {
    /// Ourselves; or, for root, the user `postgres` that its packages make.
    pub(crate) fn find() -> Result<Self, EngineError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Us);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        parse_account(&accounts, "postgres").ok_or(EngineError::NoUser)
    }

    /// Says whether a user id is that user's.
    pub(crate) fn is_uid(self, owner: u32) -> bool {
        match self {
            Self::Us => owner == rustix::process::geteuid().as_raw(),
            Self::User { uid, .. } => owner == uid,
        }
    }

    /// Gives a path to that user.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Us => Ok(()),
            Self::User { uid, gid } => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
        }
    }
}

fn parse_account(accounts: &str, name: &str) -> Option<RunAs> {
    let fields = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let account = fields
        .into_iter()
        .find(|fields| fields.first() == Some(&name) && fields.len() > 3)?;
    Some(RunAs::User {
        uid: account[2].parse().ok()?,
        gid: account[3].parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(
            parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some("15.18")
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1\n"), Some("18beta1"));
        assert_eq!(parse_version("bash 5.2"), None);
    }

    #[test]
    fn accounts_are_read() {
        let accounts =
            "root:x:0:0:root:/root:/bin/bash\npostgres:x:109:117:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(
            parse_account(accounts, "postgres"),
            Some(RunAs::User { uid: 109, gid: 117 })
        );
        assert_eq!(parse_account(accounts, "nobody"), None);
    }

    #[test]
    fn a_directory_without_postgres_says_what_to_install() {
        let empty = tempfile::tempdir().expect("a temp dir");
        let error = Postgres::find(Some(empty.path())).expect_err("nothing is there");
        assert!(matches!(error, EngineError::NoPostgres { fix } if fix.contains("install PostgreSQL 15")));
    }

    #[test]
    fn this_machine_has_one() {
        assert!(Postgres::find(None).expect("tests need PostgreSQL").major() >= OLDEST_MAJOR);
    }
}
