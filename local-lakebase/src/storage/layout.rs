//! Where everything is below the data directory, and that the right user can get there.
//!
//! ```text
//! template-{recipe}/pgdata        what new projects are copied from
//! projects/{project}/{uid}/pgdata a branch, with compute.log and branch.json beside it
//! run/{hash}/                     its socket
//! trash/                          what is being removed
//! lost/                           data directories that the catalog does not name; never emptied
//! ```

use super::tree::How;
use crate::engine::{BranchKey, EngineError};
use crate::postgres::RunAs;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The directory of the branches.
pub(super) const PROJECTS: &str = "projects";

/// The directory of data directories that the catalog does not name.
pub(crate) const LOST: &str = "lost";

/// The extension of a directory that is being made.
const HALF_MADE: &str = "tmp";

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
    /// Whether files here can share blocks, so that copies cost nothing.
    shares_blocks: bool,
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
            shares_blocks: super::space::shares_blocks(&root),
            root,
            sockets,
            run_as,
        };
        for dir in [layout.projects(), layout.trash()] {
            layout.make_dir(&dir)?;
        }
        layout.make_private(&layout.sockets)?;
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn run_as(&self) -> RunAs {
        self.run_as
    }

    pub(crate) fn shares_blocks(&self) -> bool {
        self.shares_blocks
    }

    /// How files are copied here.
    pub(super) fn how(&self) -> How {
        How {
            run_as: self.run_as,
            shares_blocks: self.shares_blocks,
        }
    }

    pub(crate) fn projects(&self) -> PathBuf {
        self.root.join(PROJECTS)
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// The directory of the template that is made by a recipe.
    pub(crate) fn template(&self, recipe: &str) -> PathBuf {
        self.root.join(format!("template-{recipe}"))
    }

    pub(crate) fn branch(&self, key: &BranchKey) -> PathBuf {
        branch_dir(&self.root, key)
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

    /// Makes the directory of a project, in which each branch gets a corner of the disk of its own.
    ///
    /// ext4 puts a directory's files beside each other, and passes over the places of files that were deleted within the
    /// last minutes, one by one. Branches come and go by a thousand files, so without this a copy takes ten times as long as
    /// it should. Other file systems refuse the mark and do not need it.
    pub(crate) fn make_project_dir(&self, dir: &Path) -> Result<(), EngineError> {
        self.make_dir(dir)?;
        #[cfg(target_os = "linux")]
        if let Err(error) = spread(dir) {
            tracing::trace!(%error, dir = %dir.display(), "not marked");
        }
        Ok(())
    }

    /// Makes a directory in a place where others may have been first, such as `/tmp`: one that is there must be ours alone.
    fn make_private(&self, dir: &Path) -> Result<(), EngineError> {
        let io = |source| EngineError::Io {
            path: dir.to_owned(),
            source,
        };
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.and_then(|()| self.run_as.own(dir)).map_err(io),
        }
        let meta = fs::symlink_metadata(dir).map_err(io)?;
        let is_private = meta.permissions().mode().trailing_zeros() >= 6;
        if meta.is_dir() && self.run_as.is_uid(meta.uid()) && is_private {
            return Ok(());
        }
        Err(EngineError::NotOurs { dir: dir.to_owned() })
    }
}

/// The directory of a branch below a data directory.
pub(crate) fn branch_dir(root: &Path, key: &BranchKey) -> PathBuf {
    root.join(PROJECTS).join(&key.project).join(&key.uid)
}

/// Returns the name of a directory while it is being made. No two are the same.
pub(super) fn half_made_name(whole: &str) -> String {
    format!("{whole}.{}.{HALF_MADE}", uuid::Uuid::new_v4().simple())
}

/// Whether a name is exactly what [`half_made_name`] makes for a branch's directory.
pub(super) fn is_half_made_branch(name: &str) -> bool {
    whole_of(name).is_some_and(is_plain)
}

/// Whether a name is exactly what [`half_made_name`] makes for a template's directory.
pub(super) fn is_half_made_template(name: &str) -> bool {
    whole_of(name).is_some_and(|whole| whole.strip_prefix("template-").is_some_and(is_plain))
}

/// Whether a name is exactly that of a branch's directory in `trash/`.
pub(super) fn is_trash(name: &str) -> bool {
    let id_length = uuid::fmt::Hyphenated::LENGTH;
    let split = name
        .len()
        .checked_sub(id_length)
        .and_then(|at| name.split_at_checked(at));
    split.is_some_and(|(uid, id)| uid.strip_suffix('-').is_some_and(is_plain) && is_random_id(id))
}

/// Returns what a half-made directory will be called.
fn whole_of(name: &str) -> Option<&str> {
    let (name, extension) = name.rsplit_once('.')?;
    let (whole, id) = name.rsplit_once('.')?;
    let is_ours = extension == HALF_MADE && id.len() == uuid::fmt::Simple::LENGTH && is_random_id(id);
    is_ours.then_some(whole)
}

fn is_random_id(text: &str) -> bool {
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    let id = uuid::Uuid::try_parse(text);
    is_lower && id.is_ok_and(|id| id.get_version() == Some(uuid::Version::Random))
}

/// Whether a name is safe as a part of a path: lower-case letters, digits and `-`.
fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.bytes().all(is_plain)
}

#[cfg(target_os = "linux")]
fn spread(dir: &Path) -> io::Result<()> {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let dir = fs::File::open(dir)?;
    let flags = ioctl_getflags(&dir)?;
    if !flags.contains(IFlags::TOPDIR) {
        ioctl_setflags(&dir, flags | IFlags::TOPDIR)?;
    }
    Ok(())
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
    fn ll_10_only_names_of_our_own_making_are_half_made_or_trash() {
        let id = uuid::Uuid::new_v4();
        let half = half_made_name("br-calm-sea-12345678");
        assert!(
            is_half_made_branch(&half) && !is_half_made_template(&half),
            "{half}"
        );
        assert!(is_half_made_template(&half_made_name("template-15-0a1b2c3d")));
        assert!(is_trash(&format!("br-calm-sea-12345678-{id}")));
        let version_1 = "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d";
        for strange in [
            "br-x.tmp".to_owned(),
            "x.tmp".to_owned(),
            "tmp".to_owned(),
            format!(".{}.tmp", id.simple()),
            format!("My Backup.{}.tmp", id.simple()),
            format!("br-x.{id}.tmp"),
            format!("br-x.{}.tmp", id.simple().to_string().to_uppercase()),
            format!("br-x.{}.tmp", version_1.replace('-', "")),
            format!("br-x.{}.tmp.bak", id.simple()),
            format!("old-{version_1}"),
            format!("{id}"),
            format!("-{id}"),
            "old".to_owned(),
            "日本語-日本語-日本語-日本語-日本語".to_owned(),
        ] {
            let is_ours =
                is_half_made_branch(&strange) || is_half_made_template(&strange) || is_trash(&strange);
            assert!(!is_ours, "{strange}");
        }
    }

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
    fn a_socket_directory_that_others_can_enter_is_refused() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let layout = Layout::prepare(&dir.path().join("data"), RunAs::Us).expect("made");
        let mine = dir.path().join("mine");
        layout.make_private(&mine).expect("made");
        layout.make_private(&mine).expect("made before, by us");
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("changed");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&mine, &link).expect("linked");
        for dir in [open, link] {
            assert!(
                matches!(layout.make_private(&dir), Err(EngineError::NotOurs { dir: named }) if named == dir)
            );
        }
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
