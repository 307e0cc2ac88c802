//! The link in a hooks directory that makes git call `lakebase-hook`. A link, because a shell script around it costs more
//! than the whole call. What is there and is not ours stays as it is, to the byte.

use crate::failure::{Exit, Failure};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const HOOK: &str = "post-checkout";
const BINARY: &str = "lakebase-hook";

/// What somebody who has a hook of their own adds to it.
pub(crate) const LINE: &str = "lakebase hook post-checkout \"$@\"";

/// What is in the hook's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Ours,
    Foreign,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The link is there, and was not, or led elsewhere.
    Installed,
    /// The link was there already.
    Kept,
    /// The link was removed.
    Removed,
    /// There was nothing to remove.
    Absent,
    /// Somebody else's hook is there.
    Foreign,
}

/// Returns the place of the hook in a hooks directory.
pub(crate) fn place(hooks_dir: &str) -> PathBuf {
    Path::new(hooks_dir).join(HOOK)
}

/// Returns the program to link to: the one beside this one.
///
/// # Errors
/// When it is not there.
pub(crate) fn binary() -> anyhow::Result<PathBuf> {
    let binary = std::env::current_exe()?.canonicalize()?.with_file_name(BINARY);
    if binary.is_file() {
        return Ok(binary);
    }
    let text = format!(
        "cannot find `{BINARY}` beside `lakebase`, at `{}`",
        binary.display()
    );
    Err(Failure::new(Exit::Failed, text)
        .hint("install both into one directory")
        .into())
}

/// Puts the link in its place, unless something else is there.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn install(place: &Path, binary: &Path) -> io::Result<Outcome> {
    match look(place)? {
        Found::Foreign => return Ok(Outcome::Foreign),
        Found::Ours if fs::read_link(place)? == binary => return Ok(Outcome::Kept),
        Found::Ours => fs::remove_file(place)?,
        Found::Nothing => {}
    }
    if let Some(dir) = place.parent() {
        fs::create_dir_all(dir)?;
    }
    match symlink(binary, place) {
        // Somebody was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Outcome::Foreign),
        done => done.map(|()| Outcome::Installed),
    }
}

/// Removes the link, if it is ours.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn uninstall(place: &Path) -> io::Result<Outcome> {
    match look(place)? {
        Found::Nothing => Ok(Outcome::Absent),
        Found::Foreign => Ok(Outcome::Foreign),
        Found::Ours => fs::remove_file(place).map(|()| Outcome::Removed),
    }
}

/// Ours is a link to a program of our hook's name, wherever that was when it was made.
pub(crate) fn look(place: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
        Ok(meta) if meta.is_symlink() => {
            let target = fs::read_link(place)?;
            let is_ours = target.file_name().is_some_and(|name| name == BINARY);
            Ok(if is_ours { Found::Ours } else { Found::Foreign })
        }
        Ok(_) => Ok(Found::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_comes_and_goes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let place = place(&dir.path().join("hooks").to_string_lossy());
        let binary = Path::new("/opt/bin/lakebase-hook");
        assert_eq!(uninstall(&place).expect("uninstall"), Outcome::Absent);
        assert_eq!(install(&place, binary).expect("install"), Outcome::Installed);
        assert_eq!(fs::read_link(&place).expect("a link"), binary);
        assert_eq!(install(&place, binary).expect("install"), Outcome::Kept);
        let moved = Path::new("/usr/bin/lakebase-hook");
        assert_eq!(install(&place, moved).expect("install"), Outcome::Installed);
        assert_eq!(fs::read_link(&place).expect("a link"), moved);
        assert_eq!(uninstall(&place).expect("uninstall"), Outcome::Removed);
        assert_eq!(look(&place).expect("look"), Found::Nothing);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let dir = tempfile::tempdir().expect("temp dir");
        let binary = Path::new("/opt/bin/lakebase-hook");
        let script = dir.path().join("post-checkout");
        fs::write(&script, "#!/bin/sh\nexec true\n").expect("write");
        assert_eq!(install(&script, binary).expect("install"), Outcome::Foreign);
        assert_eq!(uninstall(&script).expect("uninstall"), Outcome::Foreign);
        assert_eq!(fs::read(&script).expect("read"), b"#!/bin/sh\nexec true\n");

        let link = dir.path().join("link");
        symlink("/usr/bin/husky", &link).expect("symlink");
        assert_eq!(install(&link, binary).expect("install"), Outcome::Foreign);
        assert_eq!(uninstall(&link).expect("uninstall"), Outcome::Foreign);
        assert_eq!(fs::read_link(&link).expect("a link"), Path::new("/usr/bin/husky"));
    }
}
