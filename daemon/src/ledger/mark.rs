//! The ledger's generation, written a second time in a small file beside it. An older copy of the ledger that somebody brings
//! back does not bring this file back with it, or brings both, and then they were both true once.

use super::private_file;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    path: PathBuf,
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    Missing,
    At(i64),
    /// It cannot be read, or makes no sense.
    Unclear,
}

impl Mark {
    pub(super) fn beside(ledger: &Path) -> Self {
        Self {
            path: ledger.with_file_name("generation"),
        }
    }

    pub(super) fn read(&self) -> Marked {
        match fs::read_to_string(&self.path) {
            Ok(text) => text.trim().parse().map_or(Marked::Unclear, Marked::At),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Marked::Missing,
            Err(_) => Marked::Unclear,
        }
    }

    pub(super) fn write(&self, generation: i64) -> io::Result<()> {
        private_file::replace(&self.path, format!("{generation}\n").as_bytes())
    }
}

impl Marked {
    /// Says whether the ledger is older than its mark. A ledger with changes in it has one.
    pub(super) fn is_ahead_of(self, generation: i64) -> bool {
        match self {
            Self::Missing => generation > 0,
            Self::At(marked) => marked > generation,
            Self::Unclear => true,
        }
    }

    /// A generation that neither the ledger nor the mark has had.
    pub(super) fn after(self, generation: i64) -> i64 {
        match self {
            Self::At(marked) => marked.max(generation).saturating_add(1),
            Self::Missing | Self::Unclear => generation.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fs_10_a_mark_tells_an_older_ledger_from_the_one_of_last_time() {
        assert!(!Marked::Missing.is_ahead_of(0), "the first start");
        assert!(Marked::Missing.is_ahead_of(1));
        assert!(Marked::At(5).is_ahead_of(4));
        assert!(!Marked::At(5).is_ahead_of(5));
        assert!(!Marked::At(5).is_ahead_of(9), "killed before it was marked");
        assert!(Marked::Unclear.is_ahead_of(9));
        assert_eq!(Marked::At(5).after(0), 6);
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let mark = Mark::beside(&dir.path().join("state.db"));
        assert_eq!(mark.read(), Marked::Missing);
        mark.write(7).expect("written");
        assert_eq!(mark.read(), Marked::At(7));
        fs::write(dir.path().join("generation"), "").expect("written");
        assert_eq!(mark.read(), Marked::Unclear);
    }
}
