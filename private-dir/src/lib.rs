//! Directories for secrets, sockets and locks: created for their owner alone, or checked. Another user who could write in
//! one, or in a directory above it, could replace what is in it.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Reason why a directory is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Something else is in its place.
    #[error("it is not a directory")]
    NotDirectory,
    /// A link in a directory of ours leads elsewhere.
    #[error("it is a link")]
    Link,
    /// Its owner is another user.
    #[error("it belongs to another user")]
    OtherUser,
    /// Other users can write in it.
    #[error("others can write in it")]
    Writable,
}

/// Error of creating or checking a directory.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another user can change the directory, or one above it.
    #[error("cannot trust `{}`: {why}", .dir.display())]
    Untrusted {
        /// The directory that is refused, or one above the wanted one.
        dir: PathBuf,
        /// The reason.
        why: Distrust,
    },
    /// The file system refused.
    #[error("cannot use `{}`", .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl DirError {
    /// Returns the command that helps; `variable` is that which names another directory.
    pub fn fix(&self, variable: &str) -> Option<String> {
        let Self::Untrusted { dir, why } = self else {
            return None;
        };
        let shown = dir.display();
        Some(match why {
            Distrust::NotDirectory => format!("move `{shown}` away, or set {variable} to another directory"),
            Distrust::Link => format!("set {variable} to where `{shown}` leads"),
            Distrust::OtherUser => {
                format!(
                    "run `sudo chown $(id -u) '{shown}'` if it is yours, or set {variable} to another directory"
                )
            }
            Distrust::Writable => format!("check what is in it, then run `chmod go-w '{shown}'`"),
        })
    }
}

/// Other users' access to a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// None: mode 0700.
    Nothing,
    /// They can pass through it to what they may use: mode 0711.
    Pass,
}

impl Others {
    fn mode(self) -> u32 {
        match self {
            Self::Nothing => 0o700,
            Self::Pass => 0o711,
        }
    }
}

/// Creates a directory, or checks that it is ours alone and that no other user can replace it: no link at it or above it
/// within what is ours, and no directory there that others can write in. One of ours that others can read is closed to them.
///
/// # Errors
/// [`DirError::Untrusted`] names the directory that is at fault.
pub fn own(dir: &Path, others: Others) -> Result<(), DirError> {
    create_with(dir, others.mode())?;
    check_above(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(others.mode())).map_err(in_io(dir))
}

/// Creates a directory that only we can enter, or checks that no other user owns it or can write in it, and that it is no
/// link. What is above it is not checked.
///
/// # Errors
/// [`DirError::Untrusted`] when one of these is so.
pub fn create(dir: &Path) -> Result<(), DirError> {
    create_with(dir, Others::Nothing.mode())
}

fn create_with(dir: &Path, mode: u32) -> Result<(), DirError> {
    let untrusted = |why| untrusted(dir, why);
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(dir)
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => untrusted(Distrust::NotDirectory),
            _ => in_io(dir)(source),
        })?;
    // The checks are about what was opened, whatever is put in its place in between.
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let opened = match rustix::fs::open(dir, flags, Mode::empty()) {
        Ok(opened) => opened,
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            return Err(untrusted(Distrust::NotDirectory));
        }
        Err(errno) => return Err(in_io(dir)(errno.into())),
    };
    let meta = File::from(opened).metadata().map_err(in_io(dir))?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(untrusted(Distrust::OtherUser));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(untrusted(Distrust::Writable));
    }
    Ok(())
}

/// Opens a lock file, creating it if it is missing. No other user can open it: whoever can may hold its lock. One of an
/// earlier release, which others could open, is closed to them.
///
/// # Errors
/// When the file system refuses, or a link is in its place.
pub fn lock_file(path: &Path) -> io::Result<File> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let mut options = File::options();
    options
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(nofollow);
    let file = options.open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn check_above(dir: &Path) -> Result<(), DirError> {
    let us = rustix::process::geteuid().as_raw();
    let whole = std::path::absolute(dir).map_err(in_io(dir))?;
    let mut above: Vec<&Path> = whole.ancestors().collect();
    above.reverse();
    let mut is_below_ours = false;
    for part in above {
        let meta = fs::symlink_metadata(part).map_err(in_io(part))?;
        let is_ours = meta.uid() == us;
        // The system's own, such as `/var` on macOS: only root can replace it.
        let is_of_system = part.parent() == Some(Path::new("/")) && meta.uid() == 0;
        match () {
            () if is_below_ours && meta.is_symlink() && !is_of_system => {
                return Err(untrusted(part, Distrust::Link));
            }
            () if is_below_ours && !is_ours => return Err(untrusted(part, Distrust::OtherUser)),
            // With the sticky bit, as on /tmp, others cannot replace what is ours in it.
            () if is_ours && !meta.is_symlink() && meta.mode() & 0o1002 == 0o002 => {
                return Err(untrusted(part, Distrust::Writable));
            }
            () => is_below_ours |= is_ours,
        }
    }
    Ok(())
}

fn untrusted(dir: &Path, why: Distrust) -> DirError {
    let dir = dir.to_owned();
    DirError::Untrusted { dir, why }
}

fn in_io(path: &Path) -> impl Fn(io::Error) -> DirError {
    let path = path.to_owned();
    move |source| DirError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    fn refusal(result: Result<(), DirError>) -> String {
        let error = result.expect_err("refused");
        format!("{error}; {}", error.fix("LAKEBASE_DIR").expect("a command"))
    }

    #[test]
    fn sec_02_a_directory_that_others_can_write_in_is_not_trusted() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("made");
        // As /tmp is: the sticky bit keeps others from removing a file of ours, not from creating one first.
        for open_to in [0o777, 0o770, 0o1777] {
            set_mode(&open, open_to);
            let refused = refusal(create(&open));
            assert!(refused.contains("others can write in it") && refused.contains("chmod go-w"));
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).expect("made");
        assert!(refusal(create(&link)).contains("not a directory"));
        let file = dir.path().join("file");
        fs::write(&file, "").expect("written");
        assert!(refusal(create(&file)).contains("not a directory"));
    }

    #[test]
    fn sec_02_a_directory_of_another_user_is_not_trusted() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give a directory away");
            return;
        }
        let dir = tempfile::tempdir().expect("a temp dir");
        std::os::unix::fs::chown(dir.path(), Some(65534), None).expect("given away");
        let refused = refusal(create(dir.path()));
        assert!(refused.contains("belongs to another user") && refused.contains("chown"));
    }

    #[test]
    fn sec_41_a_directory_is_ours_alone_and_no_link_leads_to_it() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let own = |path: &Path| own(path, Others::Nothing);
        let state = dir.path().join("home/state");
        own(&state).expect("made");
        for readable in [0o755, 0o711, 0o750] {
            set_mode(&state, readable);
            own(&state).expect("ours");
            assert_eq!(mode(&state), 0o700, "closed to others");
        }
        for writable in [0o777, 0o770, 0o1777] {
            set_mode(&state, writable);
            assert!(refusal(own(&state)).contains("others can write in it"));
            assert_eq!(
                fs::metadata(&state).expect("there").mode() & 0o7777,
                writable,
                "as it was"
            );
        }
        set_mode(&state, 0o700);
        std::os::unix::fs::symlink(dir.path().join("home"), dir.path().join("link")).expect("made");
        let refused = refusal(own(&dir.path().join("link/state")));
        assert!(
            refused.contains("it is a link") && refused.contains("set LAKEBASE_DIR"),
            "{refused}"
        );
        let above = dir.path().join("home");
        set_mode(&above, 0o777);
        assert!(refusal(own(&state)).contains("chmod go-w"));
        // A umask of 002 is common where each user has a group of their own.
        set_mode(&above, 0o775);
        own(&state).expect("ours");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&above, Some(65534), None).expect("given away");
            assert!(refusal(own(&state)).contains("belongs to another user"));
        }
    }

    #[test]
    fn sec_43_others_may_pass_through_a_directory_but_not_read_it() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let data = dir.path().join("data");
        own(&data, Others::Pass).expect("made");
        assert_eq!(mode(&data), 0o711);
        set_mode(&data, 0o755);
        own(&data, Others::Pass).expect("ours");
        assert_eq!(mode(&data), 0o711);
        set_mode(&data, 0o733);
        assert!(refusal(own(&data, Others::Pass)).contains("others can write in it"));
    }

    #[test]
    fn sec_42_no_other_user_can_open_a_lock_file_and_no_link_is_followed() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("lock");
        fs::write(&path, "").expect("written");
        set_mode(&path, 0o644);
        lock_file(&path).expect("opened");
        assert_eq!(mode(&path), 0o600);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).expect("made");
        assert!(lock_file(&link).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }
}
