//! Whether the disk of a data directory is mounted. Below the mount point there may be an empty directory, or an older
//! installation: started there, every branch would seem to be gone.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The file below the mount point that names the image to be mounted there. Mounted, the image hides it.
const MARK: &str = "not-mounted";

/// Why a disk is known to be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotMounted {
    /// `lakebased local setup-store` has put the data into this file.
    Image(PathBuf),
    /// `/etc/fstab` says that something is mounted at the data directory.
    Fstab,
}

impl NotMounted {
    /// Returns what the user can do about it.
    pub fn fix(&self, dir: &Path) -> String {
        let dir = dir.display();
        match self {
            Self::Image(image) => format!(
                "mount it with `sudo mount -o loop {} {dir}`; if setup-store was undone, remove `{dir}/{MARK}`",
                image.display()
            ),
            Self::Fstab => format!("mount it with `sudo mount {dir}`, or remove its line from /etc/fstab"),
        }
    }
}

/// Marks a directory as the mount point of an image, before that is mounted.
///
/// # Errors
/// When the file cannot be written.
pub fn mark_mount_point(dir: &Path, image: &Path) -> io::Result<()> {
    crate::private_file::write(&dir.join(MARK), image.as_os_str().as_bytes(), 0o644)
}

/// Removes the mark of [`mark_mount_point`], if there is one.
///
/// # Errors
/// When the file cannot be removed.
pub fn unmark_mount_point(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(MARK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns why the disk of a data directory is known not to be mounted.
pub(crate) fn missing(dir: &Path) -> Option<NotMounted> {
    // Also when the image is not there: it may be on a disk that is not mounted either.
    if let Ok(image) = fs::read(dir.join(MARK)) {
        return Some(NotMounted::Image(PathBuf::from(OsString::from_vec(image))));
    }
    let dir = dir.canonicalize().ok()?;
    let fstab = fs::read("/etc/fstab").ok()?;
    let mounted = fs::read("/proc/self/mountinfo").ok()?;
    is_missing(&dir, &fstab, &mounted).then_some(NotMounted::Fstab)
}

/// Columns: fstab(5), and `/proc/pid/mountinfo` in proc(5).
fn is_missing(dir: &Path, fstab: &[u8], mounted: &[u8]) -> bool {
    let is_dir =
        |column: Option<&[u8]>| column.is_some_and(|path| unescaped(path) == dir.as_os_str().as_bytes());
    let is_wanted = |line: &Vec<&[u8]>| !line.first().is_some_and(|word| word.starts_with(b"#"));
    lines(fstab)
        .filter(is_wanted)
        .any(|line| is_dir(line.get(1).copied()))
        && !lines(mounted).any(|line| is_dir(line.get(4).copied()))
}

fn lines(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    text.split(|byte| *byte == b'\n').map(|line| {
        let words = line.split(u8::is_ascii_whitespace);
        words.filter(|word| !word.is_empty()).collect()
    })
}

/// Both files write blanks and backslashes as three octal digits.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *byte == b'\\');
        let escaped = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const FSTAB: &[u8] = b"# /data xfs\n/dev/sda1 / ext4 defaults 0 1\n/home/local.xfs /home/my\\040data xfs loop,nofail 0 0\n";
    const MOUNTED: &[u8] =
        b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 7:0 / /home/my\\040data rw - xfs /dev/loop0 rw\n";

    #[test]
    fn ll_11_a_mount_that_fstab_names_and_that_is_not_there_is_missing() {
        let data = Path::new("/home/my data");
        assert!(!is_missing(data, FSTAB, MOUNTED), "it is mounted");
        assert!(is_missing(data, FSTAB, b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"));
        for other in ["/home/my", "/data", "/home/my data/local", "xfs"] {
            assert!(!is_missing(Path::new(other), FSTAB, b""), "{other}");
        }
        assert!(!is_missing(data, b"", b""));
    }

    #[test]
    fn escapes_are_read() {
        assert_eq!(unescaped(br"/a\040b\134c"), b"/a b\\c");
        assert_eq!(unescaped(br"/a\04"), br"/a\04");
        assert_eq!(unescaped(br"\999"), br"\999");
    }

    #[test]
    fn ll_11_the_mark_of_a_mount_point_is_seen_until_it_is_removed() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let image = dir.path().join("local.xfs");
        assert_eq!(missing(dir.path()), None);
        mark_mount_point(dir.path(), &image).expect("marked");
        assert_eq!(missing(dir.path()), Some(NotMounted::Image(image)));
        unmark_mount_point(dir.path()).expect("removed");
        unmark_mount_point(dir.path()).expect("removed before");
        assert_eq!(missing(dir.path()), None);
    }
}
