//! Files that only their owner may read: made whole or not at all.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Only the owner reads and writes.
pub(crate) const SECRET: u32 = 0o600;

/// Everybody reads.
pub(crate) const PUBLIC: u32 = 0o644;

/// Replaces the file in one step; nobody sees half of it.
pub(crate) fn write(file: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.as_file().set_permissions(Permissions::from_mode(mode))?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    fs::File::open(dir)?.sync_all()
}

/// Reads a secret, and makes it the first time.
///
/// # Errors
///
/// When the file can be read by others: what is in it is then no secret any more.
pub(crate) fn read_or_make(file: &Path, make: impl FnOnce() -> String) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(content) => {
            let mode = fs::metadata(file)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let text = format!("`{}` can be read by others (mode {mode:o})", file.display());
                return Err(io::Error::other(text));
            }
            Ok(content)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let content = make();
            write(file, content.as_bytes(), SECRET)?;
            Ok(content)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        assert_eq!(read_or_make(&file, || "one".into()).unwrap(), "one");
        assert_eq!(read_or_make(&file, || "two".into()).unwrap(), "one");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        write(&file, b"one", PUBLIC).unwrap();
        assert!(read_or_make(&file, || "two".into()).is_err());
    }
}
