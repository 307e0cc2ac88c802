//! The file beside a data directory that describes its branch. Bytes in, bytes out: the catalog knows what they say.
//!
//! PostgreSQL's user owns the directory, and this process may be root: nothing in it is followed, and nothing but a plain
//! file is read.

use crate::engine::Durability;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, fsync, openat, renameat, unlinkat};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// The file's name.
pub(crate) const DESCRIPTOR: &str = "branch.json";

/// The name of a new one until it is complete. A constant: the next write overwrites what a kill left.
const NEW: &str = "branch.json.new";

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

/// Replaces the descriptor in a branch's directory in one step.
///
/// # Errors
/// `NotFound` when there is no such directory.
pub(crate) fn write(dir: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let dir = openat(CWD, dir, dir_flags(), Mode::empty())?;
    match unlinkat(&dir, NEW, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&dir, NEW, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(content)?;
    if durability == Durability::Durable {
        file.sync_data()?;
    }
    renameat(&dir, NEW, &dir, DESCRIPTOR)?;
    if durability == Durability::Durable {
        fsync(&dir)?;
    }
    Ok(())
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
    let file = openat(&dir, DESCRIPTOR, flags, Mode::empty())?;
    if !rustix::fs::FileType::from_raw_mode(fstat(&file)?.st_mode).is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mut text = String::new();
    File::from(file).take(MAX_BYTES + 1).read_to_string(&mut text)?;
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
    use std::os::unix::fs::{MetadataExt, symlink};

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temp dir")
    }

    #[test]
    fn it_is_replaced_as_a_whole_and_only_its_owner_reads_it() {
        let dir = dir();
        assert_eq!(read(dir.path()), Content::Missing);
        for (text, durability) in [("one", Durability::Durable), ("two", Durability::Ephemeral)] {
            fs::write(dir.path().join(NEW), "left by a kill").expect("written");
            write(dir.path(), text.as_bytes(), durability).expect("written");
            assert_eq!(read(dir.path()), Content::Text(text.to_owned()));
        }
        let meta = fs::metadata(dir.path().join(DESCRIPTOR)).expect("it is there");
        assert_eq!(meta.mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
        let nowhere = write(&dir.path().join("nowhere"), b"", Durability::Durable);
        assert_eq!(nowhere.expect_err("no directory").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn no_link_is_followed_and_only_a_plain_file_is_read() {
        let (dir, other) = (dir(), dir());
        let outside = other.path().join("outside");
        fs::write(&outside, "precious").expect("written");
        symlink(&outside, dir.path().join(DESCRIPTOR)).expect("linked");
        symlink(&outside, dir.path().join(NEW)).expect("linked");
        assert!(matches!(read(dir.path()), Content::Unreadable(_)));
        write(dir.path(), b"ours", Durability::Ephemeral).expect("written");
        assert_eq!(fs::read_to_string(&outside).expect("readable"), "precious");
        assert_eq!(read(dir.path()), Content::Text("ours".to_owned()));
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
