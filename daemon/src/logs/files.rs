//! The files of the log: one that is written, and a few older ones. However much is logged, they take no more room than
//! that.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How large one file gets.
const LARGEST: u64 = 8_000_000;

/// How many older files are kept; with the one that is written they stay below 50 MB.
const OLDER: usize = 5;

/// Writes to the newest file.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    file: File,
    length: u64,
    largest: u64,
}

impl Files {
    /// Goes on with what is there.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        Self::open_with(dir, LARGEST)
    }

    fn open_with(dir: &Path, largest: u64) -> io::Result<Self> {
        let file = open(&path(dir, 0))?;
        let length = file.metadata()?.len();
        Ok(Self {
            dir: dir.to_owned(),
            file,
            length,
            largest,
        })
    }

    /// Begins a new file and drops the oldest.
    fn turn(&mut self) -> io::Result<()> {
        for number in (0..OLDER).rev() {
            match fs::rename(path(&self.dir, number), path(&self.dir, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&path(&self.dir, 0))?;
        self.length = 0;
        Ok(())
    }
}

impl Write for Files {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.length > 0 && self.length.saturating_add(length) > self.largest {
            self.turn()?;
        }
        self.file.write_all(bytes)?;
        self.length = self.length.saturating_add(length);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

fn path(dir: &Path, number: usize) -> PathBuf {
    match number {
        0 => dir.join("lakebased.log"),
        number => dir.join(format!("lakebased.log.{number}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::lines::Lines;

    fn sizes(dir: &Path) -> Vec<u64> {
        let entries = fs::read_dir(dir).expect("listed").flatten();
        entries
            .map(|entry| entry.metadata().expect("there").len())
            .collect()
    }

    #[test]
    fn ld_08_a_million_errors_take_a_bounded_room() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let mut log = Lines::new(Files::open(dir.path()).expect("opened"));
        let line = [&[b'x'; 200][..], b"\n"].concat();
        for _ in 0..1_000_000 {
            log.write_all(&line).expect("written");
        }
        let total: u64 = sizes(dir.path()).iter().sum();
        assert!(total < 20_000_000, "{total}: more than the rate allows");
        let text = fs::read_to_string(path(dir.path(), 0)).expect("there");
        assert!(text.contains("lines were left out"));
    }

    #[test]
    fn ld_08_the_files_stay_below_their_cap_and_hold_the_newest() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let mut files = Files::open_with(dir.path(), 1000).expect("opened");
        for number in 0..10_000 {
            writeln!(files, "line {number}").expect("written");
        }
        let sizes = sizes(dir.path());
        assert_eq!(sizes.len(), OLDER + 1);
        assert!(sizes.iter().all(|size| *size <= 1000), "{sizes:?}");
        let mut again = Files::open_with(dir.path(), 1000).expect("opened");
        writeln!(again, "after a restart").expect("written");
        let newest = fs::read_to_string(path(dir.path(), 0)).expect("there");
        assert!(newest.ends_with("line 9999\nafter a restart\n"), "{newest}");
        assert!(LARGEST * u64::try_from(OLDER + 1).expect("few") < 50_000_000);
    }
}
