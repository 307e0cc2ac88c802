//! The file beside a data directory that describes its branch. Bytes in, bytes out: the catalog knows what they say.
//!
//! PostgreSQL's user owns the directory, and this process may be root: nothing in it is followed, and nothing but a plain
//! file is read.

use crate::engine::Durability;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The file's name.
pub(crate) const DESCRIPTOR: &str = "branch.json";

/// The name of the file that is written next. The two take turns: creating and deleting a file for each write would take ten
/// times as long, because ext4 passes over the places of files that were deleted lately.
const SPARE: &str = "branch.json.spare";

/// The largest descriptor: 500 roles and 500 databases take a tenth of it.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What there is in a descriptor's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Missing,
    /// It is there, and cannot be read; the text is the reason.
    Unreadable(String),
    Text(String),
}

/// Replaces the descriptor in a branch's directory in one step. The one before stays beside it, as the spare.
///
/// # Errors
/// `NotFound` when there is no such directory.
pub(crate) fn write(dir: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let dir = openat(CWD, dir, dir_flags(), Mode::empty())?;
    let mut file = spare(&dir)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    if durability == Durability::Durable {
        file.sync_data()?;
    }
    put_in_place(&dir)?;
    if durability == Durability::Durable {
        fsync(&dir)?;
    }
    Ok(())
}

/// Opens the spare to be overwritten. It is not emptied first: ext4 then writes it to the disk when it is closed
/// (`auto_da_alloc`, ext4(5)).
fn spare(dir: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(file) = openat(dir, SPARE, flags, Mode::empty()) {
        let meta = File::from(file.try_clone()?).metadata()?;
        let is_private = meta.mode() & 0o777 == 0o600 && meta.uid() == rustix::process::geteuid().as_raw();
        if meta.is_file() && meta.nlink() == 1 && is_private {
            return Ok(file.into());
        }
    }
    match unlinkat(dir, SPARE, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = flags | OFlags::CREATE | OFlags::EXCL;
    Ok(openat(dir, SPARE, flags, Mode::RUSR | Mode::WUSR)?.into())
}

#[cfg(target_os = "linux")]
fn put_in_place(dir: &OwnedFd) -> io::Result<()> {
    use rustix::fs::{RenameFlags, renameat_with};
    match renameat_with(dir, SPARE, dir, DESCRIPTOR, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // There is none yet, or the file system cannot.
        Err(_) => Ok(renameat(dir, SPARE, dir, DESCRIPTOR)?),
    }
}

#[cfg(not(target_os = "linux"))]
fn put_in_place(dir: &OwnedFd) -> io::Result<()> {
    Ok(renameat(dir, SPARE, dir, DESCRIPTOR)?)
}

/// Reads the descriptor in a branch's directory.
pub(crate) fn read(dir: &Path) -> Content {
    match read_text(dir) {
        Ok(text) => Content::Text(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Missing,
        Err(error) => Content::Unreadable(error.to_string()),
    }
}

fn read_text(dir: &Path) -> io::Result<String> {
    let dir = openat(CWD, dir, dir_flags(), Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&dir, DESCRIPTOR, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    Ok(text)
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temp dir")
    }

    #[test]
    fn it_is_replaced_as_a_whole_and_only_its_owner_reads_it() {
        let dir = dir();
        assert_eq!(read(dir.path()), Content::Missing);
        let (durable, ephemeral) = (Durability::Durable, Durability::Ephemeral);
        for (text, durability) in [
            ("a long one", ephemeral),
            ("two", ephemeral),
            ("three", durable),
            ("4", ephemeral),
        ] {
            write(dir.path(), text.as_bytes(), durability).expect("written");
            assert_eq!(read(dir.path()), Content::Text(text.to_owned()));
        }
        for name in [DESCRIPTOR, SPARE] {
            let meta = fs::metadata(dir.path().join(name)).expect("it is there");
            assert_eq!(meta.mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2);
        let nowhere = write(&dir.path().join("nowhere"), b"", Durability::Durable);
        assert_eq!(nowhere.expect_err("no directory").kind(), io::ErrorKind::NotFound);
    }

    /// What a kill before the last step leaves.
    #[test]
    fn ll_05_half_a_write_is_not_seen_and_does_no_harm() {
        let dir = dir();
        write(dir.path(), b"one", Durability::Ephemeral).expect("written");
        let mut half =
            spare(&openat(CWD, dir.path(), dir_flags(), Mode::empty()).expect("open")).expect("open");
        half.write_all(b"half of a longer o").expect("written");
        drop(half);
        assert_eq!(read(dir.path()), Content::Text("one".to_owned()));
        write(dir.path(), b"two", Durability::Ephemeral).expect("written");
        assert_eq!(read(dir.path()), Content::Text("two".to_owned()));
    }

    #[test]
    fn no_link_is_followed_and_only_a_plain_file_is_read() {
        let (dir, other) = (dir(), dir());
        let outside = other.path().join("outside");
        fs::write(&outside, "precious").expect("written");
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).expect("changed");
        symlink(&outside, dir.path().join(DESCRIPTOR)).expect("linked");
        assert!(matches!(read(dir.path()), Content::Unreadable(_)));
        for plant in [
            |from: &Path, to: &Path| symlink(from, to),
            |from: &Path, to: &Path| fs::hard_link(from, to),
        ] {
            drop(fs::remove_file(dir.path().join(SPARE)));
            plant(&outside, &dir.path().join(SPARE)).expect("planted");
            write(dir.path(), b"ours", Durability::Ephemeral).expect("written");
            assert_eq!(fs::read_to_string(&outside).expect("readable"), "precious");
            assert_eq!(read(dir.path()), Content::Text("ours".to_owned()));
        }
        let link = other.path().join("link");
        symlink(dir.path(), &link).expect("linked");
        assert!(write(&link, b"", Durability::Ephemeral).is_err());

        fs::remove_file(dir.path().join(DESCRIPTOR)).expect("removed");
        fs::create_dir(dir.path().join(DESCRIPTOR)).expect("made");
        assert!(matches!(read(dir.path()), Content::Unreadable(_)));
    }

    #[test]
    fn an_endless_or_broken_file_is_unreadable() {
        let dir = dir();
        let file = File::create(dir.path().join(DESCRIPTOR)).expect("made");
        file.set_len(MAX_BYTES + 1).expect("sized");
        assert!(matches!(read(dir.path()), Content::Unreadable(_)));
        fs::write(dir.path().join(DESCRIPTOR), [0xff, 0xfe]).expect("written");
        assert!(matches!(read(dir.path()), Content::Unreadable(_)));
    }
}
